"""The settings of a broker as a program may give them to `Broker` and `Config`: names and types.

For type checkers and editors only. What the values mean, and their defaults and ranges, is
declared in `pound.config`, whose test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from pound.config import ServiceConfig
    from pound.security.listener import Listener

# Text is accepted for every value, as in the environment: "500ms", "64MiB", "on".
Endpoints: TypeAlias = str | Iterable[str]
Seconds: TypeAlias = float | str
Count: TypeAlias = int | str  # and bytes
Flag: TypeAlias = bool | str
Path: TypeAlias = str | PathLike[str]


class Settings(TypedDict, total=False):
    """The keyword arguments of `Config`."""

    frontend: Endpoints
    backend: Endpoints
    insecure: Flag
    keys: Path
    handshake_timeout: Seconds
    handshakes_max: Count
    default_service: str
    io_threads: Count
    standby_of: Endpoints
    standby_key: Path
    heartbeat: Seconds
    liveness: Count
    ppp_heartbeat: Seconds
    ppp_liveness: Count
    mdp_heartbeat: Seconds
    mdp_liveness: Count
    attempts_max: Count
    lease: Seconds
    held_long: Seconds
    service_wait: Seconds
    unknown_service: Literal["wait", "reject"]
    client_grace: Seconds
    adopt_wait: Seconds
    drain_timeout: Seconds
    body_bytes_max: Count
    packet_bytes_max: Count
    frames_max: Count
    requests_max: Count
    waiting_max: Count
    waiting_bytes_max: Count
    service_waiting_max: Count
    service_waiting_bytes_max: Count
    sessions_max: Count
    services_max: Count
    foreign_window: Count
    foreign_overflow: Literal["drop", "block"]
    answers_bytes_max: Count
    undelivered_bytes_max: Count
    memory_max: Count
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["text", "json"]
    listen: Iterable[Listener | Mapping[str, object]]
    services: Mapping[str, ServiceConfig | Mapping[str, object]]
