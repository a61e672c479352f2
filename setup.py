"""The compiled extensions; everything else about the package is in pyproject.toml.

Every pound/*.pyx becomes the extension of its name. A build is incremental: Cython compares the
.pyx with its .pxd files, the compiler the C with the headers, and a change of the switches
rebuilds everything. Switches (environment, 1 = on):

POUND_DEBUG     O(n) invariant checks after every step, no optimisation, debug symbols
POUND_TRACE     line tracing of the Cython code, for coverage
POUND_SANITIZE  AddressSanitizer and UndefinedBehaviorSanitizer
POUND_ANNOTATE  write Cython's annotated HTML beside each module
POUND_UNBUILT   no extensions at all: for an editable install that `build_ext --inplace` follows,
                since pip would compile in a folder of its own and throw the objects away
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SWITCHES = ("POUND_DEBUG", "POUND_TRACE", "POUND_SANITIZE", "POUND_ANNOTATE")
# What the switches were at the last build, which the compiled modules themselves don't tell.
STAMP = Path("build", "switches")
JOBS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def switch(name: str) -> bool:
    """Tell whether a switch is on."""
    return os.environ.get(name, "0") not in ("", "0")


def switches_changed() -> bool:
    """Tell whether the last build had other switches, and note the present ones."""
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


changed = switches_changed()
debug, trace = switch("POUND_DEBUG"), switch("POUND_TRACE")
macros = [("POUND_DEBUG", "1")] if debug else []
macros += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if trace else []
compile_args = ["-O0", "-g3"] if debug else ["-O3", "-g1"]
compile_args += ["-fno-strict-aliasing", "-Wno-unused-function", "-Wno-sign-compare"]
link_args: list[str] = []
if switch("POUND_SANITIZE"):
    sanitizers = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"]
    compile_args += sanitizers
    link_args += sanitizers

extensions = [
    Extension(
        f"pound.{source.stem}",
        [str(source)],
        depends=[str(header) for header in sorted(Path("pound").glob("*.h"))],
        include_dirs=["pound"],
        define_macros=macros,
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for source in sorted(Path("pound").glob("*.pyx"))
]

setup(
    cmdclass={"build_ext": BuildExtensions},
    ext_modules=[] if switch("POUND_UNBUILT") else cythonize(
        extensions,
        annotate=switch("POUND_ANNOTATE"),
        force=changed,
        nthreads=JOBS,
        quiet=True,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "linetrace": trace,
        },
    ),
)
