"""Build the probes in place; they are for tests only and never part of the wheel.

POUND_SANITIZE as in the setup.py of the package; all is built anew when it has changed.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import setup

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from cython_options import DIRECTIVES, JOBS, extension, sanitizers  # noqa: E402

OUT = Path("build", "probe")

os.chdir(ROOT)
flags = " ".join(sanitizers())
OUT.mkdir(parents=True, exist_ok=True)
stamp = OUT / "flags"
changed = not stamp.exists() or stamp.read_text() != flags

arguments = ["--quiet", "build_ext", "--inplace", "--build-temp", str(OUT)]
setup(
    name="probe",
    packages=[],
    script_args=[*arguments, "--parallel", str(JOBS), *(["--force"] if changed else [])],
    ext_modules=cythonize(
        [
            extension(source, ["-O0", "-g", *sanitizers()], extra_link_args=sanitizers())
            for source in sorted(Path("tests", "probe").glob("*.pyx"))
        ],
        build_dir=str(OUT),
        nthreads=JOBS,
        quiet=True,
        compiler_directives=DIRECTIVES,
    ),
)
stamp.write_text(flags)
