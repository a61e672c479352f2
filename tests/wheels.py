"""Builds wheels as they are published, and tries them: ``make wheel``, ``make dist-check``.

``python -m tests.wheels build PYTHON...`` fills dist/ with the sdist and, made from it, a wheel for
each interpreter. On Linux auditwheel gives a wheel the tag of the oldest manylinux or musllinux
that it runs on. ``check PYTHON...`` installs each in empty environments, once with the oldest and
once with the newest pyzmq that has a wheel for the interpreter, and has tests/round_trip.py run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
WORK = ROOT / "build" / "wheels"
# The oldest pyzmq of the declared range that has a wheel for a version of CPython.
OLDEST_PYZMQ = {
    "310": "26.0.3",
    "311": "26.0.3",
    "312": "26.0.3",
    "313": "26.2.0",
    "313t": "26.2.1",
}
OLDEST_LATER = "27.1.0"
NEWEST_PYZMQ = ">=27"
TAG = (
    "import sys, sysconfig; print('%d%d' % sys.version_info[:2] + "
    "('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''))"
)
# A wheel brings no library, and libzmq least of all: Pound runs on the copy that pyzmq has loaded.
SYSTEM = ("libc.", "ld-linux", "ld-musl", "libpthread.", "libdl.", "libm.", "libgcc_s.")


def run(*words: str | Path, cwd: Path = ROOT) -> str:
    """Run a command to its end and return what it printed; what fails shows all of it."""
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout}")
    return done.stdout.strip()


def environment(python: str, name: str) -> Path:
    """Make an empty environment of an interpreter; return its own interpreter."""
    shutil.rmtree(WORK / name, ignore_errors=True)
    run(python, "-m", "venv", WORK / name)
    return WORK / name / "bin" / "python"


def pip(python: Path, *words: str | Path) -> None:
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words)


def build(pythons: list[str]) -> None:
    for folder in (DIST, WORK):
        shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--sdist", "--outdir", DIST, ".")
    (sdist,) = DIST.glob("*.tar.gz")
    for python in pythons:
        tag = run(python, "-c", TAG)
        raw = WORK / f"raw-{tag}"
        pip(environment(python, f"build-{tag}"), "wheel", "--no-deps", "-w", raw, sdist)
        (wheel,) = raw.glob("*.whl")
        if sys.platform == "linux":
            run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", DIST, wheel)
        else:
            shutil.copy(wheel, DIST)
    for path in sorted(DIST.iterdir()):
        if path.suffix == ".whl":
            check_contents(path)
        print(f"{path.stat().st_size:>9,} {path.name}")


def check_contents(wheel: Path) -> None:
    """Refuse a wheel that has a library or a source in it, or symbols that it should not have."""
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        for name in names:
            if ".libs/" in name or name.endswith((".c", ".pyx", ".pxd", ".h")):
                raise SystemExit(f"{wheel.name}: {name} does not belong in a wheel")
        if sys.platform == "linux":
            for name in names:
                if name.endswith(".so"):
                    with archive.open(name) as module:
                        check_module(f"{wheel.name}: {name}", module)


def check_module(name: str, module: object) -> None:
    from elftools.elf.elffile import ELFFile  # comes with auditwheel

    elf = ELFFile(module)
    needed = [tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")]
    for library in needed:
        if not library.startswith(SYSTEM):
            raise SystemExit(f"{name} needs {library}")
    if elf.get_section_by_name(".debug_info"):
        raise SystemExit(f"{name} has debugging information: it doubles the wheel")
    if not elf.get_section_by_name(".symtab"):
        raise SystemExit(f"{name} has no symbol table: profilers can't name its functions")


def check(pythons: list[str]) -> None:
    for python in pythons:
        tag = run(python, "-c", TAG)
        abi = f"cp{tag.rstrip('t')}-cp{tag}-"
        (wheel,) = (path for path in DIST.glob("*.whl") if abi in path.name)
        for pyzmq in (f"=={OLDEST_PYZMQ.get(tag, OLDEST_LATER)}", NEWEST_PYZMQ):
            ours = environment(python, "empty")
            pip(ours, "install", "--only-binary", "pyzmq", f"pyzmq{pyzmq}", wheel)
            print(f"Python {tag}:", run(ours, ROOT / "tests" / "round_trip.py", cwd=WORK / "empty"))


if __name__ == "__main__":
    {"build": build, "check": check}[sys.argv[1]](sys.argv[2:] or [sys.executable])
