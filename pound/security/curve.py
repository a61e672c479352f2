"""CURVE keys as people see them: 40 characters of Z85."""

from __future__ import annotations

import dataclasses
import struct

import zmq
from zmq.utils import z85

from pound.errors import ConfigError

KEY_CHARACTERS = 40


@dataclasses.dataclass(frozen=True)
class Pair:
    """A public key and its secret, which `repr` leaves out.

    Raises
    ------
    ConfigError
        One is no key, or they don't belong together. No message holds a secret.
    """

    public: str
    secret: str = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        """Check both, and that one is made from the other."""
        for field in ("public", "secret"):
            if not is_key(getattr(self, field)):
                raise ConfigError(f"{field} is not a key: {KEY_CHARACTERS} characters of Z85")
        if zmq.curve_public(self.secret.encode()).decode() != self.public:
            raise ConfigError("public is not the public key of secret")


def new_pair() -> Pair:
    """Return a new key pair."""
    public, secret = zmq.curve_keypair()
    return Pair(public.decode(), secret.decode())


def is_key(value: object) -> bool:
    """Return whether `value` is 32 bytes in Z85, not all zero."""
    if not isinstance(value, str) or len(value) != KEY_CHARACTERS or not value.isascii():
        return False
    try:
        return any(z85.decode(value))
    except (KeyError, struct.error):  # a character that is none of Z85; five that exceed 32 bits
        return False


def checked_key(label: str, value: object) -> str:
    """Return a public key; raise ConfigError, which shows the value, if it is none."""
    if not isinstance(value, str) or not is_key(value):
        raise ConfigError(
            f"{label}: {value!r} is not a key: {KEY_CHARACTERS} characters of Z85, not all zero"
        )
    return value
