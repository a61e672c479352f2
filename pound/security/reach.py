"""Where a peer reaches a broker: endpoints to connect to, from another machine or process."""

from __future__ import annotations

from pound._base.addresses import split_endpoint
from pound.errors import ConfigError

from .names import SIDES

SIDE_OF = {"client": "frontend", "operator": "frontend", "worker": "backend"}
ANY_ADDRESS = ("*", "0.0.0.0", "::")


def sides_of(roles: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sides of a broker that a peer with these roles connects to."""
    needed = {SIDE_OF[role] for role in roles}
    return tuple(side for side in SIDES if side in needed)


def checked_endpoints(label: str, value: object) -> tuple[str, ...]:
    """Return endpoints; raise ConfigError for one that nobody can connect to from elsewhere."""
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise ConfigError(f"{label}: {value!r} is not a list of endpoints")
    for endpoint in value:
        _check(label, endpoint)
    return tuple(value)


def check_apart(frontend: tuple[str, ...], backend: tuple[str, ...]) -> None:
    """Raise ConfigError for an endpoint of both sides: a broker binds two."""
    for endpoint in frontend:
        if endpoint in backend:
            raise ConfigError(
                f"backend: {endpoint!r} is the frontend, too: a broker listens for clients and for "
                "workers on two ports, such as 5555 and 5556"
            )


def _check(label: str, endpoint: object) -> None:
    if not isinstance(endpoint, str):
        raise ConfigError(f"{label}: {endpoint!r} is no endpoint")
    try:
        transport, host, port = split_endpoint(endpoint)
    except ValueError as error:
        raise ConfigError(f"{label}: {endpoint!r} {error}") from None
    if transport == "inproc":
        raise ConfigError(f"{label}: {endpoint!r} reaches no other process: use tcp:// or ipc://")
    if host in ANY_ADDRESS or port in ("*", "0"):
        raise ConfigError(
            f"{label}: {endpoint!r} is what a broker binds: give the address and port by which a "
            "peer reaches it"
        )
