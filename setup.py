"""The compiled extensions; everything else about the package is in pyproject.toml.

Every .pyx below pound/ becomes the extension of its name. A build is incremental: Cython compares
the .pyx with its .pxd files, the compiler the C with the headers, and a change of the switches
rebuilds everything. Switches (environment, 1 = on):

POUND_DEBUG     O(n) invariant checks after every step, no optimisation, debug symbols
POUND_TRACE     line tracing of the Cython code, for coverage
POUND_SANITIZE  AddressSanitizer and UndefinedBehaviorSanitizer
POUND_ANNOTATE  write Cython's annotated HTML beside each module
POUND_UNBUILT   no extensions at all: for an editable install that `build_ext --inplace` follows,
                since pip would compile in a folder of its own and throw the objects away
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import setup
from setuptools.command.build_ext import build_ext

# An isolated build does not look for modules beside this file.
sys.path.insert(0, str(Path(__file__).parent))
from cython_options import DIRECTIVES, JOBS, extension, sanitizers, switch

SWITCHES = ("POUND_DEBUG", "POUND_TRACE", "POUND_SANITIZE", "POUND_ANNOTATE")
# What the switches were at the last build, which the compiled modules themselves don't say.
STAMP = Path("build", "switches")


def switches_changed() -> bool:
    """Return whether the last build had other switches, and note the present ones."""
    now = " ".join([*filter(switch, SWITCHES), os.environ.get("CFLAGS", "")])
    before = STAMP.read_text() if STAMP.exists() else ""
    STAMP.parent.mkdir(exist_ok=True)
    STAMP.write_text(now)
    return now != before


class BuildExtensions(build_ext):
    """`build_ext` with one compiler per core, forced when the switches changed."""

    def finalize_options(self) -> None:
        """Set the number of jobs and the force flag unless the command line did."""
        super().finalize_options()
        self.parallel = self.parallel or JOBS
        self.force = self.force or changed

    def build_extensions(self) -> None:
        """Build a wheel without line numbers, which are half of it.

        It keeps its symbol table: py-spy, perf and gdb show the names of functions.
        """
        if not (self.inplace or self.editable_mode or debug or switch("POUND_SANITIZE")):
            for each in self.extensions:
                each.extra_compile_args.append("-g0")
        super().build_extensions()


changed = switches_changed()
debug, trace = switch("POUND_DEBUG"), switch("POUND_TRACE")
macros = [("POUND_DEBUG", "1")] if debug else []
macros += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if trace else []
arguments = ["-O0", "-g3"] if debug else ["-O3", "-g1"]
extensions = [
    extension(
        source,
        [*arguments, *sanitizers()],
        define_macros=macros,
        extra_link_args=sanitizers(),
    )
    for source in sorted(Path("pound").rglob("*.pyx"))
]

setup(
    cmdclass={"build_ext": BuildExtensions},
    ext_modules=[]
    if switch("POUND_UNBUILT")
    else cythonize(
        extensions,
        annotate=switch("POUND_ANNOTATE"),
        force=changed,
        nthreads=JOBS,
        quiet=True,
        compiler_directives={**DIRECTIVES, "linetrace": trace},
    ),
)
