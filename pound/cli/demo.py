"""``pound demo``: the whole promise on real files, with a worker killed in the middle.

One broker process, three PND workers and a Paranoid Pirate worker, ten clients and a plain REQ
client share the files of a folder. Every answer is compared with a computation made here; the
command fails if one is missing or wrong, or if the kill has shown nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

import pound
from pound.cli.common import EXIT_FAILED, complain
from pound.cli.foreign import req_client
from pound.cli.inspect import all_rows, ask, duration

SERVICE = "files"
CLIENTS = 10
WORKERS = 3
CAPACITY = 8
WINDOW = 16  # requests that a client has open at once: enough to keep every worker busy
REQUESTS_MIN = 2000  # a small folder is asked for repeatedly, so that the kill meets a load
FILE_BYTES_MAX = 8 << 20
START_S = 30.0
ANSWER_S = 60.0  # far beyond any answer of a sound broker: beyond it a request counts as lost
SWITCH_S = 0.0002  # the observer shares the GIL with every client: its view is this coarse
SKIPPED_FOLDERS = {"__pycache__", "site-packages", ".git"}


def describe_body(body: bytes) -> dict[str, Any]:
    """Return what a worker answers: the SHA-256 and the counts of ``wc``."""
    return {
        "sha256": hashlib.sha256(body).hexdigest(),
        "lines": body.count(b"\n"),
        "words": len(body.split()),
        "bytes": len(body),
    }


def describe(task: pound.Task) -> bytes:
    """Answer a task of the demonstration; the extra fields feed its final table."""
    began = time.monotonic()
    facts = {"by": f"worker, pid {os.getpid()}", "attempt": task.attempt, "began": began}
    return json.dumps({**describe_body(task.body), **facts}).encode()


@dataclass
class Kill:
    """What was seen of the killed worker; times are seconds of the machine's monotonic clock."""

    pid: int
    at: float
    held: int
    death_seen: float | None = None
    redelivery_seen: float | None = None
    redelivered: int = 0


@dataclass
class Tally:
    """What the clients count together; `lock` guards the rest."""

    expected: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    answered: int = 0
    wrong: int = 0
    plain: int = 0
    failures: list[str] = field(default_factory=list)
    workers: Counter[str] = field(default_factory=Counter)
    redeliveries: list[float] = field(default_factory=list)

    def take(self, answer: bytes, expected: dict[str, Any], plain: bool = False) -> None:
        """Count one answer and compare it with the local computation."""
        try:
            facts = json.loads(answer)
        except ValueError:
            facts = {}
        with self.lock:
            self.answered += 1
            self.plain += plain
            self.wrong += any(facts.get(name) != value for name, value in expected.items())
            self.workers[str(facts.get("by"))] += 1
            if facts.get("attempt", 1) > 1:
                self.redeliveries.append(facts["began"])

    def fail(self, reason: str) -> None:
        """Note a request that got no answer."""
        with self.lock:
            self.failures.append(reason)


@click.command(short_help="Kill a worker under load and lose nothing.")
@click.argument(
    "folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.pass_context
def demo(ctx: click.Context, folder: Path | None) -> None:
    """Send the files of FOLDER (default: Python's standard library) through a broker.

    Starts everything it needs on free loopback ports; kills one busy worker with SIGKILL midway.
    Exits with 1 if an answer is lost or wrong.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # end the processes too
    folder = folder or Path(sysconfig.get_path("stdlib"))
    files = files_of(folder)
    if not files:
        raise click.UsageError(f"{folder} has no readable files")
    requests = files * -(-REQUESTS_MIN // len(files)) if len(files) < REQUESTS_MIN else files
    tally = Tally(len(requests))
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pound-demo-")))
        click.echo(
            f"{len(files)} files of {folder}, {len(requests)} requests; "
            f"1 broker, {WORKERS} workers, 1 PPP worker, {CLIENTS} clients, 1 REQ client"
        )
        frontend, pids = start_processes(stack, logs)
        began = time.monotonic()
        kill = run(tally, requests, frontend, pids)
        elapsed = time.monotonic() - began
        verdict = problems(tally, kill)
        click.echo(report(tally, kill, elapsed))
        if verdict:
            complain("; ".join(verdict))
            show_logs(logs)
            ctx.exit(EXIT_FAILED)
    click.echo("nothing was lost")


def files_of(folder: Path) -> list[Path]:
    """Return the regular files below `folder` in order, without caches and giants."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
        found += [path for name in sorted(names) if is_suitable(path := Path(parent, name))]
    return found


def is_suitable(path: Path) -> bool:
    """Return whether a file can be read and is of moderate size."""
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    return path.stat().st_size <= FILE_BYTES_MAX


# --- the processes


def start_processes(stack: ExitStack, logs: Path) -> tuple[str, list[int]]:
    """Start broker and workers; return the frontend and the PND workers' process ids."""
    ends = ["--frontend", "tcp://127.0.0.1:*", "--backend", "tcp://127.0.0.1:*"]
    serve = ["-m", "pound", "serve", *ends, "--default-service", SERVICE]
    broker = stack.enter_context(process("broker", serve, logs))
    frontend, backend = ready_line(broker, logs)
    work = [
        "-m",
        "pound",
        "worker",
        "pound.cli.demo:describe",
        "--service",
        SERVICE,
        "--capacity",
        str(CAPACITY),
        "--connect",
        backend,
    ]
    workers = [
        stack.enter_context(process(f"worker{n}", work, logs)) for n in range(1, WORKERS + 1)
    ]
    foreign = ["-m", "pound.cli.foreign", backend]
    stack.enter_context(process("ppp-worker", foreign, logs))
    with pound.Client(frontend) as client:
        await_true(lambda: len(all_rows(client, "workers")) == WORKERS + 1, "all workers")
    return frontend, [worker.pid for worker in workers]


@contextmanager
def process(name: str, arguments: list[str], logs: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run this interpreter with `arguments`, its output in `logs`; ended with the block.

    It works in `logs`, and without POUND_* variables: no one's configuration is picked up.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("POUND_")}
    here = str(Path(pound.__file__).parents[1])
    path = os.pathsep.join(filter(None, [here, kept.get("PYTHONPATH")]))
    came: list[int] = []  # of SIGINT, which is held until the child is sure to be ended
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        with (logs / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=logs,
                env={**kept, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            signal.signal(signal.SIGINT, handler)
            if came:
                signal.raise_signal(signal.SIGINT)
            yield child
        finally:
            end(child)
    finally:
        signal.signal(signal.SIGINT, handler)


def end(child: subprocess.Popen[bytes]) -> None:
    """Terminate a child, or kill it if it takes too long."""
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def ready_line(broker: subprocess.Popen[bytes], logs: Path) -> tuple[str, str]:
    """Return frontend and backend of a broker that has said it is ready."""

    def look() -> re.Match[str] | None:
        if broker.poll() is not None:
            show_logs(logs)
            raise pound.PoundError(f"the broker ended with exit code {broker.returncode}")
        text = (logs / "broker.log").read_text(errors="replace")
        return re.search(r"^pound: ready frontend=(\S+) backend=(\S+)$", text, re.MULTILINE)

    match = await_true(look, "the broker")
    return match[1], match[2]


def await_true(condition: Callable[[], Any], what: str, timeout: float = START_S) -> Any:
    """Return the first true value of `condition`; raise PoundError if none comes in time."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise pound.PoundError(f"{what}: not ready within {timeout:g} s")
        time.sleep(0.01)
    return value


def show_logs(logs: Path) -> None:
    """Print the last lines of every process."""
    for log in sorted(logs.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-20:]
        for line in lines:
            complain(f"{log.stem}: {line}")


# --- the run


def run(tally: Tally, requests: list[Path], frontend: str, pids: list[int]) -> Kill | None:
    """Let all clients work until every request has ended; kill a worker midway."""
    source: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for path in requests:
        source.put(path)
    targets = [pound_client] * CLIENTS + [plain_client]
    threads = [  # daemons: if the observer fails, nobody waits for their answers
        threading.Thread(target=target, args=(frontend, source, tally), daemon=True)
        for target in targets
    ]
    for thread in threads:
        thread.start()
    kill = None
    sys.setswitchinterval(SWITCH_S)
    with pound.Client(frontend) as observer, progress(tally) as show:
        while any(thread.is_alive() for thread in threads):
            if kill is None and tally.answered * 2 >= tally.expected:
                kill = kill_busy_worker(observer, pids)
            show()
            threads[0].join(0.02)
        show()
        if kill is not None:
            kill.redelivered = ask(observer, "pound.status")["counters"]["redelivered"]
    return kill


def paths_of(source: queue.SimpleQueue[Path]) -> Iterator[Path]:
    """Yield what is left in a queue that other clients take from too."""
    while True:
        try:
            yield source.get_nowait()
        except queue.Empty:
            return


def pound_client(frontend: str, source: queue.SimpleQueue[Path], tally: Tally) -> None:
    """Ask for files with `pound.Client`, `WINDOW` at a time."""
    pending: deque[tuple[Future[bytes], dict[str, Any]]] = deque()

    def settle() -> None:
        future, expected = pending.popleft()
        try:
            tally.take(future.result(), expected)
        except pound.PoundError as error:
            tally.fail(f"{type(error).__name__}: {error}")

    with pound.Client(frontend) as client:
        for path in paths_of(source):
            body = path.read_bytes()
            pending.append((client.submit(SERVICE, body, timeout=ANSWER_S), describe_body(body)))
            if len(pending) == WINDOW:
                settle()
        while pending:
            settle()


def plain_client(frontend: str, source: queue.SimpleQueue[Path], tally: Tally) -> None:
    """Ask for files with a bare REQ socket, one at a time."""
    asked: list[dict[str, Any]] = []

    def bodies() -> Iterator[bytes]:
        for path in paths_of(source):
            body = path.read_bytes()
            asked.append(describe_body(body))
            yield body

    for answer in req_client(frontend, bodies(), ANSWER_S):
        tally.take(answer, asked.pop(), plain=True)
    for _ in asked:
        tally.fail("REQ client: no answer")


@contextmanager
def progress(tally: Tally) -> Iterator[Callable[[], None]]:
    """Yield a function that shows the progress on a terminal, and does nothing elsewhere."""
    if not sys.stdout.isatty():
        yield lambda: None
        return
    with click.progressbar(length=tally.expected, label="files") as bar:
        yield lambda: bar.update(tally.answered - bar.pos)


def stop_busy_worker(observer: pound.Client, pids: list[int]) -> tuple[int, int] | None:
    """SIGSTOP a worker that holds tasks; return its pid and how many, None if it just finished.

    A worker that runs may answer its last task between the look and the kill, and then its death
    shows nothing. The second look comes after what it had sent when it was stopped.
    """
    seen = busy_worker(observer, pids)
    if seen is None:
        return None
    os.kill(seen[0], signal.SIGSTOP)
    for _ in range(2):
        held = busy_worker(observer, [seen[0]])
        if held is None:
            os.kill(seen[0], signal.SIGCONT)
            return None
    return held


def kill_busy_worker(observer: pound.Client, pids: list[int]) -> Kill:
    """SIGKILL the first worker that is seen holding tasks; return what the broker then did.

    Raises
    ------
    pound.PoundError
        If no worker is busy, or its death is not noticed, within `START_S`.
    """
    before = ask(observer, "pound.status")["counters"]
    victim = await_true(lambda: stop_busy_worker(observer, pids), "a busy worker")
    kill = Kill(pid=victim[0], held=victim[1], at=time.monotonic())
    os.kill(kill.pid, signal.SIGKILL)
    end = kill.at + START_S
    while time.monotonic() < end:
        counters = ask(observer, "pound.status")["counters"]
        if kill.death_seen is None and counters["losses"] > before["losses"]:
            kill.death_seen = time.monotonic()
        if counters["redelivered"] > before["redelivered"]:
            kill.redelivery_seen = time.monotonic()
            return kill
    raise pound.PoundError(f"the killed worker's tasks were not redelivered within {START_S:g} s")


def busy_worker(observer: pound.Client, pids: list[int]) -> tuple[int, int] | None:
    """Return (process id, tasks held) of a worker of ours that holds some."""
    ours = {str(pid): pid for pid in pids}
    for row in all_rows(observer, "workers"):
        pid = ours.get(row["label"].rpartition(":")[2])  # a label is host:pid
        if pid is not None and row["held"] > 0:
            return pid, row["held"]
    return None


# --- the result


def problems(tally: Tally, kill: Kill | None) -> list[str]:
    """Return every reason why the demonstration failed."""
    lost = tally.expected - tally.answered
    ppp = sum(count for name, count in tally.workers.items() if name.startswith("PPP"))
    found = [
        (lost, f"{lost} lost"),
        (tally.wrong, f"{tally.wrong} wrong"),
        (tally.failures, f"first failure: {tally.failures[:1]}"),
        (kill is None or kill.death_seen is None, "no busy worker was killed"),
        (not tally.plain, "the REQ client got no answer"),
        (not ppp, "the PPP worker answered nothing"),
    ]
    return [reason for happened, reason in found if happened]


def report(tally: Tally, kill: Kill | None, elapsed: float) -> str:
    """Return the final table."""
    lost = tally.expected - tally.answered
    rows = [
        ("answered / expected", f"{tally.answered} / {tally.expected}"),
        ("wrong (against a local computation)", str(tally.wrong)),
        ("lost", str(lost)),
        ("answered to the plain REQ client", str(tally.plain)),
    ]
    if kill is not None:
        rows += kill_rows(tally, kill)
    for name, count in sorted(tally.workers.items()):
        killed = ", killed" if kill is not None and name.endswith(f"pid {kill.pid}") else ""
        rows.append((f"answered by {name}{killed}", str(count)))
    rows.append(("requests/s", f"{tally.answered / elapsed:.0f}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value:>15}" for name, value in rows)


def kill_rows(tally: Tally, kill: Kill) -> list[tuple[str, str]]:
    """Return the rows about the killed worker."""
    first = min((at for at in tally.redeliveries if at >= kill.at), default=kill.redelivery_seen)
    return [
        ("tasks held by the killed worker when looked at", str(kill.held)),
        ("tasks redelivered", str(kill.redelivered)),
        ("from kill to its death seen", _since(kill, kill.death_seen)),
        ("from kill to the first redelivery", _since(kill, first)),
    ]


def _since(kill: Kill, at: float | None) -> str:
    return "not seen" if at is None else duration(at - kill.at)
