"""``python -m bench.runner.profile``: where the broker and a Python worker spend their time.

py-spy looks at the process from outside, a hundred times a second, into Python, Cython and C
frames alike (``--native``). For each profile NAME there are NAME.svg, a flame graph, and NAME.txt,
the functions that samples ended in. docs/profiling.md reads them. Threads without Python, that is
libzmq's I/O thread, are beyond py-spy; where ``perf`` is installed, NAME-perf.txt has all threads.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.runner.contestants import CONTESTANTS
from bench.runner.measure import Effort, Subject, build, running
from bench.runner.subjects import OUT, ROOT, SubjectError, read_shape

BROKER, WORKER = "broker", "worker"
SHAPE = "8x64x16x64"
CAPACITY = 64
WORKER_CAPACITY = 512  # all that is open: the broker must not be what it waits for
RATE_HZ = 100  # it stops the process for each look: more often, and it mostly sees itself
SETTLING_S = 1.0
LOAD_S = 600.0  # longer than all looks: the load is killed after them
TOP = 40  # functions in a table
# A stack waits if it ends in one of these, or at most three frames below; or in poll, unless libzmq
# only looks there whether something has come.
IDLE = re.compile(r"PyThread_acquire_lock|lock_acquire|zmq_poll|select|epoll_wait|pthread_cond_")
IDLE_FRAMES = 4
PLACE = re.compile(r"^(?P<name>.*) \((?P<file>.*?)(:\d+)?\)$")

REFUSED = """\
py-spy may not look into the process. It needs the right to trace it (ptrace). Either run
`make profile` as root; or allow it on this machine until the next start,
    sudo sysctl kernel.yama.ptrace_scope=0
or, in a container, start that with --cap-add SYS_PTRACE."""


def main(arguments: list[str] | None = None) -> None:
    """Profile what is asked for, print where the files are."""
    parser = argparse.ArgumentParser(prog="python -m bench.runner.profile", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/profile"))
    parser.add_argument("--seconds", type=float, default=15.0, help="of each look")
    parser.add_argument("--only", choices=(BROKER, WORKER))
    parser.add_argument("--shape", type=read_shape, default=read_shape(SHAPE))
    parser.add_argument("--contestant", choices=CONTESTANTS, default=f"pnd-{CAPACITY}")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        build()
        if options.only != WORKER:
            _profile_broker(options)
        if options.only != BROKER:
            _profile_worker(options)
    except SubjectError as error:
        sys.exit(f"profile: {error}")


def _profile_broker(options: argparse.Namespace) -> None:
    contestant = CONTESTANTS[options.contestant]
    ends = [contestant.dialect, "--capacity", str(contestant.capacity)]
    ends += ["--workers", str(options.shape.workers)]
    with running(contestant, Effort()) as subject, _loaded(subject, ends, options):
        _look(BROKER, subject.pid, options)


def _profile_worker(options: argparse.Namespace) -> None:
    contestant = CONTESTANTS[f"pnd-{CAPACITY}"]
    command = [
        "-m",
        "pound",
        "worker",
        "bench.runner.echo:echo",
        "--capacity",
        str(WORKER_CAPACITY),
    ]
    with running(contestant, Effort()) as subject:
        worker = subprocess.Popen(
            [sys.executable, *command, "--log-level", "error", "--connect", subject.backend],
            cwd=ROOT,
        )
        try:
            with _loaded(subject, ["pnd", "--workers", "0"], options):
                _look(WORKER, worker.pid, options)
        finally:
            worker.kill()
            worker.wait()


@contextmanager
def _loaded(subject: Subject, ends: list[str], options: argparse.Namespace) -> Iterator[None]:
    """Keep a subject under load."""
    command = [
        *(str(OUT / "load"), *ends, "--frontend", subject.frontend, "--backend", subject.backend),
        *("--clients", str(options.shape.clients), "--bytes", str(options.shape.size)),
        *(
            "--outstanding",
            str(options.shape.outstanding),
            "--duration-ms",
            str(int(1000 * LOAD_S)),
        ),
        *("--warm-up-ms", str(int(1000 * SETTLING_S))),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as load:
        try:
            load.wait(SETTLING_S)
            raise SubjectError(f"the load ended at once, {load.returncode}")
        except subprocess.TimeoutExpired:
            yield
        finally:
            load.kill()


# --- the looks


def _look(name: str, pid: int, options: argparse.Namespace) -> None:
    graph, table = (options.out / f"{name}{suffix}" for suffix in (".svg", ".txt"))
    _spy(pid, graph, "flamegraph", options.seconds)
    with tempfile.NamedTemporaryFile("r") as stacks:
        _spy(pid, Path(stacks.name), "raw", options.seconds)
        table.write_text(top(stacks.read().splitlines()))
    print(f"{graph}\n{table}")
    if shutil.which("perf"):
        print(_perf(pid, options.out / f"{name}-perf.txt", options.seconds))


def _spy(pid: int, out: Path, form: str, seconds: float) -> None:
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
    command = [program, "record", "--native", "--format", form, "--output", str(out)]
    command += ["--rate", str(RATE_HZ), "--duration", str(max(1, round(seconds)))]
    try:
        done = subprocess.run(
            [*command, "--pid", str(pid)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise SubjectError("py-spy is missing: pip install 'pound-broker[bench]'") from None
    if "ermission" in done.stderr:
        raise SubjectError(REFUSED)
    if done.returncode:
        raise SubjectError(f"py-spy failed:\n{done.stderr}")


def _perf(pid: int, table: Path, seconds: float) -> Path:
    """Write where all threads of a process are, the kernel included: by library, by function."""
    with tempfile.NamedTemporaryFile() as data:
        record = ["perf", "record", "--quiet", "--output", data.name, "--pid", str(pid)]
        subprocess.run([*record, "--", "sleep", str(seconds)], capture_output=True, check=False)
        reports = [_perf_report(data.name, by) for by in ("comm,dso", "comm,dso,symbol")]
    table.write_text("\n".join(reports))
    return table


def _perf_report(data: str, by: str) -> str:
    command = ["perf", "report", "--stdio", "--input", data, "--sort", by]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.rstrip() for line in done.stdout.splitlines() if line and line[0] != "#"]
    return "\n".join([f"by {by}", *filter(None, lines)][:TOP]) + "\n"


# --- the table


def top(stacks: list[str]) -> str:
    """Return a table of functions from py-spy's raw lines, "frame;frame;... count".

    Each function has the share of the samples that ended in it, and of those that it was in.
    Samples that wait are left out of the shares.
    """
    ended: Counter[str] = Counter()
    within: Counter[str] = Counter()
    waiting = 0
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = [_function(frame) for frame in stack.split(";")]
        if _waits(frames):
            waiting += int(count)
            continue
        ended[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    busy = sum(ended.values())
    lines = [f"{busy} samples at work, {waiting} waiting", "   self  within  function"]
    for name, count in ended.most_common(TOP):
        lines.append(f"{count / busy:7.1%} {within[name] / busy:7.1%}  {name}")
    return "\n".join(lines) + "\n"


def _waits(frames: list[str]) -> bool:
    polls = frames[-1].startswith(("poll ", "ppoll ")) and "libzmq" not in frames[-2]
    return polls or any(map(IDLE.match, frames[-IDLE_FRAMES:]))


def _function(frame: str) -> str:
    """Return a frame without its line; of an address without a symbol, the library."""
    match = PLACE.match(frame)
    if not match:
        return frame
    name = "(no symbol)" if match["name"].startswith("0x") else match["name"]
    return f"{name} ({match['file']})"


if __name__ == "__main__":
    main()
