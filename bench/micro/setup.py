"""Build the micro-benchmarks' operations in place, as the package itself is built."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

os.chdir(Path(__file__).parents[2])

setup(
    name="micro",
    packages=[],
    script_args=["--quiet", "build_ext", "--inplace", "--build-temp", "build/micro"],
    ext_modules=cythonize(
        [
            Extension(
                "bench.micro.ops",
                ["bench/micro/ops.pyx"],
                include_dirs=["pound"],
                extra_compile_args=["-O3", "-g1", "-fno-strict-aliasing"],
            )
        ],
        build_dir="build/micro",
        quiet=True,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
        },
    ),
)
