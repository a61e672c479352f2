"""The watch of the peers' file: whatever becomes of the file, a later revocation counts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from zmq.utils import z85

from pound._broker import key_watch
from pound._broker.key_watch import KeyWatch
from pound.errors import ConfigError
from pound.security.curve import new_pair
from pound.security.keyring import KeyDirectory, Keyring
from pound.security.peer import Peer
from tests import probe
from tests.support import wait_until

security = probe.load("security")

LONG_INTEGER = f"x = {'9' * 5000}\n"


def too_many_sets() -> str:
    """Return peers with a set of services of their own each: more than a table holds."""
    rows = (
        f'[peers.p{n}]\nkey = "{z85.encode(n.to_bytes(32, "big")).decode()}"\n'
        f'roles = ["client"]\nservices = ["s{n}"]\n'
        for n in range(1, 4097)
    )
    return "".join(rows)


class Watched:
    """A directory of keys with a peer, and a watch that notes the tables that it gives away."""

    def __init__(self, folder: Path) -> None:
        self.directory = KeyDirectory(folder / "keys")
        self.pair = self.directory.init()
        self.directory.add(Peer(name="eve", key=new_pair().public, roles=("client",)))
        self.peers = folder / "keys" / "peers.toml"
        self.watch = KeyWatch(str(folder / "keys"), self.pair.public)
        self.given: list[Keyring] = []

    def start(self) -> None:
        self.watch.table()
        self.watch.start(lambda _: self.given.append(self.directory.keyring()))

    def take_back(self, text: str) -> None:
        """Put the file back and revoke eve: the watch must see it."""
        self.peers.unlink(missing_ok=True)
        self.peers.write_text(text)
        self.directory.revoke("eve")
        wait_until(lambda: self.given and not self.given[-1].peers)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(key_watch, "AGAIN_S", 0.1)
    made = Watched(tmp_path)
    yield made
    made.watch.stop()


def reported(caplog: Any) -> Callable[[], bool]:
    return lambda: any("keys not read" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("text", ["peers = 3\n", LONG_INTEGER, ""], ids=["fault", "long", "empty"])
def test_a_faulty_file_ends_no_watch(watched: Watched, caplog: Any, text: str) -> None:
    watched.start()
    good = watched.peers.read_text()
    watched.peers.write_text(text)
    wait_until(reported(caplog))
    watched.take_back(good)


@pytest.mark.parametrize("text", ["", " \n\t\n"], ids=["none", "blank"])
def test_an_empty_file_takes_nobodys_key_away(watched: Watched, caplog: Any, text: str) -> None:
    """Many editors empty a file before they write it; a comment says that nobody is meant."""
    watched.start()
    watched.peers.write_text(text)
    words = "is empty, and the broker keeps its 1 peer: to remove all, leave a comment line"
    with pytest.raises(ConfigError, match=words):
        watched.watch.reload()
    assert reported(caplog)()
    assert not watched.given
    watched.peers.write_text("# nobody\n")
    watched.watch.reload()
    assert [keyring.peers for keyring in watched.given] == [{}]
    watched.peers.write_text(text)
    watched.watch.reload()  # nobody is left whom it could remove


def test_a_broker_may_start_with_an_empty_file(watched: Watched) -> None:
    watched.peers.write_text("")
    watched.start()
    watched.watch.reload()
    assert [keyring.peers for keyring in watched.given] == [{}]


def test_a_fifo_in_its_place_holds_nobody_up(watched: Watched, caplog: Any) -> None:
    watched.start()
    good = watched.peers.read_text()
    watched.peers.unlink()
    os.mkfifo(watched.peers)
    wait_until(reported(caplog))
    with pytest.raises(ConfigError, match="not a regular file"):
        watched.watch.reload()
    watched.take_back(good)


@pytest.mark.parametrize("error", [ConfigError("too many open files"), MemoryError()], ids=str)
def test_what_failed_once_is_tried_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The file does not change again: that it could not be read had another cause."""
    watched.start()
    read = watched.watch.table
    failed = threading.Event()

    def table() -> Any:
        if not failed.is_set():
            failed.set()
            raise error
        return read()

    monkeypatch.setattr(watched.watch, "table", table)
    watched.directory.revoke("eve")
    wait_until(lambda: watched.given and not watched.given[-1].peers)
    assert failed.is_set()


def test_a_file_that_is_being_written_is_not_taken(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It differs at each look, until its writer is done."""
    looks = iter(range(1, 6))
    last = [0]

    def signature() -> tuple[int, ...]:
        last[0] = next(looks, last[0])
        return (last[0],)

    read_at: list[int] = []
    read = watched.watch.table

    def table() -> Any:
        read_at.append(last[0])
        return read()

    watched.start()
    monkeypatch.setattr(watched.watch, "_signature", signature)
    monkeypatch.setattr(watched.watch, "table", table)
    wait_until(lambda: read_at)
    assert read_at == [5]


@pytest.mark.slow
def test_a_file_that_is_too_large_ends_keys_all_the_same(watched: Watched, caplog: Any) -> None:
    """The rest of it changes nothing; once it is mended all of it counts."""
    watched.directory.add(Peer(name="ada", key=new_pair().public, roles=("client",)))
    tables: list[Any] = []
    watched.watch.table()
    watched.watch.start(tables.append)
    good = watched.peers.read_text()
    watched.peers.write_text(good + too_many_sets())
    wait_until(reported(caplog))
    assert not tables
    watched.directory.revoke("eve")
    wait_until(lambda: tables)
    table = security.Table.taken(tables.pop())
    assert [table.name_of(n)[:2] for n in range(2)] == [(b"eve", 0), (b"ada", 1)]
    with pytest.raises(ConfigError, match=r"4097 different sets .* the rest stays as it was"):
        watched.watch.reload()
    watched.peers.write_text(good)
    wait_until(lambda: tables)
    assert security.Table.taken(tables[-1]).name_of(0)[:2] == (b"eve", 1)


def test_what_is_read_while_it_is_written_does_not_count(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """It may be half of a file, or none of it: nobody would be known."""
    tables: list[Any] = []
    watched.watch.table()
    watched.watch.start(tables.append)
    read = watched.watch._directory.keyring_for
    reads: list[Keyring] = []

    def keyring_for(broker: str) -> Keyring:
        if reads:
            return read(broker)
        text = watched.peers.read_text()
        watched.peers.write_text("")
        reads.append(read(broker))
        watched.peers.write_text(text + "\n")
        return reads[0]

    monkeypatch.setattr(watched.watch._directory, "keyring_for", keyring_for)
    with pytest.raises(ConfigError, match="is being written: try again"):
        watched.watch.reload()
    wait_until(lambda: tables)
    assert security.Table.taken(tables[0]).name_of(0)[:2] == (b"eve", 1)
    assert not reported(caplog)()
