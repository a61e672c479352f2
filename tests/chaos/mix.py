"""Many faults under load: SIGKILL and SIGSTOP of workers and clients, pauses of the broker.

Everything is a process but the foreign clients, which keep a `Journal`. Pound's own clients check
their answers themselves, and are stopped and killed as well. Each of Pound's workers also offers a
service of its own: when it goes on after a stop, it is asked something, and must answer in time.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pound
from tests.chaos.journal import NOTHING_WRONG, Journal, Load
from tests.peers.catalogue import CLIENTS
from tests.support import Process, Served, clean_environ, pound_command, stop_process

SETTINGS = {
    "heartbeat": "0.3",
    "liveness": "5",
    "lease": "1.5",
    "default_service": "work",
    "attempts_max": "100",
    "log_level": "error",
}
PAUSE_S = (0.3, 4.0)  # of whoever is stopped; a silence of 1.5 s is given up
FAULT_S = (0.1, 1.0)  # between two faults
LATENCY_S = 2.0  # after SIGCONT, for the next answer
SLOWEST_S = 20.0  # for any answer: pauses of its client, broker and several workers may follow
FOREIGN = ["dealer", "req", "mdp1", "mdp1 async", "mdp2", "pnd"]
ONE_OPEN = frozenset({"req", "mdp1"})
OWN = ["work", "work", "awork", "awork"]  # handlers of Pound's workers
PEERS = ["req_worker", "ppp_worker", "mdp1_worker", "mdp2_worker"]
FAULTS = ["kill worker", "stop worker", "stop client", "kill client", "pause broker"]
WEIGHTS = [4, 4, 2, 1, 1]


@dataclass
class Worker:
    process: Process
    command: list[str]
    service: str = ""  # its own; "": a foreign one


@dataclass
class Report:
    """What came of one run; `wrong` says what should not be."""

    answered: int = 0
    slowest: float = 0.0
    latency: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def demand(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} x {name}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.answered} answers, slowest {self.slowest:.1f} s, "
            f"after SIGCONT {self.latency:.2f} s; {faults}; "
            + ("; ".join(["WRONG", *self.wrong]) if self.wrong else "nothing wrong")
        )


class Mix:
    """The processes of one run, between enter and exit."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.report = Report()
        self.folder = Path(tempfile.mkdtemp(prefix="pound-chaos-"))
        self.workers: list[Worker] = []
        self.clients: list[Process] = []
        self.stopped: dict[int, tuple[float, Process, Worker | None]] = {}  # by pid: until when
        self.number = 0

    def __enter__(self) -> Mix:
        environ = clean_environ(**{f"POUND_{name.upper()}": v for name, v in SETTINGS.items()})
        ends = [f"{side}=tcp://127.0.0.1:*" for side in ("--frontend", "--backend")]
        self.broker = Served(Process(pound_command("serve", *ends), self.folder, environ))
        for handler in OWN:
            self.number += 1
            self.add(self.own(handler, f"own-{self.number}"), f"own-{self.number}")
        for module in PEERS:
            flags = ["--service", "work", "--work", "0.003", "--identity", f"{module}-1"]
            if module != "req_worker":
                flags = flags[:4]
            self.add([sys.executable, "-m", f"tests.peers.{module}", self.broker.backend, *flags])
        self.clients = [self.client(kind) for kind in ("load", "aload", "load")]
        self.probe = pound.Client(self.broker.frontend, heartbeat=0.3)
        journal = Journal()
        makers = {name: partial(CLIENTS[name], self.broker.frontend) for name in FOREIGN}
        self.load = Load(journal, makers, ONE_OPEN).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            for process in [self.broker.process, *self.clients, *(w.process for w in self.workers)]:
                stack.callback(process.close)
            stack.callback(self.load.__exit__)
            stack.callback(self.probe.close)
            self.go_on(float("inf"), probe=False)

    def own(self, handler: str, service: str) -> list[str]:
        return pound_command(
            "worker", f"tests.chaos.ends:{handler}_digest", "--service", "work",
            "--service", service, "--capacity", "4", "--connect", self.broker.backend,
            "--log-level", "error",
        )  # fmt: skip

    def add(self, command: list[str], service: str = "") -> None:
        self.workers.append(Worker(Process(command, self.folder), command, service))

    def client(self, kind: str) -> Process:
        command = [sys.executable, "-m", "tests.chaos.ends", kind, self.broker.frontend]
        return Process(command, self.folder)

    # -- faults ---------------------------------------------------------------------------

    def run(self, seconds: float) -> Report:
        end = time.monotonic() + seconds
        self.probe.wait_connected(10)
        self.ask("work", 10.0)
        while time.monotonic() < end:
            self.fault(*self.dice.choices(FAULTS, WEIGHTS))
            until = time.monotonic() + self.dice.uniform(*FAULT_S)
            while time.monotonic() < until:
                self.go_on(time.monotonic())
                time.sleep(0.02)
        self.finish()
        return self.report

    def fault(self, name: str) -> None:
        self.report.faults[name] += 1
        if name == "kill worker":
            self.kill(self.dice.choice(self.workers))
        elif name == "stop worker":
            worker = self.dice.choice(self.workers)
            self.stop(worker.process, worker)
        elif name == "stop client":
            self.stop(self.dice.choice(self.clients[:2]), None)
        elif name == "kill client":
            self.clients[2].close()
            self.clients[2] = self.client(self.dice.choice(["load", "aload"]))
        else:
            self.pause()

    def kill(self, worker: Worker) -> None:
        self.stopped.pop(worker.process.pid, None)
        worker.process.close()
        worker.process = Process(worker.command, self.folder)

    def stop(self, process: Process, worker: Worker | None) -> None:
        if process.pid not in self.stopped and process.popen.poll() is None:
            stop_process(process.pid)
            until = time.monotonic() + self.dice.uniform(*PAUSE_S)
            self.stopped[process.pid] = (until, process, worker)

    def go_on(self, now: float, probe: bool = True) -> None:
        """Continue those whose pause is over; ask a worker that does for an answer."""
        for pid, (until, process, worker) in list(self.stopped.items()):
            if until <= now:
                del self.stopped[pid]
                process.signal(signal.SIGCONT)
                if probe and worker is not None and worker.service:
                    self.ask(worker.service, LATENCY_S)

    def pause(self) -> None:
        """Stop the broker; nobody else goes on meanwhile."""
        stop_process(self.broker.pid)
        time.sleep(self.dice.uniform(*PAUSE_S))
        self.broker.process.signal(signal.SIGCONT)
        self.ask("work", LATENCY_S)

    def ask(self, service: str, bound: float) -> None:
        begun = time.monotonic()
        try:
            self.probe.request_full(service, b"probe", timeout=bound + 10, priority=9)
        except pound.PoundError as error:
            self.report.wrong.append(f"{service} after SIGCONT: {error}")
        took = time.monotonic() - begun
        if bound == LATENCY_S:
            self.report.latency = max(self.report.latency, took)
            self.report.demand(took < bound, f"{service} answered {took:.1f} s after SIGCONT")

    # -- the verdict ----------------------------------------------------------------------

    def finish(self) -> None:
        """End the load, judge the answers and the counters, drain the broker."""
        report = self.report
        self.go_on(float("inf"), probe=False)
        verdict = self.load.finish(60.0)
        report.answered += self.load.journal.answered
        report.demand(verdict == NOTHING_WRONG, f"{verdict} {self.load.journal.unexpected[:3]}")
        for client in self.clients:
            client.signal(signal.SIGTERM)
        for client in self.clients:
            self.judge(client)
        (page,) = (json.loads(self.probe.request("pound.status", b"", timeout=10)),)
        c = page["counters"]
        ended = c["answered"] + c["failed"] + c["cancelled"] + c["expired"]
        report.demand(c["accepted"] == ended + c["running"] + c["waiting"], f"accounting: {c}")
        report.demand(c["failed"] == 0 and c["expired"] == 0, f"failed {c['failed']}")
        self.probe.close()
        self.broker.process.signal(signal.SIGTERM)
        code = self.broker.process.wait(40)
        report.demand(code == 0, f"the broker's exit code is {code}")

    def judge(self, client: Process) -> None:
        code = client.wait(60)
        if code != 0:
            self.report.wrong.append(f"a client ended with {code}: {client.stderr[-500:]}")
            return
        said = json.loads(client.stdout.splitlines()[-1])
        self.report.answered += said["answered"]
        self.report.slowest = max(self.report.slowest, said["slowest"])
        self.report.demand(said["lost"] == said["unexpected"] == 0, f"a client says {said}")
        self.report.demand(said["slowest"] < SLOWEST_S, f"an answer took {said['slowest']:.1f} s")


def run(seed: int, seconds: float) -> Report:
    """Run the faults of one seed, and give the report."""
    with Mix(seed) as mix:
        return mix.run(seconds)
