"""The bench harness: the load generator finishes clean on sound subjects and sees what is wrong.

No timing is judged here. The generator is a second PND, PPP and MDP implementation, so each run
against the broker is an interoperation test too.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.figures import faults, ratio, spread, table
from bench.subjects import Shape
from tests.support import ROOT, Process, need

SMALL = ["--clients", "2", "--outstanding", "8", "--workers", "3"]
BRIEF = ["--warm-up-ms", "20", "--duration-ms", "100"]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the compiled programs."""
    need("cc")
    need("make")
    out = tmp_path_factory.mktemp("bench")
    command = ["make", "-s", "-j2", "-C", str(ROOT / "bench"), f"OUT={out}", "CFLAGS=-O1 -Werror"]
    subprocess.run(command, check=True)
    return out


@pytest.fixture
def floor(spawn: Callable[..., Process], programs: Path) -> tuple[str, str]:
    """Give the two endpoints of a running floor."""
    line = spawn([str(programs / "floor")]).wait_line(r"ready frontend=(\S+) backend=(\S+)")
    return line[1], line[2]


def load(programs: Path, dialect: str, ends: tuple[str, str], *more: str) -> tuple[int, Any]:
    """Run the generator; return its exit code and its figures, None if it printed none."""
    command = [str(programs / "load"), dialect, "--frontend", ends[0], "--backend", ends[1]]
    done = subprocess.run(
        [*command, *SMALL, *BRIEF, *more], capture_output=True, text=True, check=False, timeout=50
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def demand_clean(code: int, figures: Any) -> None:
    assert (code, figures["errors"], figures["lost"]) == (0, 0, 0), figures
    assert figures["requests"] > 0
    assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["max_us"]


@pytest.mark.parametrize(
    ("dialect", "more"),
    [
        ("plain", []),
        ("mdp1", []),
        ("pnd", ["--capacity", "1"]),
        ("pnd", ["--capacity", "64", "--duration-ms", "1300"]),  # libzmq's PINGs come each second
        ("pnd", ["--capacity", "4", "--bytes", "5000"]),
        ("pnd", ["--capacity", "2", "--bytes", "300000"]),
        ("plain", ["--bytes", "300000"]),
    ],
)
def test_broker_serves_the_load(programs: Path, broker: Any, dialect: str, more: list[str]) -> None:
    ends = broker.frontend_endpoints[0], broker.backend_endpoints[0]
    demand_clean(*load(programs, dialect, ends, *more))
    stats = broker.stats()
    assert stats["bad_messages"] == 0
    assert stats["waiting"] == stats["running"] == 0


@pytest.mark.parametrize("more", [[], ["--capacity", "8"], ["--bytes", "300000"]])
def test_floor_serves_the_load(programs: Path, floor: tuple[str, str], more: list[str]) -> None:
    demand_clean(*load(programs, "floor", floor, *more))


def test_baselines_on_libzmq_serve_the_load(programs: Path, spawn: Callable[..., Process]) -> None:
    need("zmq.h")
    queue = [str(programs / "guide_queue")]
    proxy = [sys.executable, str(ROOT / "bench" / "proxy.py")]
    for command, dialect in ((queue, "plain"), (proxy, "proxy")):
        line = spawn(command).wait_line(r"ready frontend=(\S+) backend=(\S+)")
        demand_clean(*load(programs, dialect, (line[1], line[2])))


HEAD = struct.Struct("<IQ")
BODY_BYTES = 64


class Liar:
    """A floor of one client that answers each request by itself, through `twist`."""

    def __init__(self, twist: Callable[[bytes], bytes]) -> None:
        self._twist = twist
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        worker, _ = self._listener.accept()
        client, _ = self._listener.accept()
        size = HEAD.size + BODY_BYTES
        with worker, client, client.makefile("rb") as stream:
            stream.read(4)
            while len(message := stream.read(size)) == size:
                try:
                    client.sendall(self._twist(message))
                except OSError:
                    break

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


@pytest.fixture
def lie() -> Iterator[Callable[[Callable[[bytes], bytes]], tuple[str, str]]]:
    liars: list[Liar] = []

    def start(twist: Callable[[bytes], bytes]) -> tuple[str, str]:
        liars.append(Liar(twist))
        return liars[-1].endpoint, liars[-1].endpoint

    yield start
    for liar in liars:
        liar.close()


def other_id(message: bytes) -> bytes:
    size, number = HEAD.unpack_from(message)
    return HEAD.pack(size, number + 1000) + message[HEAD.size :]


@pytest.mark.parametrize(
    ("twist", "complaint"),
    [
        (lambda message: message, ""),
        (lambda message: message[:-1] + b"?", "a body that it did not send"),
        (other_id, "a body that it did not send"),
        (lambda message: message + message, "a second answer"),
    ],
)
def test_wrong_answers_are_seen(
    programs: Path,
    lie: Callable[..., tuple[str, str]],
    twist: Callable[[bytes], bytes],
    complaint: str,
) -> None:
    one = ["--clients", "1", "--workers", "1", "--outstanding", "1"]
    code, figures = load(programs, "floor", lie(twist), *one)
    assert complaint in figures["first_error"]
    assert (code, figures["errors"] > 0) == (int(bool(complaint)), bool(complaint))


def test_nobody_there(programs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
    code, figures = load(programs, "pnd", (endpoint, endpoint))
    assert (code, figures) == (2, None)


def test_shape_is_read_and_written() -> None:
    assert Shape.parse("8x64x16x64") == Shape(8, 64, 16, 64)
    assert Shape.parse("8x64x16x1KiB") == Shape(8, 64, 16, 1024)
    for text in ("8x64x16x64", "4x8x8x1MiB", "1x1x1x1024"):
        assert str(Shape.parse(text)) == text
    with pytest.raises(ValueError, match="a shape is"):
        Shape.parse("8x64x16")


def measured(per_s: float, **more: Any) -> dict[str, Any]:
    sound = {"errors": 0, "lost": 0, "first_error": "", "seconds": 1.0, "requests": 5120}
    shape = {"clients": 8, "outstanding": 64}
    times = {"p50_us": 1.0, "p99_us": 2.0, "p999_us": 3.0, "load_cpu": 0.5, "subject_us": 2.0}
    return {"per_s": per_s, **sound, **times, "threads": [["ZMQbg/IO/0", 1.5]], **shape, **more}


def test_ratio_is_the_median_of_the_rounds() -> None:
    rounds = [
        {"pnd-64": measured(10.0), "floor-64": measured(20.0)},
        {"pnd-64": measured(90.0), "floor-64": measured(100.0)},
        {"pnd-64": measured(8.0), "floor-64": measured(10.0)},
    ]
    assert ratio(rounds, "pnd-64", "floor-64") == 0.8
    assert ratio(rounds, "pnd-64", "zmq_proxy") is None
    assert spread([9.0, 10.0, 12.0]) == pytest.approx(0.3)
    assert "0.80" in table(rounds).splitlines()[1]


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (measured(1.0), None),
        (measured(1.0, errors=1, first_error="a closed connection"), "closed connection"),
        (measured(1.0, lost=2), "2 requests lost"),
        (measured(1.0, seconds=0.1), "too short"),
        (measured(1.0, requests=5119, clients=8, outstanding=64), "too short"),
        (measured(1.0, subject_us=0.0), "CPU time"),
    ],
)
def test_worthless_measurements_are_named(figures: dict[str, Any], words: str | None) -> None:
    found = faults("pnd-64", figures)
    assert (len(found) == 1 and words in found[0]) if words else not found
