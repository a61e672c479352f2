"""The bench harness: the load generator finishes clean on sound subjects and sees what is wrong.

No timing is judged here. The generator is a second PND, PPP and MDP implementation, so each run
against the broker is an interoperation test too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.micro import load as load_micro
from bench.micro.test_ops import LEAVES
from bench.runner import copies, page, plan, plots, profile, run
from bench.runner.contestants import CONTESTANTS
from bench.runner.figures import faults, ratio, spread, table
from bench.runner.keys import LOAD_FILE, make_keys, sodium
from bench.runner.measure import Effort, measure
from bench.runner.subjects import Contestant, Shape, SubjectError
from bench.runner.targets import AIM_MET, AT_THE_BAR, MET, MISSED, Outcome, Target, outcomes
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
        ("pnd", ["--capacity", "2", "--work-us", "500", "--light", "1"]),
    ],
)
def test_broker_serves_the_load(
    programs: Path, start_broker: Callable[..., Any], dialect: str, more: list[str]
) -> None:
    broker = start_broker()
    ends = broker.frontend_endpoints[0], broker.backend_endpoints[0]
    demand_clean(*load(programs, dialect, ends, *more))
    stats = broker.stats()
    assert stats["bad_messages"] == 0
    assert stats["waiting"] == stats["running"] == 0


def test_light_clients_have_one_request_open_and_figures_of_their_own(
    programs: Path, start_broker: Callable[..., Any]
) -> None:
    """Of 3 clients, two light: with a window of 100 and one slot of 1 ms, 102 are open at most."""
    broker = start_broker()
    ends = broker.frontend_endpoints[0], broker.backend_endpoints[0]
    shape = ["--clients", "3", "--light", "2", "--outstanding", "100", "--workers", "1"]
    work = ["--work-us", "1000", "--duration-ms", "300"]
    code, figures = load(programs, "pnd", ends, *shape, *work)
    demand_clean(code, figures)
    assert figures["work_us"] == 1000
    assert 0 < figures["light_requests"] < figures["requests"]
    # Two of three turns are theirs: they wait for two tasks, the other client for 300.
    assert figures["light_p50_us"] < figures["max_us"] / 2


def test_work_is_refused_where_workers_of_a_dialect_take_no_time(
    programs: Path, floor: tuple[str, str]
) -> None:
    assert load(programs, "floor", floor, "--work-us", "1") == (2, None)


@pytest.mark.parametrize("more", [[], ["--capacity", "8"], ["--bytes", "300000"]])
def test_floor_serves_the_load(programs: Path, floor: tuple[str, str], more: list[str]) -> None:
    demand_clean(*load(programs, "floor", floor, *more))


def test_baselines_on_libzmq_serve_the_load(programs: Path, spawn: Callable[..., Process]) -> None:
    need("zmq.h")
    queue = [str(programs / "guide_queue")]
    proxy = [sys.executable, str(ROOT / "bench" / "baselines" / "proxy.py")]
    for command, dialect in ((queue, "plain"), (proxy, "proxy")):
        line = spawn(command).wait_line(r"ready frontend=(\S+) backend=(\S+)")
        demand_clean(*load(programs, dialect, (line[1], line[2])))


@pytest.fixture
def curve(tmp_path: Path) -> list[str]:
    """Give the arguments of the load generator for a subject with the keys in ``keys``."""
    make_keys(tmp_path / "keys")
    return ["--curve", str(tmp_path / "keys" / LOAD_FILE), "--sodium", sodium()]


def test_an_encrypted_proxy_serves_who_has_its_key(
    programs: Path, spawn: Callable[..., Process], tmp_path: Path, curve: list[str]
) -> None:
    proxy = [sys.executable, str(ROOT / "bench" / "baselines" / "proxy.py"), str(tmp_path / "keys")]
    line = spawn(proxy).wait_line(r"ready frontend=(\S+) backend=(\S+)")
    ends = line[1], line[2]
    for more in ([], ["--bytes", "5000"], ["--connects", "--workers", "0"]):
        demand_clean(*load(programs, "proxy", ends, *curve, *more))
    code, figures = load(programs, "proxy", ends)
    assert (code, figures) == (2, None)


@pytest.mark.parametrize("capacity", ["1", "64"])
def test_a_broker_with_keys_serves_the_load(
    programs: Path,
    start_broker: Callable[..., Any],
    tmp_path: Path,
    curve: list[str],
    capacity: str,
) -> None:
    broker = start_broker(keys=tmp_path / "keys")
    ends = broker.frontend_endpoints[0], broker.backend_endpoints[0]
    demand_clean(*load(programs, "pnd", ends, *curve, "--capacity", capacity))
    assert broker.stats()["bad_messages"] == 0
    assert load(programs, "pnd", ends)[0] == 2


@pytest.mark.parametrize("dialect", ["pnd", "plain"])
def test_connections_are_counted(
    programs: Path, start_broker: Callable[..., Any], dialect: str
) -> None:
    broker = start_broker()
    ends = broker.frontend_endpoints[0], broker.backend_endpoints[0]
    code, figures = load(programs, dialect, ends, "--connects", "--workers", "0")
    demand_clean(code, figures)
    assert broker.stats()["accepted"] == 0


def test_without_the_headers_of_libzmq_the_rest_is_built(tmp_path: Path) -> None:
    need("cc")
    need("make")
    command = ["make", "-n", "-C", str(ROOT / "bench"), f"OUT={tmp_path}", "CC=cc -nostdinc"]
    environ = {k: v for k, v in os.environ.items() if k not in ("CPATH", "C_INCLUDE_PATH")}
    built = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    assert f"-o {tmp_path}/load " in built
    assert "-lzmq" not in built


@pytest.fixture
def zmq_floor(spawn: Callable[..., Process], programs: Path) -> tuple[str, str]:
    """Give the two endpoints of a running zmq_floor, on the libzmq that a measurement has it on."""
    need("zmq.h")
    *environ, _ = CONTESTANTS["zmq_floor-1"].command
    process = spawn([*environ, str(programs / "zmq_floor")])
    line = process.wait_line(r"ready frontend=(\S+) backend=(\S+)")
    return line[1], line[2]


@pytest.mark.parametrize(
    "more",
    [
        ["--capacity", "1"],
        ["--capacity", "8", "--outstanding", "600", "--bytes", "4000"],  # more than a packet holds
        ["--capacity", "64"],
    ],
)
def test_zmq_floor_serves_the_load(
    programs: Path, zmq_floor: tuple[str, str], more: list[str]
) -> None:
    demand_clean(*load(programs, "pnd", zmq_floor, *more))


def test_zmq_floor_refuses_what_it_does_not_relay(
    programs: Path, zmq_floor: tuple[str, str]
) -> None:
    code, figures = load(programs, "pnd", zmq_floor, "--bytes", "5000")
    assert (code, figures["first_error"]) == (1, "ERROR 12: only inline bodies come by")


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


@pytest.mark.parametrize("main", [run.main, profile.main])
def test_a_wrong_shape_is_refused_in_words(
    main: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--shape", "8x64"])
    assert end.value.code == 2
    assert "a shape is CLIENTSxOUTSTANDINGxWORKERSxBYTES, not '8x64'" in capsys.readouterr().err


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


# --- targets


@pytest.mark.parametrize(
    ("better", "verdicts"),
    [
        (
            "more",
            {
                2.0: AIM_MET,
                1.5: AIM_MET,
                1.4: MET,
                1.02: AT_THE_BAR,
                0.98: AT_THE_BAR,
                0.96: MISSED,
            },
        ),
        ("less", {0.1: AIM_MET, 0.96: MET, 0.98: AT_THE_BAR, 1.02: AT_THE_BAR, 1.04: MISSED}),
    ],
)
def test_verdicts(better: str, verdicts: dict[float, str]) -> None:
    aim = 1.5 if better == "more" else 0.5
    target = Target("8x64x16x64", "pnd-64", "per_s", 1.0, aim, "floor-64", "", better)
    assert {seen: target.verdict(seen) for seen in verdicts} == verdicts


def test_outcomes_compare_within_a_round() -> None:
    rounds = {
        "8x64x10x64": [{"pnd-1": measured(1.0, subject_us=us)} for us in (2.0, 4.0, 8.0)],
        "8x64x10000x64": [{"pnd-1": measured(1.0, subject_us=us)} for us in (3.0, 4.4, 20.0)],
    }
    rounds["8x64x10x64"][0]["pnd-1"]["copies"] = 0.25  # measured once
    scale = Target(
        "8x64x10000x64", "pnd-1", "subject_us", 1.2, base_shape="8x64x10x64", better="less"
    )
    once = Target("8x64x10x64", "pnd-1", "copies", 0.02, better="less")
    elsewhere = Target("1x1x1x64", "pnd-1", "p50_us", 1.0, base="zmq_proxy")
    found = outcomes([scale, once, elsewhere], rounds)
    assert [(one.target, one.seen, one.verdict) for one in found] == [
        (scale, 1.5, MISSED),
        (once, 0.25, MISSED),
    ]
    assert (found[0].low, found[0].high) == (1.1, 2.5)


def test_every_target_is_measured_by_a_group() -> None:
    whole = plan.read()
    measured_pairs = {
        (str(shape), name)
        for group in whole.groups
        for shape in group.shapes
        for name in (plan.every() if plan.ALL in group.contestants else group.contestants)
    }
    for target in whole.targets:
        base = target.base_shape or target.shape, target.base or target.contestant
        assert {(target.shape, target.contestant), base} <= measured_pairs, target


def test_a_plan_of_unknown_names_is_refused(tmp_path: Path) -> None:
    text = plan.FILE.read_text().replace('base = "floor-64"', 'base = "flor-64"')
    file = tmp_path / "targets.toml"
    file.write_text(text)
    with pytest.raises(KeyError, match="flor-64"):
        plan.read(file)


def test_plots_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    row = {
        "shape": "1x1x1x64",
        "contestant": "pnd-1",
        "base": "zmq_proxy",
        "base_shape": "",
        "seen": 1.0,
        "low": 0.9,
        "high": 1.1,
        "must": 1.15,
        "aim": None,
        "better": "less",
        "verdict": MET,
    }
    seen = {"distribution_us": [(10.0, 900), (20.0, 99), (30.0, 1)]}
    shapes = {"1x1x1x64": {"summary": {"pnd-1": seen, "zmq_proxy": seen}}}
    plots.draw({"targets": [row], "shapes": shapes}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "targets.png",
        "targets.svg",
        "latency.png",
        "latency.svg",
    }


# --- one measurement

BRIEFLY = Effort(seconds=0.1, warm_up=0.05)


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, programs: Path) -> Path:
    """Let measurements use the programs of this test run."""
    monkeypatch.setattr("bench.runner.measure.OUT", programs)
    monkeypatch.setattr(copies, "LIBRARY", programs / "copies.so")
    return programs


def test_requests_that_wait_are_weighed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.runner.subjects.FILL_MIN", 20_000)
    figures = measure(CONTESTANTS["pnd-64"], Shape(4, 5000, 2, 64), BRIEFLY)
    assert figures["errors"] == figures["lost"] == 0
    assert 50 < figures["waiting_bytes"] < 2000


def test_copies_of_bodies_are_seen(out: Path) -> None:
    floor = Contestant("floor", (str(out / "floor"),), "floor", 8)
    effort = Effort(seconds=0.3, warm_up=0.1)
    large = Shape(2, 4, 2, 1 << 20)
    assert copies.count(floor, large, effort) > 1
    assert copies.count(CONTESTANTS["pnd-8"], large, effort) < 0.3  # Python's start is in it


def test_a_subject_that_does_not_start(out: Path) -> None:
    silent = Contestant("silent", (sys.executable, "-c", "import sys; sys.exit('no port')"), "pnd")
    with pytest.raises(SubjectError, match="no port"):
        measure(silent, Shape(1, 1, 1, 64), BRIEFLY)


def test_a_whole_run(out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    floor = dataclasses.replace(CONTESTANTS["floor-1"], command=(str(out / "floor"),))
    monkeypatch.setitem(CONTESTANTS, "floor-1", floor)
    monkeypatch.setattr("bench.runner.run.build", lambda: None)
    json_file = tmp_path / "results.json"
    shape = ["--shape", "2x4x2x64", "--rounds", "1", "--seconds", "0.25", "--warm-up", "0.05"]
    with pytest.raises(SystemExit) as end:
        run.main(["--only", "floor-1", *shape, "--json", str(json_file)])
    assert end.value.code == 0
    report = json.loads(json_file.read_text())
    figures = report["shapes"]["2x4x2x64"]["summary"]["floor-1"]
    assert figures["per_s"] > 0
    assert sum(count for _, count in figures["distribution_us"]) > 0
    report["targets"] = [
        Outcome(Target("2x4x2x64", "floor-1", "per_s", 1.0), 2.0, 1.0, 3.0, MET).as_dict()
    ]
    text = page.results(report)
    assert "| floor-1 | " in text
    assert "| 2x4x2x64 | floor-1, requests/s | ≥ 1 |  | 2 | 1 - 3 | met |" in text


# --- a run whose measurements are made up


class Bench:
    """`python -m bench` on a machine that has every contestant; no process is started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch = monkeypatch
        self._json = folder / "results.json"
        self.failing = dict[str, int]()  # from that measurement of it on, by contestant
        self.seen: list[str] = []
        for name in CONTESTANTS:
            self.replace(name, ())
        for name in ("build", "raise_file_limit"):
            monkeypatch.setattr(run, name, lambda: None)
        monkeypatch.setattr(run, "measure", self._measure)
        monkeypatch.setattr(copies, "count", lambda *_: 0.0)

    def replace(self, name: str, needs: tuple[str, ...]) -> None:
        """Let a contestant need other programs."""
        one = dataclasses.replace(CONTESTANTS[name], needs=needs)
        self._patch.setitem(CONTESTANTS, name, one)

    def _measure(self, contestant: Contestant, shape: Shape, effort: Effort) -> dict[str, Any]:
        name = contestant.name
        self.seen.append(name)
        if self.seen.count(name) >= self.failing.get(name, sys.maxsize):
            raise SubjectError(f"{name} is not ready")
        return measured(100.0, requests=1_000_000, waiting_bytes=100.0, light_p99_us=100.0)

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Return the exit code and the report."""
        with pytest.raises(SystemExit) as end:
            run.main([*arguments, "--json", str(self._json)])
        assert isinstance(end.value.code, int)
        report: dict[str, Any] = json.loads(self._json.read_text())
        return end.value.code, report


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_targets_that_were_not_measured_are_faults(bench: Bench) -> None:
    assert bench.run("--all", "--quick")[1]["faults"] == []
    bench.replace("guide_queue", ("no-such-program",))
    code, report = bench.run("--all", "--quick")
    assert code == 1
    assert report["faults"] == [
        "not measured: 8x64x16x64: ppp / guide_queue, requests/s",
        "not measured: 8x64x128x64: ppp / guide_queue, requests/s",
    ]
    assert len(report["targets"]) == len(plan.read().targets) - 2


def test_a_figure_that_is_only_taken_once_is_of_all_rounds(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = bench.run("--all")
    assert len(report["targets"]) == len(plan.read().targets)
    assert "Fewer than" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "targets"),
    [
        ("--shape 8x64x16x64", 7),  # of whom is here: nobody can look at ppp / guide_queue
        ("--only pnd-64,floor-64", 1),
        ("--only ppp,guide_queue,floor-1", 1),
        ("--only pnd-8,zmq_proxy --shape 4x8x8x1MiB", 1),  # copies are only counted with --all
        ("--only pnd-1 --shape 8x64x10000x64", 0),
        ("--only pnd-1 --shape 8x64x10000x64 --shape 8x64x10x64", 1),
    ],
)
def test_of_a_chosen_subset_no_more_is_asked(bench: Bench, arguments: str, targets: int) -> None:
    bench.replace("guide_queue", ("no-such-program",))
    code, report = bench.run("--quick", *arguments.split())
    assert (code, report["faults"], len(report["targets"])) == (0, [], targets)


def test_nobody_that_was_chosen_is_here(bench: Bench) -> None:
    bench.replace("guide_queue", ("no-such-program",))
    with pytest.raises(SystemExit) as end:
        run.main(["--only", "guide_queue"])
    assert end.value.code == 2


def test_who_fails_is_left_out_and_the_others_go_on(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.failing = {"floor-64": 2}
    code, report = bench.run("--only", "floor-64,pnd-64,zmq_proxy")
    (fault,) = report["faults"]
    assert code == 1
    assert "8x64x16x64 round 2 floor-64" in fault
    assert fault.endswith("floor-64 is not ready")
    assert {name: bench.seen.count(name) for name in bench.seen} == {
        "floor-64": 2,
        "pnd-64": 7,
        "zmq_proxy": 7,
    }
    few = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Fewer")]
    assert few == [
        "Fewer than 7 rounds of floor-64: for orientation, not for a verdict.",
        "Fewer than 7 rounds of 8x64x16x64: pnd-64 / floor-64, requests/s:"
        " for orientation, not for a verdict.",
    ]


def test_who_fails_at_once_leaves_a_target_without_a_look(bench: Bench) -> None:
    bench.failing = {"pnd-8": 1}
    code, report = bench.run("--all", "--quick")
    assert code == 1
    failed = [fault for fault in report["faults"] if "is not ready" in fault]
    assert len(failed) == 2  # the shapes that pnd-8 is measured on
    assert [fault for fault in report["faults"] if fault not in failed] == [
        "not measured: 8x64x16x64: pnd-8 / floor-8, requests/s",
        "not measured: 4x8x8x1MiB: pnd-8 / zmq_proxy, requests/s",
        "not measured: 4x8x8x1MiB: pnd-8, copies of each byte",
    ]


def test_bodies_whose_copies_are_not_counted_are_a_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> float:
        raise SubjectError("no figures")

    monkeypatch.setattr(copies, "count", fail)
    code, report = bench.run("--all", "--quick")
    assert code == 1
    assert sum("no figures" in fault for fault in report["faults"]) == 3
    assert "not measured: 4x8x8x1MiB: pnd-8, copies of each byte" in report["faults"]


# --- the micro-benchmarks


def test_micro_benchmarks_run() -> None:
    need("cc")
    need("module:Cython")
    ops = load_micro()
    for leaf in LEAVES:
        getattr(ops, leaf)(10).run(100)
    ops.Dispatcher(3).run(100)
    codec = ops.Codec(8)
    codec.write(64)
    codec.read(64)


# --- the profile


def test_the_top_of_a_profile() -> None:
    stacks = [
        "run (a.py:1);work (pound/_core.pyx:7) 3",
        "run (a.py:2);work (pound/_core.pyx:9) 2",
        "run (a.py:1);zmq_poll (libzmq.so.5);poll (libc.so.6) 9",
        "run (a.py:1);wait (pound/_core.pyx:3);poll (libc.so.6) 2",
        "run (a.py:1);0x7f00 (libzmq.so.5);poll (libc.so.6) 5",
    ]
    assert profile.top(stacks).splitlines() == [
        "10 samples at work, 11 waiting",
        "   self  within  function",
        "  50.0%   50.0%  work (pound/_core.pyx)",
        "  50.0%   50.0%  poll (libc.so.6)",
    ]
