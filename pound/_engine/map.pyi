from collections.abc import Iterable, Mapping
from typing import Any, final

from typing_extensions import Self

from pound._engine.client import ClientEngine
from pound._engine.values import Body

@final
class Map:
    def __new__(
        cls,
        engine: ClientEngine,
        service: str,
        bodies: Iterable[Body],
        window: int,
        timeout: float | None,
        priority: int,
        meta: Mapping[str, str] | None,
        full: bool = False,
    ) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...  # as the client of `engine` says
    def close(self) -> None: ...
