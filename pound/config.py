"""The broker's configuration: one frozen record, and where each of its values came from.

Every key is declared once, as a field of :class:`Config`; parsing, checking, the flags of
``pound serve``, ``pound config show`` and docs/configuration.md all read that declaration.
A :class:`Config` that exists is valid: what is wrong raises :class:`ConfigError` when it is made.
Times are seconds, sizes are bytes. Later sources win: file < environment < flags.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pound._base.addresses import split_endpoint
from pound._config_keys import (
    ENVIRONMENT_PREFIX,
    Key,
    burst_of,
    check_service_name,
    rate_of,
    suggestion,
)
from pound.errors import ConfigError
from pound.security.listener import Listener, check_set, listener_of
from pound.security.names import SIDES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pound._settings import Settings

TABLES = ("listen", "services")  # what is no single value: in the file only
U32_MAX = 2**32 - 1  # WELCOME carries the limits as u32
NUMBERS_MAX = 2**32 - 2  # peers and services are numbered in u32, one value means "none"
BODIES_HELD = 4  # a request and its answer, each stored and on its way
OTHERS = ("POUND_KEY",)  # variables of commands that connect to a broker
# A variable this near to a key's name is taken for a misspelling. Others are left alone:
# Kubernetes, for one, sets POUND_PORT and POUND_SERVICE_HOST for a service called "pound".
MISSPELLED_FROM = 0.85


def _key(
    default: object,
    kind: str,
    meaning: str,
    low: float = 0,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a field of `Config`; the `Key` is completed with its name by `keys`."""
    return dataclasses.field(
        default=default, metadata={"key": Key("", kind, default, meaning, low, high, choices)}
    )


@dataclasses.dataclass(frozen=True)
class ServiceConfig:
    """What can be set for one service.

    Parameters
    ----------
    lease : float, optional
        Seconds that a task may stay with a worker; 0 means no limit, None the broker's `lease`.
    one_part : bool
        Refuse requests whose body has other than one part (for workers that break on them).
    client_open_max, client_bytes_max : int
        What one client may have open in this service, in number and in bytes; 0: no limit. Clients
        with the same key count as one.
    client_rate : str
        How often one client may ask, as ``100/s``; empty: no limit.
    """

    lease: float | None = None
    one_part: bool = False
    client_open_max: int = 0
    client_bytes_max: int = 0
    client_rate: str = ""

    def __post_init__(self) -> None:
        """Check all values."""
        if self.lease is not None:
            key = Key("lease", "seconds", None, "")
            object.__setattr__(self, "lease", key.parse(self.lease))
        if not isinstance(self.one_part, bool):
            raise ConfigError(f"one_part: {self.one_part!r} is neither true nor false")
        for key in (
            Key("client_open_max", "count", 0, "", 0, NUMBERS_MAX),
            Key("client_bytes_max", "size", 0, "", 0, 1 << 62),
        ):
            object.__setattr__(self, key.name, key.parse(getattr(self, key.name)))
        rate_of("client_rate", self.client_rate)

    @property
    def client_rate_per_second(self) -> float:
        """The rate as a number; 0: no limit."""
        return rate_of("client_rate", self.client_rate)

    @property
    def client_burst(self) -> float:
        """How many requests one client may ask at once, with a rate."""
        return burst_of(self.client_rate_per_second)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a broker; a value that is out of range raises ConfigError.

    Every field is a key of ``pound.toml``; docs/configuration.md lists them with units and
    meaning. Text is accepted for every value, as in the environment.
    """

    if TYPE_CHECKING:  # what may be given, beside what the fields then are

        def __init__(self, **settings: Unpack[Settings]) -> None: ...

    frontend: tuple[str, ...] = _key(
        ("tcp://127.0.0.1:5555",), "endpoints", "Where clients (and MDP workers) connect."
    )
    backend: tuple[str, ...] = _key(
        ("tcp://127.0.0.1:5556",), "endpoints", "Where workers connect."
    )
    insecure: bool = _key(
        False, "flag", "Allow binds beyond loopback, without encryption or authentication."
    )
    keys: str = _key(
        "", "path", "The directory of the broker's keys: its endpoints then are encrypted (CURVE)."
    )
    handshake_timeout: float = _key(
        10.0, "seconds", "A connection that takes longer to say who it is, is cut.", 0.1, 3600
    )
    handshakes_max: int = _key(
        1000,
        "count",
        "Most connections that have not yet said who they are; the oldest are cut first.",
        1,
        NUMBERS_MAX,
    )
    default_service: str = _key(
        "", "name", "The service of plain clients and of plain and PPP workers."
    )
    io_threads: int = _key(1, "count", "I/O threads of libzmq.", 1, 64)
    standby_of: tuple[str, ...] = _key(
        (), "endpoints", "The frontend of the preferred broker: serve only while it is not there."
    )
    standby_key: str = _key(
        "", "file", "The credential with which a standby watches the preferred broker."
    )

    heartbeat: float = _key(
        1.0, "seconds", "PND peers send something at least this often.", 0.01, 3600
    )
    liveness: int = _key(5, "count", "A PND peer silent for this many heartbeats is gone.", 1, 1000)
    ppp_heartbeat: float = _key(1.0, "seconds", "As heartbeat, for PPP workers.", 0.01, 3600)
    ppp_liveness: int = _key(3, "count", "As liveness, for idle PPP workers.", 1, 1000)
    mdp_heartbeat: float = _key(2.5, "seconds", "As heartbeat, for MDP workers.", 0.01, 3600)
    mdp_liveness: int = _key(3, "count", "As liveness, for idle MDP workers.", 1, 1000)

    attempts_max: int = _key(
        5, "count", "A request fails when this many workers were lost with it.", 1, 255
    )
    lease: float = _key(
        0.0, "seconds", "How long a task may stay with a worker; 0: no limit.", 0, 1e9
    )
    held_long: float = _key(
        30.0,
        "seconds",
        "A task that a worker holds for so long is logged, once; 0: none is.",
        0,
        1e9,
    )
    service_wait: float = _key(
        30.0,
        "seconds",
        "How long a request waits for a service that no worker offers; 0: no limit.",
        0,
        1e9,
    )
    unknown_service: str = _key(
        "wait",
        "choice",
        "A request for a service without a worker waits or is rejected at once.",
        choices=("wait", "reject"),
    )
    client_grace: float = _key(
        30.0, "seconds", "How long the requests of a client that went away are kept.", 0, 1e9
    )
    adopt_wait: float = _key(
        2.0,
        "seconds",
        "How long a request that comes from another broker waits for a worker that may have its "
        "task; 0: not at all.",
        0,
        3600,
    )
    drain_timeout: float = _key(
        25.0, "seconds", "How long a stopping broker works on what it has taken in.", 0, 1e9
    )

    body_bytes_max: int = _key(
        64 << 20, "size", "Largest body of a request or answer.", 1, U32_MAX - (1 << 20)
    )
    packet_bytes_max: int = _key(
        1 << 20, "size", "Largest PND packet that holds several records.", 4096, 1 << 30
    )
    frames_max: int = _key(1024, "count", "Most frames of one message.", 8, 65535)
    requests_max: int = _key(
        65536, "count", "Most open requests of one PND client session.", 1, NUMBERS_MAX
    )
    waiting_max: int = _key(1_000_000, "count", "Most waiting requests, in all.", 1, NUMBERS_MAX)
    waiting_bytes_max: int = _key(
        1 << 30, "size", "Most bytes of open requests, waiting or running.", 1, 1 << 62
    )
    service_waiting_max: int = _key(
        1_000_000, "count", "Most waiting requests of one service.", 1, NUMBERS_MAX
    )
    service_waiting_bytes_max: int = _key(
        1 << 30, "size", "Most bytes of waiting requests of one service.", 1, 1 << 62
    )
    sessions_max: int = _key(
        100_000, "count", "Most clients, and most workers, known at once.", 1, NUMBERS_MAX
    )
    services_max: int = _key(
        10_000,
        "count",
        "Most services that workers offer, and as many names that clients ask for in vain.",
        1,
        NUMBERS_MAX,
    )
    foreign_window: int = _key(
        1000, "count", "Most open requests of one client of a foreign dialect.", 1, NUMBERS_MAX
    )
    foreign_overflow: str = _key(
        "drop",
        "choice",
        "Foreign requests over the hard limit are dropped and counted, or the frontend is left "
        "unread (only while it carries no worker and no PND peer).",
        choices=("drop", "block"),
    )
    answers_bytes_max: int = _key(
        64 << 20, "size", "Most bytes of delivered answers kept to recognise retries.", 0, 1 << 62
    )
    undelivered_bytes_max: int = _key(
        16 << 20,
        "size",
        "Most bytes of answers kept for one client that does not read.",
        0,
        1 << 62,
    )

    memory_max: int = _key(
        0,
        "size",
        "Most bytes held in all; 0: twice waiting_bytes_max, at least four bodies.",
        0,
        1 << 62,
    )

    log_level: str = _key(
        "info",
        "choice",
        "Least level of the log lines.",
        choices=("debug", "info", "warning", "error"),
    )
    log_format: str = _key(
        "text", "choice", "Form of the log lines: for people, or JSON.", choices=("text", "json")
    )

    listen: tuple[Listener, ...] = ()
    services: Mapping[str, ServiceConfig] = dataclasses.field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )

    def __post_init__(self) -> None:
        """Bring every value to its type and check what concerns more than one key."""
        object.__setattr__(self, "listen", _listen(self.listen))
        for name, key in keys().items():
            object.__setattr__(self, name, self._checked(key))
        _check_standby(self, self.listeners())
        least = BODIES_HELD * self.body_bytes_max
        if 0 < self.memory_max < least:
            raise ConfigError(
                f"memory_max: {self.memory_max} bytes are less than {BODIES_HELD} bodies of "
                f"body_bytes_max ({self.body_bytes_max}), a request and its answer on their way: "
                f"raise memory_max to {least} or lower body_bytes_max"
            )
        services = {name: _service(name, entry) for name, entry in self.services.items()}
        object.__setattr__(self, "services", MappingProxyType(services))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy by the values: the mapping of the services can't be pickled itself."""
        given = {
            name: value
            for name, key in keys().items()
            if (value := getattr(self, name)) is not key.default
        }
        return _remade, ({**given, "listen": self.listen, "services": dict(self.services)},)

    def _checked(self, key: Key) -> object:
        """Return a key's value as its type.

        The default object itself stands for a key that was not given. What was read or written
        somewhere else is another object, even if it is equal.
        """
        value = getattr(self, key.name)
        tables = any(listener.side == key.name for listener in self.listen)
        if value is key.default or (tables and value == ()):
            return () if tables else value
        return key.parse(value)

    def listeners(self) -> tuple[Listener, ...]:
        """Return all that the broker binds, each with its security.

        Returns
        -------
        tuple of Listener
            Those of the frontend first; of a side first those of its key, then those of `listen`.
        """
        keyed, insecure = bool(self.keys), self.insecure
        found: list[Listener] = []
        for side in SIDES:
            found += _of_key(side, getattr(self, side), keyed, insecure)
            for number, listener in enumerate(self.listen, 1):
                if listener.side == side:
                    found.append(_resolved(f"[[listen]] {number}", listener, keyed, insecure))
        check_set(found)
        return tuple(found)

    def memory_bytes(self) -> int:
        """Return how many bytes the broker may hold.

        Returns
        -------
        int
            `memory_max`, or what it is by default.
        """
        least = BODIES_HELD * self.body_bytes_max
        return self.memory_max or min(max(2 * self.waiting_bytes_max, least), 1 << 62)

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, object] | None = None,
    ) -> tuple[Config, dict[str, str]]:
        """Read a configuration from a file, the environment and flags; later ones win.

        Parameters
        ----------
        path : str or Path, optional
            A TOML file; None reads no file.
        environ : mapping of str to str, optional
            The environment; its ``POUND_<KEY>`` variables count, lists are comma separated.
        flags : mapping of str to object, optional
            Values by key; None stands for a flag that was not given.

        Returns
        -------
        config : Config
        origins : dict of str to str
            Where each value came from: ``default``, or the file, variable or flag.

        Raises
        ------
        ConfigError
            For an unreadable file, an unknown key (with a suggestion), a bad value.
        """
        values: dict[str, object] = {}
        origins = dict.fromkeys([*keys(), *TABLES], "default")
        for origin, source in _sources(path, environ or {}, flags or {}):
            for name, value in source.items():
                values[name] = _attempt(name, value, origin(name))
                origins[name] = origin(name)
        keyed, insecure = bool(values.get("keys")), bool(values.get("insecure"))
        for side in SIDES:  # here, because an error then says where the value came from
            _of_key(side, values.get(side, ()), keyed, insecure, f" ({origins[side]})")
        return cls(**values), origins  # type: ignore[arg-type]


def _remade(values: dict[str, Any]) -> Config:
    return Config(**values)


def keys() -> Mapping[str, Key]:
    """Return the declarations of all keys but tables, by name, in the order of the docs."""
    return _KEYS


def ignored_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the ``POUND_*`` variables that set nothing and look like no misspelled key.

    Raises
    ------
    ConfigError
        For one that looks like a misspelled key.
    """
    ignored = []
    for variable in sorted(environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if not variable.startswith(ENVIRONMENT_PREFIX) or name in keys() or variable in OTHERS:
            continue
        near = difflib.get_close_matches(name, keys(), 1, MISSPELLED_FROM)
        if near:
            raise ConfigError(
                f"unknown variable {variable}; did you mean {keys()[near[0]].environment}?"
            )
        ignored.append(variable)
    return ignored


_Source = tuple[Callable[[str], str], Mapping[str, object]]


def _sources(
    path: str | Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> list[_Source]:
    """Return (origin of a name, values) of each source, weakest first."""
    ignored_variables(environ)
    variables = {
        name: environ[key.environment] for name, key in keys().items() if key.environment in environ
    }
    given = {name: value for name, value in flags.items() if value is not None}
    _check_names(given, "flags")
    return [
        (lambda _: f"file {path}", {} if path is None else _read_file(Path(path))),
        (lambda name: f"environment {keys()[name].environment}", variables),
        (lambda name: f"flag {keys()[name].flag}", given),
    ]


def _read_file(path: Path) -> dict[str, object]:
    try:
        values: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one, too
        raise ConfigError(f"{path} is not TOML: {error}") from None
    _check_names(values, str(path))
    return values


def _attempt(name: str, value: object, origin: str) -> object:
    """Parse one value so that an error says where it came from."""
    try:
        if name == "listen":
            return _listen(value)
        if name != "services":
            return keys()[name].parse(value)
        if not isinstance(value, Mapping):
            raise ConfigError('services: write tables: [services."name"]')
        return {service: _service(service, entry) for service, entry in value.items()}
    except ConfigError as error:
        raise ConfigError(f"{error} ({origin})") from None


def _check_names(values: Iterable[str], where: str) -> None:
    known = [*keys(), *TABLES]
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown key {name!r} in {where}{suggestion(name, known)}")


def check_names(settings: Iterable[str]) -> None:
    """Raise TypeError, with a suggestion, for a name that is no field of `Config`."""
    known = [*keys(), *TABLES]
    for name in settings:
        if name not in known:
            raise TypeError(f"unknown setting {name!r}{suggestion(name, known)}")


def _listen(entries: object) -> tuple[Listener, ...]:
    """Return the listeners of [[listen]] tables."""
    if isinstance(entries, (str, Mapping)) or not isinstance(entries, Iterable):
        raise ConfigError("listen: write tables: [[listen]]")
    listeners = []
    for number, entry in enumerate(entries, 1):
        try:
            listeners.append(listener_of(entry))
        except ConfigError as error:
            raise ConfigError(f"[[listen]] {number}: {error}") from None
    return tuple(listeners)


def _of_key(
    side: str, endpoints: Any, keyed: bool, insecure: bool, origin: str = ""
) -> list[Listener]:
    """Return the listeners of a side's key; raise ConfigError, with the key and the origin."""
    try:
        listeners = [Listener(endpoint, side=side) for endpoint in endpoints]
    except ConfigError as error:
        raise ConfigError(f"{side}: {error}{origin}") from None
    return [_resolved(side, listener, keyed, insecure, origin) for listener in listeners]


def _resolved(
    label: str, listener: Listener, keyed: bool, insecure: bool, origin: str = ""
) -> Listener:
    try:
        return listener.resolved(keys=keyed, insecure=insecure)
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}{origin}") from None


def _check_standby(config: Config, listeners: tuple[Listener, ...]) -> None:
    """Raise ConfigError for endpoints that a standby, or its peers, can't work with."""
    if config.standby_key and not config.standby_of:
        raise ConfigError("standby_key: standby_of has to say for which broker it is")
    preferred = {_place(endpoint): endpoint for endpoint in config.standby_of}
    for listener in listeners if preferred else ():
        transport, host, port = split_endpoint(listener.endpoint)
        if (
            transport == "inproc"
            or "*" in (port, host if transport == "ipc" else "")
            or port == "0"
        ):
            raise ConfigError(
                f"{listener.side}: {listener.endpoint!r} is not for a standby: peers have to know "
                "where to turn to, so give tcp://ADDRESS:PORT or ipc://PATH"
            )
        own = {(transport, name, port) for name in _hosts(host)}
        for place in own & set(preferred):
            raise ConfigError(
                f"standby_of: {preferred[place]!r} is this broker's own {listener.side}: name that "
                "of the other broker"
            )


def _place(endpoint: str) -> tuple[str, str, str]:
    """Return transport, host and port of a preferred broker; raise ConfigError if it has none."""
    try:
        transport, host, port = split_endpoint(endpoint)
    except ValueError as error:
        raise ConfigError(f"standby_of: {endpoint!r} {error}") from None
    if transport == "inproc" or "*" in (host, port) or port == "0":
        raise ConfigError(
            f"standby_of: {endpoint!r} is nothing to connect to from another process: give the "
            "tcp://HOST:PORT or ipc://PATH of the preferred broker's frontend"
        )
    return transport, "127.0.0.1" if host == "localhost" else host, port


def _hosts(bound: str) -> tuple[str, ...]:
    """Return by which hosts a bound one is reached on this machine, as far as that is certain."""
    if bound in ("*", "0.0.0.0", "::", "localhost"):
        return ("127.0.0.1", "::1")
    return (bound,)


def _service(name: str, entry: object) -> ServiceConfig:
    """Return the settings of service `name` from a `ServiceConfig` or a table."""
    label = f"services.{name!r}"
    try:
        check_service_name(name)
        if isinstance(entry, ServiceConfig):
            return entry
        if not isinstance(entry, Mapping):
            raise ValueError("is not a table")
        known = [field.name for field in dataclasses.fields(ServiceConfig)]
        for setting in entry:
            if setting not in known:
                raise ValueError(f"unknown key {setting!r}{suggestion(setting, known)}")
        return ServiceConfig(**entry)
    except ValueError as error:
        raise ConfigError(f"{label}: {error}") from None


_KEYS: Mapping[str, Key] = MappingProxyType(
    {
        field.name: dataclasses.replace(field.metadata["key"], name=field.name)
        for field in dataclasses.fields(Config)
        if "key" in field.metadata
    }
)
