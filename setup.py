"""The compiled extensions; everything else about the package is in pyproject.toml.

Switches (environment, 1 = on):

POUND_DEBUG     O(n) invariant checks after every step, no optimisation, debug symbols
POUND_TRACE     line tracing of the Cython code, for coverage
POUND_SANITIZE  AddressSanitizer and UndefinedBehaviorSanitizer
POUND_ANNOTATE  write Cython's annotated HTML beside each module
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def switch(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


debug, trace = switch("POUND_DEBUG"), switch("POUND_TRACE")
macros = [("POUND_DEBUG", "1")] if debug else []
macros += [("CYTHON_TRACE_NOGIL", "1")] if trace else []
compile_args = ["-O0", "-g3"] if debug else ["-O3", "-g1", "-fno-strict-aliasing"]
link_args = []
if switch("POUND_SANITIZE"):
    sanitizers = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"]
    compile_args += sanitizers
    link_args += sanitizers

extensions = [
    Extension(
        f"pound.{source.stem}",
        [str(source)],
        include_dirs=["pound"],
        define_macros=macros,
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for source in sorted(Path("pound").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        annotate=switch("POUND_ANNOTATE"),
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "linetrace": trace,
        },
    )
)
