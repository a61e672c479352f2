"""What a worker offers: the names of its services, and what each handler is called with.

A handler sees the body, or the `Task` if its first parameter asks for it. The threads that run
handlers are in `_serving`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pound._body import service_name
from pound.config import RESERVED_PREFIXES
from pound.errors import ConfigError

Handler: TypeAlias = Callable[[Any], Any]
Call: TypeAlias = tuple[Handler, bool]  # a handler, and whether it wants the Task

CAPACITY_MAX = 65535
SERVICES_MAX = 64


def check_capacity(capacity: int) -> None:
    """Raise ValueError unless READY can tell it."""
    if not 1 <= capacity <= CAPACITY_MAX:
        raise ValueError(f"capacity is 1..{CAPACITY_MAX}, not {capacity!r}")


def check_services(services: Mapping[str, Handler], coroutines: bool = False) -> dict[bytes, Call]:
    """Return each handler under its service's name as it travels.

    Parameters
    ----------
    services : dict of str to callable
    coroutines : bool
        Whether a handler may be a coroutine function.

    Raises
    ------
    ConfigError
        There are none or too many, a name is too long or reserved, or a handler is unusable.
    """
    if not 1 <= len(services) <= SERVICES_MAX:
        raise ConfigError(f"a worker offers 1..{SERVICES_MAX} services, not {len(services)}")
    return {
        _check_name(service): check_handler(service, handler, coroutines)
        for service, handler in services.items()
    }


def check_handler(name: str, handler: object, coroutines: bool = False) -> Call:
    """Return the handler, and whether it wants the Task.

    Raises
    ------
    ConfigError
        It is not callable with one argument, or is a coroutine function where none may be.
    """
    if not callable(handler):
        raise ConfigError(f"the handler of service {name!r} is not callable: {handler!r}")
    if not coroutines and inspect.iscoroutinefunction(handler):
        raise ConfigError(
            f"the handler of service {name!r} is a coroutine function; give a plain one"
            " or use pound.aio.Worker"
        )
    return handler, _wants_task(name, handler)


def _check_name(service: str) -> bytes:
    if service.startswith(RESERVED_PREFIXES):
        raise ConfigError(
            f"service {service!r}: names that begin with mmi., pound. or titanic. are reserved"
        )
    try:
        return service_name(service)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _wants_task(name: str, handler: Callable[..., object]) -> bool:
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except ValueError:  # a builtin that does not tell its signature
        return False
    if not parameters:
        raise ConfigError(f"the handler of service {name!r} takes no argument")
    first = parameters[0]
    annotation = first.annotation
    written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return written.strip("'\"").rpartition(".")[2] == "Task" or first.name == "task"
