"""The peers' file while a broker runs: it is read again when it changes, or when somebody asks.

What cannot be read, or is wrong, changes nothing: the broker goes on with the peers that it has.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from pound._logging import LOGGER, log_event
from pound.errors import ConfigError
from pound.security.keyring import PEERS_FILE, KeyDirectory
from pound.security.keytable import Keytable
from pound.security.tables import Tables

POLL_S = 0.5


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
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._faulty: tuple[str, str] | None = None
        self._ended = threading.Event()
        self._give: Callable[[Keytable], None] | None = None

    def table(self) -> Keytable:
        """Return the table of what the file says now; raise ConfigError if it is wrong."""
        keyring = self._directory.keyring_for(self._broker)
        table = self._tables.build(keyring)
        log_event(
            LOGGER,
            logging.INFO,
            "keys read",
            path=str(self._path),
            peers=len(keyring.peers),
            revoked=len(keyring.revoked),
        )
        return table

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
            self._seen = self._signature()
            self._read()

    def _run(self) -> None:
        while not self._ended.wait(POLL_S):
            signature = self._signature()
            if signature != self._seen:
                with self._lock, contextlib.suppress(ConfigError):
                    self._seen = signature
                    self._read()

    def _read(self) -> None:
        try:
            table = self.table()
        except ConfigError as error:
            self._report(str(error))
            raise
        self._faulty = None
        if self._give is not None:
            self._give(table)

    def _report(self, error: str) -> None:
        """Log a faulty file, once for each content."""
        content = ""
        with contextlib.suppress(OSError):
            content = hashlib.sha256(self._path.read_bytes()).hexdigest()
        if self._faulty != (content, error):
            self._faulty = (content, error)
            log_event(
                LOGGER,
                logging.ERROR,
                "keys not read",
                path=str(self._path),
                error=error,
            )

    def _signature(self) -> tuple[int, ...] | None:
        """Return what changes with the file; None: it is not there."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
