"""The loop's events as log lines: one row for each kind that kinds.pxd declares."""

from __future__ import annotations

import logging
from typing import Any

from pound._broker import kinds
from pound._broker.names import DIALECTS, REASONS, ZAP_REASONS
from pound._logging import LOGGER, write_event
from pound.errors import error_name

EVENTS = {  # kind → level, event, the names of its fields: peer, text, number, other
    kinds.LOG_HELD_BACK: (logging.WARNING, "log lines held back", ("", "", "event", "lines")),
    kinds.LOG_WORKER_READY: (
        logging.INFO,
        "worker ready",
        ("worker", "service", "capacity", "dialect"),
    ),
    kinds.LOG_WORKER_GONE: (logging.WARNING, "worker gone", ("worker", "", "held", "dialect")),
    kinds.LOG_WORKER_LEFT: (logging.INFO, "worker gone", ("worker", "", "held", "dialect")),
    kinds.LOG_WORKER_SILENT: (logging.WARNING, "worker silent", ("worker", "", "", "")),
    kinds.LOG_WORKER_LEAVES: (logging.INFO, "worker leaves", ("worker", "", "held", "dialect")),
    kinds.LOG_WORKER_REFUSED: (logging.WARNING, "worker refused", ("worker", "service", "why", "")),
    kinds.LOG_BAD_MESSAGE: (logging.WARNING, "bad message", ("peer", "why", "dialect", "")),
    kinds.LOG_ROUTE_IGNORED: (logging.ERROR, "peer ignored", ("peer", "why", "dialect", "")),
    kinds.LOG_REQUEST_FAILED: (
        logging.WARNING,
        "request failed",
        ("client", "service", "code", "attempts"),
    ),
    kinds.LOG_REQUEST_UNANSWERABLE: (
        logging.WARNING,
        "error has no form in the client's dialect",
        ("client", "service", "code", ""),
    ),
    kinds.LOG_SERVICE_WAITING: (
        logging.WARNING,
        "service waits without a worker",
        ("", "service", "waiting", "for_ms"),
    ),
    kinds.LOG_PAUSE: (logging.WARNING, "the broker itself was paused", ("", "", "pause_ms", "")),
    kinds.LOG_DRAINING: (logging.INFO, "draining", ("", "", "running", "waiting")),
    kinds.LOG_DRAINED: (logging.INFO, "drained", ("", "", "running", "waiting")),
    kinds.LOG_UNFINISHED: (logging.WARNING, "drained", ("", "left", "running", "waiting")),
    kinds.LOG_REQUESTS_REFUSED: (
        logging.WARNING,
        "requests refused; the client's dialect has no error",
        ("client", "service", "why", ""),
    ),
    kinds.LOG_DESCRIPTORS_SHORT: (logging.WARNING, "descriptors short", ("", "", "open", "limit")),
    kinds.LOG_TASKS_RELEASED: (
        logging.WARNING,
        "tasks released",
        ("worker", "service", "tasks", "retry_ms"),
    ),
    kinds.LOG_TASK_HELD: (
        logging.WARNING,
        "task held long",
        ("worker", "service", "held_for_ms", "holds"),
    ),
    kinds.LOG_CLIENT_UNREAD: (
        logging.WARNING,
        "client does not read, its answers are dropped",
        ("client", "", "bytes", "for_ms"),
    ),
    kinds.LOG_DENIED: (logging.WARNING, "denied", ("peer", "service", "why", "dialect")),
    kinds.LOG_RIGHTS_LOST: (logging.WARNING, "rights lost", ("peer", "", "why", "dialect")),
    kinds.LOG_SILENT_CONNECTION: (
        logging.INFO,
        "connection never sent a message; if its program did, another one uses its routing id",
        ("", "", "socket", ""),
    ),
    kinds.LOG_CONNECTION_REFUSED: (
        logging.WARNING,
        "connection refused",
        ("key", "address", "why", ""),
    ),
    kinds.LOG_HANDSHAKES_CUT: (
        logging.WARNING,
        "handshakes cut",
        ("", "", "handshakes_max", ""),
    ),
}


def write(
    kind: int,
    peer: bytes,
    identity: bytes,
    text: bytes,
    number: int,
    other: int,
    repeated: int,
    ago_ms: int,
) -> bool:
    """Write the line of an event of the loop's; return whether it was."""
    level, event, names = EVENTS[kind]
    fields: dict[str, Any] = dict(zip(names, (peer, text, number, other), strict=True))
    fields.pop("", None)
    if identity:
        fields["identity"] = identity
    if "dialect" in fields:
        fields["dialect"] = DIALECTS[fields["dialect"]]
    if "code" in fields:
        fields["error"] = error_name(number)
    if isinstance(fields.get("why"), int):
        words = ZAP_REASONS if kind == kinds.LOG_CONNECTION_REFUSED else REASONS
        fields["why"] = words[number]
    for name in ("key", "address"):
        if not fields.get(name, b"?"):
            del fields[name]
    if kind == kinds.LOG_HELD_BACK:
        fields["event"] = EVENTS[number][1]
    if repeated:
        fields["repeated"] = repeated
    if ago_ms:
        fields["ago_ms"] = ago_ms
    return write_event(LOGGER, level, event, **fields)
