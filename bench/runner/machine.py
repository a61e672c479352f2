"""Where a run took place: the machine and the versions of what was measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import zmq

import pound
from bench.peers.servers import SERVERS


def machine() -> dict[str, Any]:
    """Return what has an influence on figures."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "pound": pound.__version__,
        "peers": _peer_versions(),
        "load_average": os.getloadavg(),
    }


def _peer_versions() -> dict[str, str]:
    """Return the versions of the installed peers' packages, where dpkg knows them."""
    found = {}
    for server in SERVERS.values():
        if server.path() and shutil.which("dpkg-query"):
            command = ["dpkg-query", "--show", "--showformat", "${Version}", server.package]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found[server.package] = done.stdout or "of unknown version"
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
