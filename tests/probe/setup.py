"""Build the probes in place; they are for tests only and never part of the wheel.

POUND_SANITIZE as in the setup.py of the package; all is built anew when it has changed.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

JOBS = os.cpu_count() or 1
OUT = Path("build", "probe")
SANITIZERS = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]

os.chdir(Path(__file__).parents[2])
flags = SANITIZERS if os.environ.get("POUND_SANITIZE", "0") not in ("", "0") else []
OUT.mkdir(parents=True, exist_ok=True)
stamp = OUT / "flags"
changed = not stamp.exists() or stamp.read_text() != " ".join(flags)

arguments = ["--quiet", "build_ext", "--inplace", "--build-temp", str(OUT)]
setup(
    name="probe",
    packages=[],
    script_args=[*arguments, "--parallel", str(JOBS), *(["--force"] if changed else [])],
    ext_modules=cythonize(
        [
            Extension(
                f"tests.probe.{source.stem}",
                [str(source)],
                include_dirs=["pound"],
                extra_compile_args=["-O0", "-g", "-fno-strict-aliasing", *flags],
                extra_link_args=flags,
            )
            for source in sorted(Path("tests", "probe").glob("*.pyx"))
        ],
        build_dir=str(OUT),
        nthreads=JOBS,
        quiet=True,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
        },
    ),
)
stamp.write_text(" ".join(flags))
