"""What a worker offers: the names of its services, and what each handler is called with.

A handler sees the body, or the `Task` if its first parameter asks for it. The threads that run
handlers are in `_engine.worker`.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pound._engine.checks import check_whole
from pound._engine.values import service_name
from pound._wire.names import RESERVED_PREFIXES
from pound.errors import ConfigError

if TYPE_CHECKING:
    from pound._engine.values import Answer, Body

    # What a handler returns, and each item that a generator yields.
    Returned: TypeAlias = Body | Answer[Any] | None
    Handler: TypeAlias = Callable[[Any], Returned | Iterator[Returned]]
    AsyncHandler: TypeAlias = (
        Handler | Callable[[Any], Awaitable[Returned]] | Callable[[Any], AsyncIterator[Returned]]
    )
else:
    Handler = AsyncHandler = Callable[[Any], Any]
Call: TypeAlias = tuple[Callable[[Any], Any], bool]  # a handler, and whether it wants the Task

CAPACITY_MAX = 65535
SERVICES_MAX = 64


def check_capacity(capacity: int) -> int:
    """Return the capacity.

    Raises
    ------
    TypeError, ValueError
        It is no whole number, or one that READY has no room for.
    """
    return check_whole("capacity", capacity, 1, CAPACITY_MAX)


def check_services(
    services: Mapping[str, AsyncHandler], coroutines: bool = False
) -> dict[bytes, Call]:
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
    TypeError
        It is no mapping, or a name no str.
    """
    if not isinstance(services, Mapping):
        raise TypeError(
            "services maps names to handlers, for example {'echo': echo}; not"
            f" {reprlib.repr(services)}"
        )
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
        It can't be called with one argument, or is a coroutine function where none may be.
    """
    if not callable(handler):
        raise ConfigError(f"the handler of service {name!r} is not callable: {handler!r}")
    if not coroutines and is_async(handler):
        raise ConfigError(
            f"the handler of service {name!r} is a coroutine function or an async generator; give"
            " a plain one or use pound.aio.Worker"
        )
    return handler, _wants_task(name, handler)


def is_async(handler: Callable[..., object]) -> bool:
    """Return whether `handler`, which may be an object or a partial, is to run on an event loop."""
    return any(
        inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)
        for called in (handler, type(handler).__call__)
    )


def _check_name(service: str) -> bytes:
    if not isinstance(service, str):
        raise TypeError(f"the name of a service is a str, not {reprlib.repr(service)}")
    if service.startswith(RESERVED_PREFIXES):
        raise ConfigError(f"service {service!r}: names that begin with mmi. or pound. are reserved")
    try:
        return service_name(service)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _wants_task(name: str, handler: Callable[..., object]) -> bool:
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # a builtin that has no signature
        return False
    try:
        signature.bind(None)
    except TypeError:
        raise ConfigError(
            f"the handler of service {name!r} is to take one argument, the body or the task,"
            f" but its signature is {signature}"
        ) from None
    first = next(iter(signature.parameters.values()))
    return first.name == "task" or _is_task(first.annotation)


def _is_task(annotation: object) -> bool:
    """Return whether an annotation, which may be text, names the class Task or ``Task[...]``."""
    if isinstance(annotation, str):
        name = annotation.strip("'\"").partition("[")[0]
    else:
        name = getattr(getattr(annotation, "__origin__", annotation), "__name__", "")
    return name.rpartition(".")[2] == "Task"
