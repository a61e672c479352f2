import logging
from collections.abc import Callable, Generator, Mapping
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, final

import zmq
from typing_extensions import Self, disjoint_base

from pound._engine.handle import Engine
from pound._engine.values import Answer, P
from pound.security.credential import Credential

if TYPE_CHECKING:
    from pound._engine.values import Body

LOGGER: logging.Logger
TASK: str
LAST_WORDS: float
AGREE_WITHIN: float
UNWANTED: str

# A handler and whether it wants the Task; what is called gets the body otherwise.
_Handler: TypeAlias = tuple[Callable[[Any], object], bool]

@final
class Task(Generic[P]):
    """One delivery of a request to this worker; what a handler is called with."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Raise TypeError: a Task comes from its worker."""

    @classmethod
    def __class_getitem__(cls, parts: object) -> GenericAlias: ...
    @property
    def parts(self) -> list[P]: ...
    @property
    def meta(self) -> dict[str, str]: ...
    @property
    def service(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def fence(self) -> int: ...
    @property
    def deadline(self) -> float | None: ...
    @property
    def cancelled(self) -> bool: ...
    @property
    def body(self) -> P: ...
    @property
    def remaining(self) -> float | None: ...
    def partial(self, body: Body, meta: Mapping[str, str] | None = None) -> None: ...
    def progress(self, done: float, total: float | None = None) -> None: ...

@disjoint_base
class WorkerEngine(Engine):
    """The engine of a worker: the tasks it holds, and the threads that run their handlers.

    With `events_fd` < 0 handlers run in threads of its own, whose loop is compiled. Otherwise the
    taker is an event loop: arriving tasks, tasks cancelled and events ring `events_fd` (8 bytes are
    written to it, once until it is read); the reader empties the descriptor first, and then calls
    `events`, `take_cancelled` and `take_tasks`.
    """

    def __new__(
        cls,
        endpoints: tuple[str, ...],
        context: zmq.Context[Any] | None,
        heartbeat: float,
        liveness: int,
        label: bytes,
        services: Mapping[bytes, _Handler],
        capacity: int,
        share: bool = False,
        events_fd: int = -1,
        key: Credential | None = None,
    ) -> Self: ...
    def start(self) -> None: ...
    def work(self) -> None:
        """Run handlers until the engine has ended: the body of a handler thread."""

    def on_handler_thread(self) -> bool:
        """Return whether the caller runs in a handler."""

    def leave(self, seconds: float) -> None:
        """Take no more tasks, finish the held ones within `seconds`, then end."""

    @property
    def held(self) -> int:
        """Tasks of this epoch whose handler has not returned."""

    @property
    def given_back(self) -> int:
        """Tasks given back at the end of the drain."""
    @property
    def undelivered(self) -> int:
        """Answers that no broker took until the end of the drain."""
    # -- for an event loop ------------------------------------------------------------------
    def take_tasks(self) -> list[tuple[int, Task[Any]]]:
        """Return the tasks that wait for their handler; each is to be answered or failed once.

        A task has a number while it exists.
        """

    def take_cancelled(self) -> list[int]:
        """Return the numbers of taken tasks that nobody waits for any more, each once."""

    def answer(self, task: Task[Any], value: Body | Answer[Any] | None) -> None:
        """Answer `task` with what its handler returned; a wrong value fails it."""

    def fail(self, task: Task[Any], error: BaseException) -> None:
        """Answer `task` with what its handler raised; `Release` gives it back.

        `Cancelled` says that nobody waits for the task any more; it is no failure then.
        """

    def try_partial(
        self, task: Task[Any], body: Body, meta: Mapping[str, str] | None = None
    ) -> bool:
        """Do as `Task.partial` does; where that would wait return False, and ring later."""

    def has_room(self, task: Task[Any]) -> bool:
        """Return whether a partial of the task would not wait; if it would, ring later."""

    def handler(self, task: Task[Any]) -> _Handler:
        """Return the handler of the task's service, as `services` gave it."""

def stream(task: Task[Any], items: Generator[object, None, Any]) -> Any:
    """Send what a generator yields as partials, and return what it returns.

    It is closed when it can't go on: nobody waits for the answer any more, an item is no body, or
    it exceeds a limit of the broker.
    """

def log_closing(task: Task[Any], error: BaseException) -> None:
    """Log what a generator raised when it was closed."""

def live() -> int:
    """Return how many tasks and answers this process holds in C: 0 when its workers are closed."""
