"""What a key of the configuration is: its kind, its range, and how a value is read.

Every kind takes text, as a file, a variable or a flag has it. What a value is not, is a sentence in
a :class:`ConfigError` that names the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Callable, Iterable
from fractions import Fraction

from pound._wire.names import NAME_BYTES_MAX, RESERVED_PREFIXES
from pound.errors import ConfigError

ENVIRONMENT_PREFIX = "POUND_"
# Sizes are those of memory: k, kB and KiB all are 1024 bytes.
SIZE_UNITS = {"": 1, "b": 1} | {
    letter + end: 1 << 10 * power
    for power, letter in enumerate("kmgt", 1)
    for end in ("", "b", "ib")
}
TIME_UNITS = {
    "": 1.0,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(s|m|h)\s*")
RATE_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
RATE_MAX = 1e9
BURST_SECONDS = 2  # of its rate, that a client may ask at once
AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)")  # a number and its unit
FLAG_WORDS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@dataclasses.dataclass(frozen=True)
class Key:
    """The declaration of one key.

    Parameters
    ----------
    name : str
        As written in the file.
    kind : str
        ``endpoints``, ``seconds``, ``count``, ``size``, ``flag``, ``choice``, ``name``, ``path``
        (of a directory) or ``file``.
    default : object
        The value when no source gives one.
    meaning : str
        One sentence for people.
    low, high : float
        The inclusive range of numbers.
    choices : tuple of str
        The words that a ``choice`` may be.
    """

    name: str
    kind: str
    default: object
    meaning: str
    low: float = 0
    high: float = math.inf
    choices: tuple[str, ...] = ()

    @property
    def environment(self) -> str:
        """The environment variable that sets this key."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The flag of ``pound serve`` that sets this key."""
        return "--" + self.name.replace("_", "-")

    @property
    def unit(self) -> str:
        """The unit, as docs and help texts name it."""
        return {"seconds": "s", "size": "bytes", "endpoints": "URL"}.get(self.kind, "")

    def parse(self, value: object) -> object:
        """Return `value` as this key's type; text is accepted for every kind.

        Raises
        ------
        ConfigError
            If it is not one, or out of range.
        """
        try:
            return _PARSERS[self.kind](self, value)
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.name}: {error}") from None

    def in_range(self, number: float) -> None:
        """Raise ValueError unless `number` is within this key's range."""
        if not self.low <= number <= self.high:
            upper = "" if math.isinf(self.high) else f" and at most {_plain(self.high)}"
            low = _plain(self.low)
            raise ValueError(f"{_plain(number)} is out of range: at least {low}{upper}")


def _plain(number: float) -> str:
    """Return a number as people write it: whole ones have all their digits and no point."""
    whole = abs(number) < 1e21 and number == int(number)
    return str(int(number)) if whole else f"{number:g}"


def _parse_endpoints(key: Key, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",") if value else ()
    if not isinstance(value, Iterable):
        raise TypeError(f"{value!r} is not a list of endpoints")
    endpoints = tuple(item.strip() if isinstance(item, str) else item for item in value)
    if endpoints == key.default == ():
        return endpoints
    if not endpoints or not all(isinstance(item, str) and item for item in endpoints):
        raise ValueError("needs at least one endpoint, each a text such as tcp://127.0.0.1:5555")
    return endpoints


def seconds_of(text: str) -> float:
    """Return a time that a person wrote: ``2.5``, ``500ms``, ``30 s``, ``2m``, ``1h``.

    Raises
    ------
    ValueError
        It is none.
    """
    match = AMOUNT.fullmatch(text.strip().lower())
    if match is not None and match[2] in TIME_UNITS:
        return float(match[1]) * TIME_UNITS[match[2]]
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time: a number of seconds, or 500ms, 30s, 2m, 1h"
        ) from None


def rate_of(label: str, value: object) -> float:
    """Return requests per second of a rate such as ``100/s``; an empty one, no limit, is 0.

    Raises
    ------
    ConfigError
        It is none; `label` is the key that it is of.
    """
    if value == "":
        return 0.0
    match = RATE.fullmatch(value) if isinstance(value, str) else None
    rate = float(match[1]) / RATE_SECONDS[match[2]] if match else 0.0
    if not 0 < rate <= RATE_MAX:
        raise ConfigError(f"{label}: {value!r} is no rate, such as 100/s, 30/m or 5/h")
    return rate


def burst_of(rate: float) -> float:
    """Return how many requests may come at once at a rate per second."""
    return max(1.0, BURST_SECONDS * rate)


def _parse_seconds(key: Key, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{value!r} is not a number of seconds")
    number = seconds_of(value) if isinstance(value, str) else float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number of seconds")
    key.in_range(number)
    return number


def _parse_count(key: Key, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{value!r} is not a whole number")
    try:
        number = int(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a whole number") from None
    key.in_range(number)
    return number


def _parse_size(key: Key, value: object) -> int:
    if isinstance(value, str):
        match = AMOUNT.fullmatch(value.strip().lower())
        if match is None or match[2] not in SIZE_UNITS:
            raise ValueError(
                f"{value!r} is not a size: a number of bytes, or 64k, 64MB, 1.5GiB (k is 1024)"
            )
        value = int(Fraction(match[1]) * SIZE_UNITS[match[2]])
    return _parse_count(key, value)


def _parse_flag(key: Key, value: object) -> bool:
    if isinstance(value, str) and value.strip().lower() in FLAG_WORDS:
        value = FLAG_WORDS[value.strip().lower()]
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _parse_choice(key: Key, value: object) -> str:
    if not isinstance(value, str) or value not in key.choices:
        choices = ", ".join(key.choices)
        raise ValueError(f"{value!r} is not one of {choices}{suggestion(value, key.choices)}")
    return value


def _parse_name(key: Key, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    check_service_name(value)
    return value


def _parse_path(key: Key, value: object) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{value!r} is not a path")
    path = os.fspath(value)
    if not isinstance(path, str) or "\0" in path:
        raise ValueError(f"{value!r} is not a path")
    return path


_PARSERS: dict[str, Callable[[Key, object], object]] = {
    "endpoints": _parse_endpoints,
    "seconds": _parse_seconds,
    "count": _parse_count,
    "size": _parse_size,
    "flag": _parse_flag,
    "choice": _parse_choice,
    "name": _parse_name,
    "path": _parse_path,
    "file": _parse_path,
}


def suggestion(word: object, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the nearest of the known words, or nothing."""
    near = difflib.get_close_matches(str(word), known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_service_name(name: str) -> None:
    """Raise ValueError unless a service may have this name."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} is no valid Unicode text") from None
    if size > NAME_BYTES_MAX:
        raise ValueError(f"a service name has at most {NAME_BYTES_MAX} bytes")
    if name.startswith(RESERVED_PREFIXES):
        raise ValueError(f"{name!r}: names that begin with {name.split('.')[0]}. are reserved")
