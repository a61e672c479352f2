"""What `pound config show` says of the memory that a broker may need."""

from __future__ import annotations

from pathlib import Path

import pytest

from pound.cli.ceiling import ceiling, size
from pound.config import Config
from pound.security.keyring import KeyDirectory
from pound.security.peer import Peer
from tests.unit.security.pairs import pair_of


def words(config: Config) -> str:
    return "\n".join(ceiling(config))


def test_the_sum_is_that_of_its_parts() -> None:
    config = Config(memory_max="8 GiB", waiting_max=1 << 20, sessions_max=1 << 20)
    lines = ceiling(config)
    assert "needs at most 10.2 GiB" in lines[0]
    assert [line.split(" for ")[0] for line in lines[1:]] == ["- 8 GiB", "- 256 MiB", "- 2 GiB"]
    for part in ("1 GiB (waiting_bytes_max)", "64 MiB (answers_", "16 MiB (undelivered_"):
        assert part in lines[1]


def test_quotas_of_the_peers_are_added_up(tmp_path: Path) -> None:
    directory = KeyDirectory(tmp_path)
    directory.init()
    config = Config(keys=tmp_path)
    assert "has no peers yet (pound keys add)" in words(config)
    directory.add(
        Peer(name="a", key=pair_of(1).public, roles=("client",), bytes_max=3 << 20, open_max=10)
    )
    assert "Quotas of the one peer" in words(config)
    directory.add(Peer(name="b", key=pair_of(2).public, roles=("client",), bytes_max=1 << 20))
    told = ceiling(config)[-4:]
    assert told == [
        f"Quotas of 2 peers in {tmp_path}, added up:",
        "- bytes of open requests: 4 MiB (bytes_max); the broker takes 1 GiB (waiting_bytes_max);",
        "- open requests: 10, and those of 1 without a limit (open_max);",
        "- connections: no limit (connections_max).",
    ]


def test_keys_that_cannot_be_read_do_not_hide_the_rest(tmp_path: Path) -> None:
    told = words(Config(keys=tmp_path / "absent"))
    assert "Memory: " in told
    assert f"Quotas: unknown, {tmp_path / 'absent'} has no broker's keys" in told


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (1 << 62, "4194304 TiB")],
)
def test_sizes_are_as_people_write_them(number: int, text: str) -> None:
    assert size(number) == text
