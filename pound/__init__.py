"""Pound: a ZeroMQ load-balancing broker with a compiled core.

The public names; those for asyncio are in `pound.aio`. Each module is imported when its first name
is used, so that reading a configuration or running the command line loads no more than it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from pound._version import __version__

if TYPE_CHECKING:
    from pound import aio, errors
    from pound.broker import Broker
    from pound.client import Answer, Body, Client, Partial, Stream
    from pound.config import Config, ServiceConfig
    from pound.errors import (
        AttemptsExhausted,
        BindError,
        Busy,
        Cancelled,
        ClosedError,
        ConfigError,
        DataLoss,
        DeadlineExceeded,
        ForkError,
        InternalError,
        InvalidRequest,
        MultipartError,
        NoSuchService,
        PatchedError,
        PermissionDenied,
        PoundError,
        ProtocolError,
        Release,
        RequestError,
        TaskFailed,
        Unauthenticated,
        Unavailable,
        Unimplemented,
    )
    from pound.security.credential import Credential
    from pound.security.listener import Listener
    from pound.standby import Standby
    from pound.worker import Handler, Task, Worker

__all__ = [
    "Answer",
    "AttemptsExhausted",
    "BindError",
    "Body",
    "Broker",
    "Busy",
    "Cancelled",
    "Client",
    "ClosedError",
    "Config",
    "ConfigError",
    "Credential",
    "DataLoss",
    "DeadlineExceeded",
    "ForkError",
    "Handler",
    "InternalError",
    "InvalidRequest",
    "Listener",
    "MultipartError",
    "NoSuchService",
    "Partial",
    "PatchedError",
    "PermissionDenied",
    "PoundError",
    "ProtocolError",
    "Release",
    "RequestError",
    "ServiceConfig",
    "Standby",
    "Stream",
    "Task",
    "TaskFailed",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Worker",
    "__version__",
    "aio",
    "errors",
]

if not TYPE_CHECKING:
    _HOMES = {
        "Broker": "broker",
        "Answer": "client",
        "Body": "client",
        "Client": "client",
        "Partial": "client",
        "Config": "config",
        "Credential": "security.credential",
        "Handler": "worker",
        "Listener": "security.listener",
        "ServiceConfig": "config",
        "Standby": "standby",
        "Stream": "client",
        "Task": "worker",
        "Worker": "worker",
    }

    def __getattr__(name):
        """Import the home of a public name; the errors are the names not listed above."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in ("aio", "errors"):
            return import_module(f"pound.{name}")
        value = getattr(import_module(f"pound.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value

    def __dir__():
        """Return the public names, imported yet or not, and those that every module has."""
        return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
