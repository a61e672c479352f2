"""Bugs that the simulation must catch, each planted in the text of the dispatcher.

A plant replaces one piece of source text, which must occur exactly once: where it no longer does,
``mutate`` fails loudly and the plant is to be renewed. All plants go into one copy of the sources,
each behind ``planted() == its number``, a C function that reads ``POUND_PLANTED`` once; so one
compilation serves all, and number 0 is the dispatcher as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MAIN, HEAD, BOOK = "_dispatch/dispatcher.pyx", "_dispatch/dispatcher.pxd", "_dispatch/changes.pxd"
LRU, LOSS, EXPIRY = "_dispatch/matching.pxd", "_dispatch/endings.pxd", "_dispatch/timers.pxd"
ADMISSION, SHARES = "_dispatch/admission.pxd", "_dispatch/shares.pxd"
HEAP, QUEUE, RANK = "_base/heap.pxd", "_base/links.pxd", "_base/lru.pxd"
ROOMS = ("_base", "_dispatch")
SEEDS, STEPS = 60, 500
"""the bound within which each plant is to be caught"""
PATIENCE_S = 4.0
"""of the processor for a seed, where the unplanted copy takes a tenth of it"""


@dataclass(frozen=True)
class Plant:
    """``old`` becomes ``new`` in ``file``: whole statements of one block, or an expression."""

    name: str
    file: str
    old: str
    new: str
    statement: bool = False
    type: str = "bint"  # of an expression

    def applied(self, text: str, number: int) -> str:
        """The text with this plant behind its number."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"plant {self.name!r}: its text occurs {found} times in {self.file}")
        if not self.statement:
            new, old = (f"<{self.type}> ({part})" for part in (self.new, self.old))
            return text.replace(self.old, f"({new} if planted() == {number} else {old})")
        line = text[: text.index(self.old)].rsplit("\n", 1)[1]
        if line.strip():
            raise ValueError(f"plant {self.name!r}: no whole statement in {self.file}")
        old, new = (part.replace("\n", "\n    ") for part in (self.old, self.new))
        guarded = f"if planted() == {number}:\n{line}    {new}\n{line}else:\n{line}    {old}"
        return text.replace(self.old, guarded)


def bug(name: str, file: str, old: str, new: str, type: str = "bint") -> Plant:
    """A wrong expression."""
    return Plant(name, file, old, new, type=type)


def step(name: str, file: str, old: str, new: str = "pass") -> Plant:
    """A wrong statement, or one that is missing."""
    return Plant(name, file, old, new, statement=True)


PLANTS = (
    # who is chosen
    step(
        "most recently used first",
        LRU,
        "worker.sent_seq = d.sent_seq",
        "worker.sent_seq = <unsigned long long> 0x4000000000000000 - d.sent_seq",
    ),
    step("a dispatch leaves the worker's turn as it was", LRU, "worker.sent_seq = d.sent_seq"),
    bug("idle workers have no precedence", LRU, "first != NONE", "0"),
    bug("whoever holds more comes first", LRU, "held_by(d, second) < held_by(d, first)", "0"),
    step(
        "a worker's services don't take turns",
        LRU,
        "worker.next_offer = d.offers[o].index + 1",
        "worker.next_offer = d.offers[o].index",
    ),
    bug(
        "strict priority starves the lower ones",
        LRU,
        "service.dispatches % FAIR_EVERY == FAIR_EVERY - 1",
        "0",
    ),
    bug(
        "floods at both ends starve the priorities between",
        LRU,
        "service.turn + 1 + __builtin_ctz(after) if after else __builtin_ctz(lower)",
        "__builtin_ctz(lower)",
        "int",
    ),
    bug(
        "isolated requests in inverse priority",
        BOOK,
        "<int64_t> (PRIORITIES - 1 - p)",
        "<int64_t> p",
        "int64_t",
    ),
    # credit and eligibility
    bug(
        "one task more than the capacity",
        BOOK,
        "worker.held < worker.capacity",
        "worker.held <= worker.capacity",
    ),
    step(
        "credit returned twice",
        BOOK,
        "worker.held -= 1",
        "worker.held -= 2 if worker.held > 1 else 1",
    ),
    bug("a blocked worker stays eligible", BOOK, "worker.blocked_at == NONE", "1"),
    bug(
        "a leaving worker stays eligible",
        BOOK,
        "worker.isolating or worker.leaving",
        "worker.isolating",
    ),
    step(
        "what a leaving worker was not sent stays with it",
        MAIN,
        "tasks_undo(d, w)\n    reservation_break(d, w)",
        "reservation_break(d, w)",
    ),
    bug(
        "a cancelled task gives its credit back at once",
        BOOK,
        "task.state == TASK_UNSENT or d.workers[task.worker].gone",
        "1",
    ),
    bug(
        "a worker with credit again is not looked at",
        BOOK,
        "d.services[d.offers[worker.offers[i]].service].waiting > 0",
        "0",
    ),
    # isolation
    bug(
        "isolated one attempt too late",
        BOOK,
        "request.attempts >= ATTEMPTS_SHARED",
        "request.attempts > ATTEMPTS_SHARED",
    ),
    step(
        "others may join an isolated task",
        LRU,
        "d.tasks[t].isolates = request.attempts >= ATTEMPTS_SHARED",
        "d.tasks[t].isolates = 0",
    ),
    bug(
        "a reservation outlives its purpose",
        BOOK,
        "service.isolated.count == 0 and w != NONE",
        "0",
    ),
    bug(
        "a busy worker is never reserved for what is isolated",
        LRU,
        "(worker.held == 0 or service.reserved == NONE)",
        "worker.held == 0",
    ),
    bug(
        "a worker that holds nothing any more stays among the busy ones",
        BOOK,
        "worker.listed != LISTED_BUSY or worker.held == 0",
        "worker.listed != LISTED_BUSY",
    ),
    step(
        "a new request waits beside a worker because an isolated one waits",
        ADMISSION,
        "service_unmatched(d, s)",
    ),
    # tokens, answers, attempts
    bug("the token of another worker counts", MAIN, "d.tasks[t].worker != w", "0"),
    step("the old token counts after a redelivery", LRU, "request_drop_task(d, r)"),
    bug(
        "a task that was undone is taken for the one that came after it",
        HEAD,
        "task.token == token and task.state == TASK_UNSENT",
        "task.state == TASK_UNSENT",
    ),
    bug(
        "one attempt more than the limit",
        LOSS,
        "d.requests[r].attempts < d.limits.attempts_max",
        "d.requests[r].attempts <= d.limits.attempts_max",
    ),
    step("a released attempt counts", LOSS, "d.requests[r].attempts -= 1"),
    step(
        "lost requests go to the tail",
        BOOK,
        "waiting_enter(d, r, returned_where(&d.requests[r]))",
        "waiting_enter(d, r, 1)",  # QUEUED_FRESH
    ),
    step("a token listed once is listed for ever", LOSS, "d.tasks[t].listed = 0"),
    bug(
        "a new route's list is believed for other workers' tasks",
        LOSS,
        "d.tasks[t].worker != w",
        "0",
    ),
    # sessions
    bug(
        "a kept answer is not told again",
        ADMISSION,
        "d.requests[r].state == REQUEST_ANSWERED",
        "1",
    ),
    bug(
        "a retry of the last request runs twice",
        MAIN,
        "id <= client.highest",
        "id < client.highest",
    ),
    bug(
        "done is taken to include its own id",
        ADMISSION,
        "id < d.clients[c].done",
        "id <= d.clients[c].done",
    ),
    bug(
        "done frees one request too many",
        MAIN,
        "first <= d.requests[r].id < done",
        "first <= d.requests[r].id <= done",
    ),
    step(
        "the grace goes on for a client that is back",
        MAIN,
        "disarm(&d.graces, grace_places(d), c)",
    ),
    bug(
        "one open request more than the session may have",
        ADMISSION,
        "client.open >= client.window",
        "client.open > client.window",
    ),
    bug(
        "one more waits than may",
        ADMISSION,
        "d.counters.waiting >= limits.waiting_max",
        "d.counters.waiting > limits.waiting_max",
    ),
    bug(
        "services without workers fill the queue",
        SHARES,
        "d.workerless >= limits.waiting_max // 2",
        "0",
    ),
    bug(
        "services without workers fill their client's window",
        SHARES,
        "client.open >= client.window - (client.window >> 2)",
        "0",
    ),
    step(
        "what waits for a service that has a worker by now counts as waiting in vain",
        BOOK,
        "d.workerless -= service.waiting",
    ),
    bug(
        "names that nobody offers take the room of services",
        SHARES,
        "d.service_pool.used - d.offered - d.internal",
        "d.service_pool.used",
        "uint32_t",
    ),
    bug("clients in their grace make no room", MAIN, "d.graces.count > 0", "0"),
    step("a client of the reserve stays one", SHARES, "client.reserve = 0"),
    step("bytes are not given back", BOOK, "d.counters.waiting_bytes -= request.bytes"),
    bug(
        "bytes of running requests do not count",
        ADMISSION,
        "d.counters.waiting_bytes + d.counters.running_bytes",
        "d.counters.waiting_bytes",
        "uint64_t",
    ),
    bug(
        "kept answers are dropped at the limit, not beyond it",
        MAIN,
        "d.counters.kept_bytes > bytes",
        "d.counters.kept_bytes >= bytes and d.kept.head != NONE",
    ),
    bug(
        "the memory is full, yet requests come in",
        ADMISSION,
        "unlikely(d.full) and result == REQ_ACCEPTED",
        "0",
    ),
    step("memory that was full once is full for ever", MAIN, "d.full = full", "d.full |= full"),
    step(
        "the newest kept answer goes first",
        MAIN,
        "request_free(d, d.kept.head)",
        "request_free(d, d.kept.tail)",
    ),
    step("all kept answers go at once", MAIN, "kept_evict(d, bytes)", "kept_evict(d, 0)"),
    # time
    bug(
        "timers fire one tick late",
        EXPIRY,
        "timers.nodes[0].key <= now",
        "timers.nodes[0].key < now",
    ),
    step(
        "an ended request expires",
        BOOK,
        "disarm(&d.deadlines, deadline_places(d), r)",
    ),
    step("a lease outlives its task", BOOK, "disarm(&d.leases, queue_places(d), r)"),
    step("a task taken up again has no lease", LOSS, "lease_start(d, r)"),
    bug(
        "the broker's own pause counts as silence",
        EXPIRY,
        "worker.last_heard + worker.liveness_ns - live",
        "worker.last_heard + worker.liveness_ns - d.now",
        "int64_t",
    ),
    bug(
        "a worker that computes is taken for dead",
        EXPIRY,
        "worker.mode == LIVENESS_IDLE and worker.held > 0",
        "0",
    ),
    step(
        "a heartbeat is no sign of life",
        MAIN,
        "d.workers[w].last_heard = live\n    worker_unblock(d, w)\n    finish(d)",
        "worker_unblock(d, w)\n    finish(d)",
    ),
    step(
        "a service is given up though a worker came",
        BOOK,
        "service.workers += 1\n    disarm(&d.service_waits, wait_places(d), s)",
        "service.workers += 1",
    ),
    bug("what was given back goes out at once", MAIN, "now + delay_ns", "now", type="int64_t"),
    step(
        "a delay is over and its request not looked at",
        EXPIRY,
        "service_await(d, s)\n    service_unmatched(d, s)",
        "service_await(d, s)",
    ),
    step(
        "a request that was delayed once is taken for delayed",
        BOOK,
        "service.delayed -= 1\n        d.counters.delayed -= 1",
        "d.counters.delayed -= 1",
    ),
    # the leaves
    step(
        "a removal only sinks what fills the hole",
        HEAP,
        "heap_fix(h, places, i, last)",
        "heap_down(h, places, i, last)",
    ),
    step("a list forgets its new tail", QUEUE, "q.tail = link.prev", "pass"),
    bug(
        "whoever comes late is last",
        RANK,
        "seat_of(seats, r.order.tail).key < key",
        "1",
    ),
    step(
        "those who came late are forgotten",
        RANK,
        "if r.late.count == 0:\n        return r.order.head",
        "return r.order.head",
    ),
    bug(
        "those who came late wait for all others",
        RANK,
        "node_less(r.late.nodes[0], head)",
        "0",
    ),
)

HEADER = """\
#include <stdlib.h>
static inline int planted(void) {
    static int number = -1;
    if (number < 0) {
        const char *text = getenv("POUND_PLANTED");
        number = text ? atoi(text) : 0;
    }
    return number;
}
"""
DECLARATION = 'cdef extern from "pound/planted.h" nogil:\n    int planted() noexcept\n'
SETUP = """\
from pathlib import Path
from Cython.Build import cythonize
from setuptools import setup
from cython_options import DIRECTIVES, extension
module = extension(Path("pound", "_dispatch", "dispatcher.pyx"), ["-O0"])
setup(name="planted", packages=[], script_args=["-q", "build_ext", "--inplace"],
      ext_modules=cythonize([module], compiler_directives=DIRECTIVES))
"""


def mutate(sources: Path, target: Path) -> None:
    """Copy the dispatcher's sources to ``target``/pound, with every plant in its place."""
    package = target / "pound"
    for room in ROOMS:
        (package / room).mkdir(parents=True)
        for source in [*(sources / room).glob("*.pxd"), *(sources / room).glob("*.h")]:
            shutil.copy(source, package / room)
        (package / room / "__init__.py").touch()
    shutil.copy(sources / MAIN, package / MAIN)
    shutil.copy(sources.parent / "cython_options.py", target)
    (package / "__init__.py").touch()
    (package / "planted.h").write_text(HEADER)
    (package / "planted.pxd").write_text(DECLARATION)
    for file in {plant.file for plant in PLANTS}:
        text = (package / file).read_text()
        for number, plant in enumerate(PLANTS, 1):
            text = plant.applied(text, number) if plant.file == file else text
        text = text.replace("\nfrom libc", "\nfrom pound.planted cimport planted\nfrom libc", 1)
        (package / file).write_text(text)


def build(sources: Path, target: Path) -> None:
    """Mutate and compile; raises CalledProcessError with the compiler's words in ``output``."""
    mutate(sources, target)
    subprocess.run(
        [sys.executable, "-c", SETUP],
        cwd=target,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@dataclass(frozen=True)
class Verdict:
    """How the simulation caught a plant: at which seed, and in which words."""

    seed: int
    words: str


def caught(number: int, built: Path, root: Path, seeds: range = range(SEEDS)) -> Verdict | None:
    """Simulate with a plant until a seed fails; None when none does.

    The plant runs in a process of its own: it may crash it, or loop until its patience ends.
    """
    command = [sys.executable, "-m", "tests.simulation", "--first", "--no-audit"]
    command += ["--seed", str(seeds.start), "--seeds", str(len(seeds)), "--steps", str(STEPS)]
    command += ["--patience", str(PATIENCE_S)]
    paths = os.pathsep.join((str(built), str(root)))
    environment = os.environ | {"PYTHONPATH": paths, "POUND_PLANTED": str(number)}
    ran = subprocess.run(command, cwd=built, env=environment, capture_output=True, text=True)
    begun = [line for line in ran.stderr.splitlines() if line.startswith("seed ")]
    if ran.returncode == 0:
        return None
    if ran.returncode < 0 and begun:
        return Verdict(int(begun[-1].split()[1]), f"ended by signal {-ran.returncode}")
    verdicts = [line for line in ran.stdout.splitlines() if line.startswith("seed ")]
    if not verdicts:
        raise RuntimeError(f"plant {number} did not run: {ran.stderr}")
    return Verdict(int(begun[-1].split()[1]), verdicts[-1])
