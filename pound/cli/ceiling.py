"""How much memory a broker may need with a configuration, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pound.config import Config
from pound.errors import ConfigError
from pound.security.keyring import KeyDirectory
from pound.security.peer import Peer

REQUEST_BYTES = 256  # of tables, for each open request: its parts are listed in architecture.md
PEER_BYTES = 1 << 10  # of tables, for each client and each worker
UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def ceiling(config: Config) -> list[str]:
    """Return sentences that say how much memory a broker may need, and for what."""
    messages = config.memory_bytes()
    requests = REQUEST_BYTES * config.waiting_max
    peers = PEER_BYTES * 2 * config.sessions_max
    lines = [
        f"Memory: the broker needs at most {size(messages + requests + peers)}, if every limit is "
        "reached at once:",
        f"- {size(messages)} for messages (memory_max). Of these open requests have at most "
        f"{size(config.waiting_bytes_max)} (waiting_bytes_max), answers kept for retries "
        f"{size(config.answers_bytes_max)} (answers_bytes_max), and each client that does not read "
        f"{size(config.undelivered_bytes_max)} (undelivered_bytes_max);",
        f"- {size(requests)} for the tables of {config.waiting_max} requests (waiting_max);",
        f"- {size(peers)} for {config.sessions_max} clients and as many workers (sessions_max).",
    ]
    return lines + (_quotas(config) if config.keys else [])


def size(number: int) -> str:
    """Return bytes as people write them: three digits, and a unit."""
    for unit, one in UNITS:
        if number >= one:
            return (
                f"{number / one:.3g} {unit}" if number < 1000 * one else f"{number // one} {unit}"
            )
    return f"{number} bytes"


def _quotas(config: Config) -> list[str]:
    """Return what the peers of the keys may have open together."""
    try:
        peers = KeyDirectory(config.keys).keyring().peers
    except ConfigError as error:
        return [f"Quotas: unknown, {error}."]
    if not peers:
        return [f"Quotas: {config.keys} has no peers yet (pound keys add)."]
    count = f"{len(peers)} peers" if len(peers) > 1 else "the one peer"
    return [
        f"Quotas of {count} in {config.keys}, added up:",
        f"- bytes of open requests: {_sum(peers, 'bytes_max', size)}; the broker takes "
        f"{size(config.waiting_bytes_max)} (waiting_bytes_max);",
        f"- open requests: {_sum(peers, 'open_max', str)};",
        f"- connections: {_sum(peers, 'connections_max', str)}.",
    ]


def _sum(peers: Mapping[str, Peer], quota: str, text: Callable[[int], str]) -> str:
    """Return the sum of a quota; peers without it have no limit of their own."""
    values = [getattr(peer, quota) for peer in peers.values()]
    free = values.count(0)
    if free == len(values):
        return f"no limit ({quota})"
    beside = f", and those of {free} without a limit" if free else ""
    return f"{text(sum(values))}{beside} ({quota})"
