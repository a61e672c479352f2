"""One measurement of one subject: start it, load it, take the figures, end it.

Each measurement starts its subject anew, so that no round inherits what another left behind.
"""

from __future__ import annotations

import json
import os
import re
import resource
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.runner.keys import DIRECTORY, LOAD_FILE, make_keys, sodium
from bench.runner.subjects import BENCH, OUT, ROOT, Contestant, Shape, SubjectError

READY = re.compile(rb"ready frontend=(\S+) backend=(\S+)")
READY_S = 60.0  # the slowest peer needs 15
SLACK_S = 150.0  # a measurement may take so much longer than it should
SETTLE_S = 2.0  # the broker gives free memory back once a second
WAITING_S = 60.0  # until all requests that are to wait are with the broker
PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True)
class Effort:
    """How long to look, and with what standing among the machine's other programs."""

    seconds: float = 2.0
    warm_up: float = 0.5
    nice: int = 0  # below 0: before the others (needs the right to)
    environ: Mapping[str, str] = field(default_factory=dict)  # more of it, for the subject


@dataclass(frozen=True)
class Subject:
    """A running contestant that is ready."""

    frontend: str
    backend: str
    pid: int  # of the process whose CPU time counts


def build() -> None:
    """Build the compiled programs, if they are not up to date, and make the keys of this run."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(BENCH), f"OUT={OUT}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SubjectError(f"the load generator does not build:\n{done.stdout}{done.stderr}")
    make_keys()


def raise_file_limit() -> None:
    """Let this process and its children have as many files open as the hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure(contestant: Contestant, shape: Shape, effort: Effort) -> dict[str, Any]:
    """Return what the load generator saw; `SubjectError` if it could not look."""
    with running(contestant, effort) as subject:
        command = _nice(_drive(contestant, shape, effort, subject), effort)
        if shape.waits:
            return _measure_waiting(contestant, shape, command, subject)
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=effort.seconds + effort.warm_up + SLACK_S,
            )
        except subprocess.TimeoutExpired:
            raise SubjectError(f"{contestant.name}: the load did not end") from None
    return _figures(contestant, done.stdout, done.stderr)


def _drive(contestant: Contestant, shape: Shape, effort: Effort, subject: Subject) -> list[str]:
    """Return the command that loads a subject."""
    more = ["--curve", str(DIRECTORY / LOAD_FILE), "--sodium", sodium()] if contestant.curve else []
    more += ["--connects"] if shape.connects else []
    return [
        *(str(OUT / "load"), contestant.dialect, *more),
        *("--frontend", subject.frontend, "--backend", subject.backend),
        *("--pid", str(subject.pid), "--capacity", str(contestant.capacity)),
        *("--clients", str(shape.clients), "--outstanding", str(shape.outstanding or 1)),
        *("--workers", str(shape.workers), "--bytes", str(shape.size)),
        *("--warm-up-ms", str(int(effort.warm_up * 1000))),
        *("--duration-ms", str(int(effort.seconds * 1000))),
        *contestant.load,
        "--distribution",
    ]


def _figures(contestant: Contestant, printed: str, complaint: str) -> dict[str, Any]:
    if not printed.strip():
        raise SubjectError(f"{contestant.name}: {complaint.strip() or 'no figures'}")
    figures: dict[str, Any] = json.loads(printed)
    return figures


# --- requests that wait


def _measure_waiting(
    contestant: Contestant, shape: Shape, command: list[str], subject: Subject
) -> dict[str, Any]:
    """Return the figures, and `waiting_bytes`: memory for each waiting request but its body.

    The load stops before and after its requests went out; the broker itself says that it has them.
    """
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [*command, "--fill-first"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as load,
    ):
        try:
            assert load.stdin is not None
            assert load.stdout is not None
            before = _held(load, subject)
            load.stdin.write("go on\n")
            load.stdin.flush()
            load.stdout.readline()
            _await_waiting(contestant, subject, shape.requests)
            time.sleep(SETTLE_S)
            after = _resident(subject.pid)
            printed, _ = load.communicate("go on\n", timeout=SLACK_S)
        finally:
            load.kill()
        log.seek(0)
        figures = _figures(contestant, printed, log.read())
    figures["waiting_bytes"] = (after - before) / shape.requests - shape.size
    return figures


def _held(load: subprocess.Popen[str], subject: Subject) -> int:
    """Return the subject's memory once all clients are in."""
    assert load.stdout is not None
    load.stdout.readline()
    return _resident(subject.pid)


def _resident(pid: int) -> int:
    """Return the bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def _await_waiting(contestant: Contestant, subject: Subject, requests: int) -> None:
    from pound import Client

    end = time.monotonic() + WAITING_S
    with Client(subject.frontend) as client:
        while time.monotonic() < end:
            status = json.loads(client.request("pound.status", b"", timeout=WAITING_S))
            if status["counters"]["waiting"] >= requests:
                return
            time.sleep(0.1)
    raise SubjectError(f"{contestant.name}: {requests} requests did not come to wait")


# --- the process


@contextmanager
def favoured(nice: int) -> Iterator[None]:
    """Give this session a niceness among the others, where the kernel groups by session.

    There (autogroup) the niceness of a process only counts among those of its own session.
    """
    group = Path("/proc/self/autogroup")
    if not nice or not group.exists():
        yield
        return
    group.write_text(str(nice))
    try:
        yield
    finally:
        group.write_text("0")


def _nice(command: list[str], effort: Effort) -> list[str]:
    return ["nice", "-n", str(effort.nice), *command] if effort.nice else command


@contextmanager
def running(contestant: Contestant, effort: Effort) -> Iterator[Subject]:
    """Start a subject, give it once it is ready, end it with all that it started."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("POUND_")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            _nice(list(contestant.command), effort),
            cwd=ROOT,
            env={**kept, **effort.environ},
            stdout=subprocess.PIPE,
            stderr=log,
            preexec_fn=os.setpgrp,  # a group of its own in this session, which has the niceness
        )
        try:
            line = _first_line(process)
            match = READY.search(line)
            if not match:
                log.seek(0)
                complaint = log.read().decode(errors="replace")
                raise SubjectError(f"{contestant.name} is not ready: {line!r}\n{complaint}")
            yield Subject(match[1].decode(), match[2].decode(), process.pid)
            if process.poll() is not None:
                raise SubjectError(f"{contestant.name} ended by itself, {process.returncode}")
        finally:
            with suppress(ProcessLookupError):  # it ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Return the first line of its output, or what came of it within READY_S."""
    assert process.stdout is not None
    end = time.monotonic() + READY_S
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0.0, end - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                break
            line += chunk
    return line
