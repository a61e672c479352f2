"""The peers' file while a broker runs: it is read again when it changes, or when somebody asks.

What cannot be read, or is wrong, changes nothing: the broker goes on with the peers that it has,
and tries again. Of what is right, and more than a table holds, that counts which it takes away. A
file counts as changed once two looks in a row see the same: most editors empty a file before they
write it. While there are peers, an empty file is wrong, too: somebody may ask in that moment.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pound._logging import LOGGER, log_event
from pound.errors import ConfigError
from pound.security.keyring import PEERS_FILE, KeyDirectory, Keyring
from pound.security.keytable import Keytable
from pound.security.narrowed import narrowed
from pound.security.tables import Tables

POLL_S = 0.25
AGAIN_S = 5.0  # after a failure: its cause may have been a lack of descriptors or memory

Signature = tuple[int, ...] | None


class _ChangingError(ConfigError):
    """The file was read while somebody wrote it: what it says is not known."""


class KeyWatch:
    """Reads the peers of a broker, again and again, in a thread of its own.

    Parameters
    ----------
    path : str
        The directory of the keys.
    broker : str
        The broker's public key. A new one counts from the next start.
    """

    def __init__(self, path: str, broker: str) -> None:
        self._directory = KeyDirectory(path)
        self._path = Path(path) / PEERS_FILE
        self._broker = broker
        self._tables = Tables()
        self._keyring: Keyring | None = None  # of the last table
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._faulty = ""  # why the file could not be read last
        self._ended = threading.Event()
        self._give: Callable[[Keytable], None] | None = None

    def table(self) -> Keytable:
        """Return the table of what the file says now; raise ConfigError if it is wrong."""
        keyring = self._directory.keyring_for(self._broker)
        if self._give is not None and self._signature() != self._seen:
            raise _ChangingError(f"{self._path} is being written: try again when that is done")
        self._check_meant(keyring)
        try:
            table = self._tables.build(keyring)
        except (ConfigError, MemoryError) as error:
            if self._keyring is None:
                raise
            self._narrow(self._keyring, keyring)
            raise ConfigError(
                f"{error or 'out of memory'}; what this file takes away counts all the same "
                "(peers, keys, roles, time), and the rest stays as it was"
            ) from error
        self._keyring = keyring
        log_event(
            LOGGER,
            logging.INFO,
            "keys read",
            path=str(self._path),
            peers=len(keyring.peers),
            revoked=len(keyring.revoked),
        )
        return table

    def _check_meant(self, new: Keyring) -> None:
        """Raise ConfigError for an empty file that would remove peers."""
        count = len(self._keyring.peers) if self._keyring is not None else 0
        if new.blank and count:
            raise ConfigError(
                f"{self._path} is empty, and the broker keeps its {count} "
                f"{'peer' if count == 1 else 'peers'}: to remove all, leave a comment line in it"
            )

    def _narrow(self, old: Keyring, new: Keyring) -> None:
        """Give away what is left of the peers before by a file that can't be used as a whole."""
        left = narrowed(old, new)
        if left != old and self._give is not None:
            self._give(self._tables.build(left))
            self._keyring = left

    def start(self, give: Callable[[Keytable], None]) -> None:
        """Watch the file from now on; each new table is given to `give`."""
        self._give = give
        threading.Thread(target=self._run, name="pound-broker-keys", daemon=True).start()

    def stop(self) -> None:
        """End the watch; nothing is given afterwards."""
        with self._lock:
            self._give = None
        self._ended.set()

    def reload(self) -> None:
        """Read the file, and give its table away; raise ConfigError if it is wrong."""
        with self._lock:
            self._read(self._signature())

    def _run(self) -> None:
        before = self._seen
        failed_at = 0.0
        while not self._ended.wait(POLL_S):
            signature = self._signature()
            settled, before = signature == before, signature
            again = self._faulty and time.monotonic() - failed_at >= AGAIN_S
            if not settled or not (again or signature != self._seen):
                continue
            try:
                with self._lock:
                    self._read(signature)
            except Exception:  # it is logged; a watch that ends would let the revoked stay
                failed_at = time.monotonic()

    def _read(self, signature: Signature) -> None:
        """Give away what the file says, or log that it can't be read; `signature` is its own."""
        self._seen = signature
        try:
            table = self.table()
        except _ChangingError:
            raise
        except Exception as error:
            self._report(str(error) or type(error).__name__)
            raise
        self._faulty = ""
        if self._give is not None:
            self._give(table)

    def _report(self, error: str) -> None:
        """Log why the file can't be read, once for each reason."""
        if self._faulty == error:
            return
        self._faulty = error
        log_event(LOGGER, logging.ERROR, "keys not read", path=str(self._path), error=error)

    def _signature(self) -> Signature:
        """Return what changes with the file; None: it is not there."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
