"""``pound demo``: it succeeds on a small folder, and would fail if something were wrong."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pound.cli import demo
from pound.cli.demo import Kill, Tally, describe_body, problems, report
from tests.support import Process, pound_command, wait_until

RunPound = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def tally() -> Tally:
    """The tally of a run in which all went well."""
    tally = Tally(2, answered=2, plain=1)
    tally.workers = Counter({"worker, pid 7": 1, "PPP worker, pid 8": 1})
    tally.redeliveries = [100.0021]
    return tally


@pytest.fixture
def kill() -> Kill:
    return Kill(pid=7, at=100.0, held=3, death_seen=100.001, redelivery_seen=100.5, redelivered=1)


def test_the_demonstration_on_a_small_folder(run_pound: RunPound, tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.txt").write_bytes(b"a few words\n" * 4**number)
    done = run_pound("demo", str(tmp_path), timeout=55)
    output = done.stdout.decode()
    assert done.returncode == 0, output + done.stderr.decode()
    assert "nothing was lost" in output
    assert "7 files" in output


def children_of(pid: int) -> list[int]:
    children = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                children.append(int(entry.parent.name))
    return children


def test_terminated_it_ends_its_processes(spawn: Callable[..., Process]) -> None:
    process = spawn(pound_command("demo"))
    wait_until(lambda: len(children_of(process.pid)) == demo.WORKERS + 2)
    children = children_of(process.pid)
    process.signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_a_folder_without_files_is_wrong_usage(run_pound: RunPound, tmp_path: Path) -> None:
    assert run_pound("demo", str(tmp_path)).returncode == 2


def test_a_good_run_has_no_problem_and_a_table(tally: Tally, kill: Kill) -> None:
    assert problems(tally, kill) == []
    lines = {line.strip() for line in report(tally, kill, 2.0).splitlines()}
    squeezed = {" ".join(line.split()) for line in lines}
    assert "answered / expected 2 / 2" in squeezed
    assert "lost 0" in squeezed
    assert "answered by worker, pid 7, killed 1" in squeezed
    assert "from kill to its death seen 1 ms" in squeezed
    assert "from kill to the first redelivery 2 ms" in squeezed
    assert "requests/s 1" in squeezed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answered": 1}, "1 lost"),
        ({"wrong": 1}, "1 wrong"),
        ({"failures": ["Busy: no"]}, "Busy"),
        ({"plain": 0}, "REQ client"),
        ({"workers": Counter({"worker, pid 7": 2})}, "PPP worker"),
    ],
)
def test_whatever_is_missing_fails_it(
    tally: Tally, kill: Kill, change: dict[str, Any], reason: str
) -> None:
    for name, value in change.items():
        setattr(tally, name, value)
    assert any(reason in problem for problem in problems(tally, kill))


def test_a_kill_that_showed_nothing_fails_it(tally: Tally, kill: Kill) -> None:
    assert problems(tally, None)
    kill.death_seen = None
    assert problems(tally, kill)


def test_answers_are_compared(tally: Tally) -> None:
    right = describe_body(b"one two\nthree")
    assert (right["lines"], right["words"], right["bytes"]) == (1, 3, 13)
    tally.take(json.dumps({**right, "by": "w", "attempt": 2, "began": 5.0}).encode(), right)
    assert (tally.wrong, tally.redeliveries[-1]) == (0, 5.0)
    for answer in (b"", b"{}", json.dumps({**right, "lines": 2}).encode()):
        before = tally.wrong
        tally.take(answer, right)
        assert tally.wrong == before + 1


def test_files_are_found_without_caches_and_giants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "FILE_BYTES_MAX", 5)
    for name in ("a", "b/c", "__pycache__/d", ".git/e"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "giant").write_bytes(b"123456")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert demo.files_of(tmp_path) == [tmp_path / "a", tmp_path / "b" / "c"]


def test_ctrl_c_while_a_process_is_made_leaves_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            made.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("pound.cli.demo.subprocess.Popen", Interrupted)
    sleeps = ["-c", "import time; time.sleep(600)"]
    with pytest.raises(KeyboardInterrupt), demo.process("child", sleeps, tmp_path):
        pytest.fail("it was not interrupted")
    left = made[0].poll() is None
    made[0].kill()
    made[0].wait()
    assert not left
