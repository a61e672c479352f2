"""Build the named probes in place; they are for tests only and never part of the wheel."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

os.chdir(Path(__file__).parents[2])

setup(
    name="probe",
    packages=[],
    script_args=["--quiet", "build_ext", "--inplace", "--build-temp", "build/probe"],
    ext_modules=cythonize(
        [
            Extension(
                f"tests.probe.{name}",
                [f"tests/probe/{name}.pyx"],
                include_dirs=["pound"],
                extra_compile_args=["-O1", "-g", "-fno-strict-aliasing"],
            )
            for name in sys.argv[1:]
        ],
        build_dir="build/probe",
        quiet=True,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
        },
    ),
)
