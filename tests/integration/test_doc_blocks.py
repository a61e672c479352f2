"""Every block of code in README and docs runs as it stands, or stands in a table with the reason.

What a page shows runs in a folder of its own, on ipc endpoints that the environment names; programs
get the same as the default of their clients and workers. Sleeps are a tenth as long. Nothing else
is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pound.config import Config
from pound.security.credential import Credential
from pound.security.keyring import Keyring
from tests.support import ROOT, Process, clean_environ, need, wait_until

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "bench" / "README.md"])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^|(?<=\n\n))(?: {4}.*\n)+", re.MULTILINE)

DIAGRAM = "a picture"
TARGETS = "targets of make, which test_docs.py looks up; some run for minutes"
SECOND = "needs two machines: test_second_machine.py"
NOT_RUN = {  # page, beginning → why
    ("README.md", "pip install ."): "make dist-check installs it in an empty environment",
    ("README.md", "pound serve --default-service echo"): "the Guide's own programs; tests/interop",
    ("README.md", "pound keys init"): SECOND,
    ("README.md", "pound worker work:slow --service slow --key"): SECOND,
    ("README.md", "pound call slow hello --key"): SECOND,
    ("README.md", "pound serve --frontend tcp://127.0.0.1:5557"): "test_standby.py",
    ("docs/operations.md", "pound serve --frontend tcp://127.0.0.1:5557"): "test_standby.py",
    ("HACKING.md", "make demo"): TARGETS,
    ("HACKING.md", "make quick"): TARGETS,
    ("bench/README.md", "make bench"): TARGETS,
    ("bench/README.md", "build/bench/load pnd"): "needs a generator that make bench builds",
    ("docs/benchmarks.md", "make bench"): TARGETS,
    ("docs/profiling.md", "make profile"): TARGETS,
    ("docs/profiling.md", "sudo sysctl"): "changes the machine",
    ("docs/architecture.md", "wait → yield"): DIAGRAM,
    ("docs/architecture.md", "accepted ="): "an equation, which every test's tear-down checks",
    ("docs/architecture.md", "wait → commands"): DIAGRAM,
    ("docs/protocol.md", "client                        broker"): DIAGRAM,
    ("docs/protocol.md", "worker                        broker"): DIAGRAM,
    ("docs/protocol.md", "             REQUEST"): DIAGRAM,
    ("docs/protocol.md", "50 4E 44 01"): "bytes, one of the vectors of tests/vectors.py",
}
RUN = [  # page, beginning; by a test below
    ("README.md", "import os\nimport time"),
    ("README.md", "import pound\n\nwith pound.Client()"),
    ("README.md", "import asyncio"),
    ("README.md", "import pound\nimport zmq"),
    ("README.md", "pound serve\n"),
    ("README.md", "pound call slow hello\n"),
    ("README.md", "pound call slow hello &"),
    ("README.md", "kill -9 PID"),
    ("README.md", "kill -9 BROKER_PID"),
    ("docs/asyncio.md", "import asyncio\n\nimport pound\n\n\nasync def main"),
    ("docs/asyncio.md", "import asyncio\n\nimport pound\n\n\nasync def slow"),
    ("docs/configuration.md", "[services."),
    ("docs/security.md", "keys = "),
    ("docs/configuration.md", "keys = "),
    ("docs/operations.md", "pound serve -c /etc/pound.toml"),
    ("docs/operations.md", "pound: ready"),
    ("docs/operations.md", "[Service]"),
    ("docs/operations.md", "[services."),
    ("docs/operations.md", "pound keys init"),
    ("docs/operations.md", "frontend = ["),
]
# Read by every Python that a test here starts.
SITE = """
import asyncio, os, time
nap, rest, share = time.sleep, asyncio.sleep, float(os.environ["SLEEP_SHARE"])
time.sleep = lambda seconds: nap(seconds * share)
asyncio.sleep = lambda delay, *result: rest(delay * share, *result)
import pound, pound.aio
for end, variable in (("Client", "POUND_FRONTEND"), ("Worker", "POUND_BACKEND")):
    for module in (pound, pound.aio):
        init = getattr(module, end).__init__
        init.__defaults__ = (os.environ[variable], *init.__defaults__[1:])
"""


class Block(NamedTuple):
    page: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        name, text = page.relative_to(ROOT).as_posix(), page.read_text()
        for _, body in FENCE.findall(text):
            yield Block(name, body)
        for body in INDENTED.findall(FENCE.sub("", text)):
            yield Block(name, re.sub(r"^ {4}", "", body, flags=re.MULTILINE))


def block(page: str, beginning: str) -> str:
    """Return the one block of a page that begins so."""
    assert (page, beginning) in RUN, "put it into RUN"
    found = [one.text for one in blocks() if one.page == page and one.text.startswith(beginning)]
    assert len(found) == 1, (page, beginning, len(found))
    return found[0]


def test_every_block_is_run_or_has_its_reason() -> None:
    known = [*RUN, *NOT_RUN]
    for one in blocks():
        entries = [1 for page, begin in known if page == one.page and one.text.startswith(begin)]
        assert len(entries) == 1, f"{one.page}: {one.text[:60]!r} is in {len(entries)} entries"
    for page, begin in known:
        assert any(one.page == page and one.text.startswith(begin) for one in blocks()), begin
    source = Path(__file__).read_text().partition("# --- the tests")[2]
    for _, begin in RUN:
        assert repr(begin)[1:-1].replace('"', '\\"') in source, begin


# --- the tests


class Terminals:
    """A folder, and terminals in it: each line runs in a shell of its own."""

    def __init__(self, folder: Path, spawn: Callable[..., Process]) -> None:
        self.folder = folder
        self._spawn = spawn
        shims = folder / "bin"
        shims.mkdir()
        (shims / "sitecustomize.py").write_text(SITE)
        for name, program in (("pound", "-m pound "), ("python", "")):
            shim = shims / name
            shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" {program}"$@"\n')
            shim.chmod(0o755)
        self.environ = clean_environ(
            POUND_FRONTEND=f"ipc://{folder}/front",
            POUND_BACKEND=f"ipc://{folder}/back",
            SLEEP_SHARE="0.1",
        )
        self.environ["PATH"] = f"{shims}{os.pathsep}{os.environ['PATH']}"
        self.environ["PYTHONPATH"] = f"{shims}{os.pathsep}{ROOT}"

    def start(self, line: str) -> Process:
        return self._spawn(["bash", "-c", f"cd {self.folder} && exec {line}"], self.environ)

    def run(self, text: str) -> str:
        """Run lines to their end, those in the background included; return what they print."""
        done = subprocess.run(["bash", "-ec", f"{text}\nwait"], cwd=self.folder, env=self.environ,
                              capture_output=True, text=True, timeout=50, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serve(self, *workers: str) -> list[Process]:
        """Run a broker and workers until each is ready."""
        broker = self.broker = self.start("pound serve")
        broker.wait_line("^pound: ready")
        started = [self.start(line) for line in workers]
        wait_until(lambda: broker.stderr.count("worker ready") == len(workers))
        return started


@pytest.fixture
def terminals(tmp_path: Path, spawn: Callable[..., Process]) -> Terminals:
    folder = tmp_path / "f"
    folder.mkdir()
    return Terminals(folder, spawn)


def test_the_first_five_minutes(terminals: Terminals) -> None:
    (terminals.folder / "work.py").write_text(block("README.md", "import os\nimport time"))
    serve, *workers = block("README.md", "pound serve\n").splitlines()
    assert serve == "pound serve"
    first, second = terminals.serve(*workers)
    pids = {str(first.pid), str(second.pid)}
    answer = terminals.run(block("README.md", "pound call slow hello\n"))
    said = re.fullmatch(r"HELLO by (\d+)\n?", answer)
    assert said is not None
    assert said[1] in pids
    (terminals.folder / "ask.py").write_text(
        block("README.md", "import pound\n\nwith pound.Client()")
    )
    lines = terminals.run("python ask.py").splitlines()
    assert [line.split(" by ")[0] for line in lines] == [f"b'{c}" for c in ("HELLO", *"ABCD")]


def test_kill_minus_9(terminals: Terminals) -> None:
    """With sleeps in full: the command that looks for the holder takes its time, too."""
    terminals.environ["SLEEP_SHARE"] = "1"
    work = block("README.md", "import os\nimport time")
    (terminals.folder / "work.py").write_text(work)
    _, *lines = block("README.md", "pound serve\n").splitlines()
    workers = terminals.serve(*lines)
    asked, table = block("README.md", "pound call slow hello &").splitlines()
    call = terminals.start(asked.removesuffix("&"))

    def holder() -> str | None:
        found = re.search(r":(\d+) +slow +1 ", terminals.run(table))
        return found and found[1]

    pid = wait_until(holder)
    assert int(pid) in {worker.pid for worker in workers}
    terminals.run(block("README.md", "kill -9 PID").replace("PID", pid))
    assert call.wait() == 0
    said = re.fullmatch(r"HELLO by (\d+)\n?", call.stdout)
    assert said is not None
    assert said[1] != pid


def test_kill_minus_9_of_the_broker(terminals: Terminals) -> None:
    terminals.environ["SLEEP_SHARE"] = "1"
    work = block("README.md", "import os\nimport time")
    (terminals.folder / "work.py").write_text(work)
    _, *lines = block("README.md", "pound serve\n").splitlines()
    pids = {worker.pid for worker in terminals.serve(*lines)}
    asked, table = block("README.md", "pound call slow hello &").splitlines()
    call = terminals.start(asked.removesuffix("&"))
    holder = wait_until(lambda: re.search(r":(\d+) +slow +1 ", terminals.run(table)))
    kill, serve = block("README.md", "kill -9 BROKER_PID").splitlines()
    terminals.run(kill.replace("BROKER_PID", str(terminals.broker.pid)))
    terminals.broker.wait()
    terminals.start(serve).wait_line("^pound: ready")
    assert call.wait() == 0
    assert call.stdout.strip() == f"HELLO by {holder[1]}"
    assert int(holder[1]) in pids


def test_the_embedding(terminals: Terminals) -> None:
    (terminals.folder / "embed.py").write_text(block("README.md", "import pound\nimport zmq"))
    assert terminals.run("python embed.py").split() == [f"b'{n * n}'" for n in range(10)]


def test_asyncio_in_the_readme(terminals: Terminals) -> None:
    (terminals.folder / "work.py").write_text(block("README.md", "import asyncio"))
    terminals.serve("pound worker work:slow --service slow --capacity 1000")
    assert terminals.run("python work.py").count("b'") == 1000


def test_the_page_of_asyncio(terminals: Terminals) -> None:
    page = "docs/asyncio.md"
    begin = "import asyncio\n\nimport pound\n\n\nasync def slow"
    (terminals.folder / "worker.py").write_text(block(page, begin))
    begin = "import asyncio\n\nimport pound\n\n\nasync def main"
    (terminals.folder / "client.py").write_text(block(page, begin))
    terminals.serve("python worker.py")
    shown = terminals.run("python client.py").splitlines()
    assert shown[:3] == ["b'A'", "b'B'", "b'C'"]
    assert shown[3:] == ["b'3' False", "b'2' False", "b'1' False", "b'lift-off' True"]


def test_configurations(tmp_path: Path) -> None:
    for page in ("docs/configuration.md", "docs/operations.md"):
        path = tmp_path / "pound.toml"
        path.write_text(block(page, "[services."))
        assert Config.load(path)[0].services


def test_listeners(tmp_path: Path) -> None:
    path = tmp_path / "pound.toml"
    path.write_text(block("docs/configuration.md", "keys = "))
    assert [one.security for one in Config.load(path)[0].listeners()] == ["curve", "none", "none"]


def test_keys(terminals: Terminals) -> None:
    init, add, serve = block("docs/operations.md", "pound keys init").splitlines()
    terminals.run(f"{init}\n{add}")
    broker = terminals.start(re.sub(r"0\.0\.0\.0:\d+", "127.0.0.1:*", serve))
    broker.wait_line("^pound: ready")
    credential = Credential.load(terminals.folder / "render-1.key")
    assert credential.backend == ("tcp://broker.example:5556",)
    text = block("docs/operations.md", "frontend = [").replace("…", credential.pair.public)
    peer = Keyring.parse(text, credential.broker).peer("render-1")
    assert peer.services == ("img.*",)


def test_a_served_configuration_says_that_it_is_ready(terminals: Terminals) -> None:
    """/etc belongs to the machine: the file is the sample, elsewhere."""
    sample = ROOT / "examples" / "pound.toml"
    command = block("docs/operations.md", "pound serve -c /etc/pound.toml").strip()
    broker = terminals.start(command.replace("/etc/pound.toml", str(sample)))
    line = block("docs/operations.md", "pound: ready").strip()
    pattern = re.sub(r"=\S+", r"=\\S+", line)
    broker.wait_line(f"^{pattern}$")


def test_listeners_with_and_without_keys(tmp_path: Path) -> None:
    path = tmp_path / "pound.toml"
    path.write_text(block("docs/security.md", "keys = "))
    assert [one.security for one in Config.load(path)[0].listeners()] == ["curve", "none", "none"]


@pytest.mark.parametrize("own", [False, True])
def test_units_of_systemd(tmp_path: Path, own: bool) -> None:
    """The page's unit and the complete one; systemd looks for the program, so it is this one."""
    text = (ROOT / "deploy" / "pound.service").read_text()
    heart = block("docs/operations.md", "[Service]")
    assert set(heart.splitlines()) <= set(text.splitlines())
    path = tmp_path / "pound.service"
    unit = text if own else heart
    path.write_text(unit.replace("/opt/pound/bin/pound", shutil.which("true") or "/bin/true"))
    command: list[Any] = [need("systemd-analyze"), "verify", "--man=no", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if "pound.service" in line]
    assert (done.returncode, ours) == (0, [])
