"""A pyzmq or libzmq that Pound can't run on is refused at import, with the remedy."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from pound._zmq import libzmq
from tests.support import ROOT, clean_environ

# Each is what a program finds before it imports Pound.
TOO_OLD = "import zmq; zmq.pyzmq_version_info = lambda: (25, 1, 2)"
NO_MODULE = "import sys, zmq; sys.modules['zmq.backend.cython._zmq'] = None"
NO_FILE = "import sys, zmq; sys.modules['zmq.backend.cython._zmq'].__file__ = '/no/such/file'"
NO_FUNCTIONS = (
    "import math, sys, zmq; sys.modules['zmq.backend.cython._zmq'].__file__ = math.__file__"
)
NEWER = "import zmq; zmq.pyzmq_version_info = lambda: (99, 0, 0)"


def importing(before: str, what: str = "pound._zmq.libzmq") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{before}; import {what}; print('imported')"],
        capture_output=True, text=True, timeout=50, env=clean_environ(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (TOO_OLD, "it is older than 26.0"),
        (NO_MODULE, "it has no compiled module zmq.backend.cython._zmq"),
        (NO_FILE, "its module /no/such/file cannot be opened"),
        (NO_FUNCTIONS, "its libzmq does not export zmq_version"),
    ],
)
def test_a_pyzmq_that_cannot_be_bound_is_refused_with_the_remedy(before: str, reason: str) -> None:
    if before is NO_FUNCTIONS and not getattr(math, "__file__", None):
        pytest.skip("this Python has no module math in a file of its own")
    words = importing(before).stderr
    assert "ImportError: Pound cannot use pyzmq " in words
    assert reason in words
    assert "pip install --force-reinstall 'pyzmq>=26,<28'" in words


def test_a_newer_pyzmq_that_can_be_bound_is_used() -> None:
    assert importing(NEWER).stdout == "imported\n"
    assert '"pyzmq>=26",' in (ROOT / "pyproject.toml").read_text()


def test_a_libzmq_that_pyzmq_does_not_run_on_or_an_old_one_is_refused() -> None:
    libzmq.check_version((4, 3, 5), (4, 3, 5))
    with pytest.raises(ImportError, match="two copies of libzmq"):
        libzmq.check_version((4, 3, 5), (4, 3, 4))
    with pytest.raises(ImportError, match=r"libzmq 4\.2\.5 is older than 4\.3\.4.* pip install"):
        libzmq.check_version((4, 2, 5), (4, 2, 5))
