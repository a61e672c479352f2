"""Build the micro-benchmarks' operations in place, as the package itself is built."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import setup

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from cython_options import DIRECTIVES, extension  # noqa: E402

os.chdir(ROOT)

setup(
    name="micro",
    packages=[],
    script_args=["--quiet", "build_ext", "--inplace", "--build-temp", "build/micro"],
    ext_modules=cythonize(
        [extension(Path("bench", "micro", "ops.pyx"), ["-O3", "-g1"])],
        build_dir="build/micro",
        quiet=True,
        compiler_directives=DIRECTIVES,
    ),
)
