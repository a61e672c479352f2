from typing import Final

from typing_extensions import disjoint_base

NEVER: Final[int]
SETS_MAX: Final[int]
ROLE_BITS: Final[dict[str, int]]

@disjoint_base
class Keytable:
    def __new__(cls) -> Keytable: ...
    def put_grant(self, patterns: tuple[bytes, ...]) -> int: ...
    def put_identity(
        self, number: int, name: bytes, roles: int, grant: int, connections_max: int
    ) -> None: ...
    def put_limits(
        self,
        number: int,
        weight: int,
        open_max: int,
        bytes_max: int,
        per_second: float,
        burst: float,
    ) -> None: ...
    def put_key(self, public: bytes, identity: int, serial: int, expires: int) -> None: ...
    def put_revoked(self, public: bytes, identity: int) -> None: ...
