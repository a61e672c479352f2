"""The loop's events as log lines: one row for each kind of `kinds.LOG_KINDS`."""

from __future__ import annotations

import logging
from typing import Any

from pound._broker.names import DIALECTS, LOG_KINDS, REASONS
from pound._logging import LOGGER, write_event
from pound.errors import error_name

EVENTS = {  # kind → level, event, the names of its fields: peer, text, number, other
    "held_back": (logging.WARNING, "log lines held back", ("", "", "event", "lines")),
    "worker_ready": (logging.INFO, "worker ready", ("worker", "service", "capacity", "dialect")),
    "worker_gone": (logging.WARNING, "worker gone", ("worker", "", "held", "dialect")),
    "worker_left": (logging.INFO, "worker gone", ("worker", "", "held", "dialect")),
    "worker_silent": (logging.WARNING, "worker silent", ("worker", "", "", "")),
    "worker_leaves": (logging.INFO, "worker leaves", ("worker", "", "held", "dialect")),
    "worker_refused": (logging.WARNING, "worker refused", ("worker", "service", "why", "")),
    "bad_message": (logging.WARNING, "bad message", ("peer", "why", "dialect", "")),
    "route_ignored": (logging.ERROR, "peer not listened to", ("peer", "why", "dialect", "")),
    "request_failed": (
        logging.WARNING,
        "request failed",
        ("client", "service", "code", "attempts"),
    ),
    "request_unanswerable": (
        logging.WARNING,
        "error has no form in the client's dialect",
        ("client", "service", "code", ""),
    ),
    "service_waiting": (
        logging.WARNING,
        "service waits without a worker",
        ("", "service", "waiting", "for_ms"),
    ),
    "pause": (logging.WARNING, "the broker itself was paused", ("", "", "pause_ms", "")),
    "draining": (logging.INFO, "draining", ("", "", "running", "waiting")),
    "drained": (logging.INFO, "drained", ("", "", "running", "waiting")),
    "unfinished": (logging.WARNING, "drained", ("", "left", "running", "waiting")),
    "requests_refused": (
        logging.WARNING,
        "requests refused, which the client's dialect can't be told",
        ("client", "service", "why", ""),
    ),
    "descriptors_short": (logging.WARNING, "descriptors short", ("", "", "open", "limit")),
    "tasks_released": (
        logging.WARNING,
        "tasks released",
        ("worker", "service", "tasks", "retry_ms"),
    ),
    "task_held": (logging.WARNING, "task held long", ("worker", "service", "held_for_ms", "holds")),
    "client_unread": (
        logging.WARNING,
        "client does not read, its answers are dropped",
        ("client", "", "bytes", "for_ms"),
    ),
    "silent_connection": (
        logging.INFO,
        "connection never sent a message; if its program did, another one uses its routing id",
        ("", "", "socket", ""),
    ),
}


def write(
    kind: str, peer: bytes, text: bytes, number: int, other: int, repeated: int, ago_ms: int
) -> bool:
    """Write the line of an event of the loop's; return whether it was."""
    level, event, names = EVENTS[kind]
    fields: dict[str, Any] = dict(zip(names, (peer, text, number, other), strict=True))
    fields.pop("", None)
    if "dialect" in fields:
        fields["dialect"] = DIALECTS[fields["dialect"]]
    if "code" in fields:
        fields["error"] = error_name(number)
    if isinstance(fields.get("why"), int):
        fields["why"] = REASONS[number]
    if kind == "held_back":
        fields["event"] = EVENTS[LOG_KINDS[number]][1]
    if repeated:
        fields["repeated"] = repeated
    if ago_ms:
        fields["ago_ms"] = ago_ms
    return write_event(LOGGER, level, event, **fields)
