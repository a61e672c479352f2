"""Bugs that the simulation of the links must catch, each planted in the text of their rules.

As in ``planted.py``, all plants go into one copy of the sources, each behind its number.
``python -m tests.simulation.link_planted`` compiles it and prints a JSON object: ``verdicts``, how
each plant was caught, by number, and ``copy``, what failed without any plant at those seeds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .planted import CIMPORT, DECLARATION, HEADER, applied, function_of
from .plants import bug, step

ROOT = Path(__file__).resolve().parents[2]
LINK, ENDPOINTS = "_engine/link.pxd", "_engine/endpoints.pxd"
SEEDS, ROUNDS = 60, 4
"""the bound within which each plant is to be caught"""
PATIENCE_S = 20.0
"""of the processor for a seed, where the unplanted copy takes a fiftieth of it"""
AT_ONCE = os.cpu_count() or 1

PLANTS = (
    # which endpoint
    bug("a turn stays at the endpoint", "turn", "endpoints_turn(&l.endpoints)", "0"),
    bug("a name is never tried as IPv6", "endpoints_turn", "not e.six and e.address == NULL", "0"),
    step(
        "the addresses of a name are never tried",
        "endpoints_turn",
        "e.address = endpoint_address(e)",
    ),
    bug(
        "a broker that refuses is not left",
        "link_refused",
        "l.handshakes == 0 and has_others(l)",
        "0",
    ),
    bug(
        "a broker that turns us away is not left",
        "link_disconnected",
        "before and brief and has_others(l)",
        "0",
    ),
    # storms
    step(
        "the next endpoint is opened at once",
        "turn",
        "rest(l, l.opened_at + TURN_PAUSE_NS)",
        "rest(l, now)",
    ),
    bug(
        "a broker that drains is asked again at once",
        "link_bye",
        "max(now + link_jitter(l, away), l.opened_at + TURN_PAUSE_NS)",
        "now + link_jitter(l, away)",
        "int64_t",
    ),
    step(
        "a closed link that is forgotten opens before its rest is over",
        "link_forgotten",
        "lose(l, reason)",
        "lose(l, reason); l.resting_until = 0",
    ),
    bug(
        "a greeting follows each BYE 0 at once",
        "link_forgotten",
        "max(now, l.greeted_at + TURN_PAUSE_NS)",
        "now",
        "int64_t",
    ),
    bug(
        "a greeting that was lost is not repeated",
        "link_greets",
        "FAR if l.welcomed else now + link_jitter(l, GREETING_NS)",
        "FAR",
        "int64_t",
    ),
    bug(
        "greetings follow each other at once",
        "link_greets",
        "now + link_jitter(l, GREETING_NS)",
        "now + 1",
        "int64_t",
    ),
    # silence and heartbeats
    bug("silence is not seen", "link_tick", "now - l.heard_at >= l.rates.silence", "0"),
    step(
        "nothing wakes a link after its rest",
        "link_next_due",
        "return l.resting_until",
        "return FAR",
    ),
    bug("a pause of our own counts as silence", "link_wake", "l.woke_at and pause > 0", "0"),
    step("what the broker sends does not end its silence", "link_packet", "l.heard_at = now"),
    bug(
        "a worker judges silence by its own rates",
        "link_welcome",
        "heartbeat * min(max(record.liveness, 1), WELCOME_LIVENESS_MAX)",
        "l.rates.silence",
        "int64_t",
    ),
    bug(
        "the heartbeat of the broker does not count",
        "link_welcome",
        "min(l.rates.own_heartbeat, heartbeat)",
        "l.rates.own_heartbeat",
        "int64_t",
    ),
    # the handshake
    bug("a new connection goes unnoticed", "link_connected", "l.handshakes > 1", "0"),
    step("stale packets go before the greeting", "link_connected", "act(l, LINK_DROP, NULL)"),
    bug("a late WELCOME of a broken connection counts", "link_welcome", "l.greeted_at == 0", "0"),
    bug("BYE 0 is no reason to greet", "link_bye", "code == BYE_UNKNOWN", "0"),
    step(
        "the packet limit of the first broker holds for all",
        "link_welcome",
        "l.limits.packet_bytes_max = max(1, record.packet_bytes_max)",
    ),
    bug(
        "packets exceed the limit",
        "limits_allow",
        "bytes + size <= limits.packet_bytes_max",
        "1",
    ),
    # what is logged
    bug("what is brief is found twice", "link_welcome", "not l.brief", "1"),
    bug(
        "a broker that stays after a brief one is never found",
        "link_tick",
        "l.brief and l.welcomed and now - l.welcomed_at >= BRIEF_NS",
        "0",
    ),
)

SETUP = """\
from pathlib import Path
from Cython.Build import cythonize
from setuptools import setup
from cython_options import DIRECTIVES, extension
module = extension(Path("planted_links.pyx"), ["-O0"])
setup(name="planted", packages=[], script_args=["-q", "build_ext", "--inplace"],
      ext_modules=cythonize([module], compiler_directives=DIRECTIVES))
"""


def mutate(target: Path) -> None:
    """Copy the rules' sources to ``target``, with every plant in its place."""
    package = target / "pound"
    for room in ("_base", "_wire", "_engine"):
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").touch()
    for room in ("_base", "_wire"):
        for source in [
            *(ROOT / "pound" / room).glob("*.pxd"),
            *(ROOT / "pound" / room).glob("*.h"),
        ]:
            shutil.copy(source, package / room)
    shutil.copy(ROOT / "cython_options.py", target)
    shutil.copy(ROOT / "tests/probe/links.pyx", target / "planted_links.pyx")
    (package / "__init__.py").touch()
    (package / "planted.h").write_text(HEADER)
    (package / "planted.pxd").write_text(DECLARATION)
    for file in (LINK, ENDPOINTS):
        text = (ROOT / "pound" / file).read_text()
        for number, plant in enumerate(PLANTS, 1):
            if function_of(plant.function, text):
                text = applied(plant, text, number)
        (package / file).write_text(text.replace("\nfrom libc", f"\n{CIMPORT}\nfrom libc", 1))


def build(target: Path) -> None:
    """Mutate and compile; raises CalledProcessError with the compiler's words in ``output``."""
    mutate(target)
    subprocess.run(
        [sys.executable, "-c", SETUP],
        cwd=target,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def caught(number: int, built: Path, seeds: range = range(SEEDS)) -> tuple[int, str] | None:
    """Simulate with a plant until a seed fails: the seed and the words; None when none does.

    The plant runs in a process of its own: it may crash it, or loop until its patience ends.
    """
    command = [
        sys.executable,
        "-m",
        "tests.simulation.links",
        "--first",
        "--probe",
        "planted_links",
    ]
    command += ["--seed", str(seeds.start), "--seeds", str(len(seeds)), "--rounds", str(ROUNDS)]
    command += ["--patience", str(PATIENCE_S)]
    paths = os.pathsep.join((str(ROOT), str(built)))
    environment = os.environ | {"PYTHONPATH": paths, "POUND_PLANTED": str(number)}
    ran = subprocess.run(command, cwd=built, env=environment, capture_output=True, text=True)
    begun = [line for line in ran.stderr.splitlines() if line.startswith("seed ")]
    if ran.returncode == 0:
        return None
    if not begun:
        raise RuntimeError(f"plant {number} did not run: {ran.stderr}")
    seed = int(begun[-1].split()[1])
    verdicts = [line for line in ran.stdout.splitlines() if line.startswith("seed ")]
    if ran.returncode < 0:
        return seed, f"ended by signal {-ran.returncode}"
    if not verdicts:
        raise RuntimeError(f"plant {number} broke the simulation: {ran.stderr}")
    return seed, verdicts[-1]


def judged(folder: Path) -> dict[str, object]:
    """How the plants were caught in a copy of the rules with all of them in it."""
    build(folder)
    numbers = range(1, len(PLANTS) + 1)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = list(pool.map(lambda number: caught(number, folder), numbers))
        seeds = sorted({verdict[0] for verdict in verdicts if verdict})
        copy = pool.map(lambda seed: caught(0, folder, range(seed, seed + 1)), seeds)
        found = {number: v[1] for number, v in zip(numbers, verdicts, strict=True) if v}
        return {"verdicts": found, "copy": [v for v in copy if v]}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(json.dumps(judged(Path(folder))))
        except subprocess.CalledProcessError as error:
            print(f"the planted copy does not compile:\n{error.output}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
