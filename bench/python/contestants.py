"""Who is measured, and what of it must be on this machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError

from bench.runner.contestants import CONTESTANTS as BROKERS
from bench.runner.subjects import Contestant as Broker

ONE_CORE = "one core"  # the task request, with all processes on one core
EXTRA = 'pip install "pound-broker[bench-python]"'


@dataclass(frozen=True)
class Contestant:
    """A library: its module in this package has `work` and `running` (ends.py)."""

    name: str
    module: str  # within bench.python
    packages: Mapping[str, str]  # what is imported: the distribution that has it
    tasks: tuple[str, ...]  # of "map", "request", "gather"
    broker: Broker | None = None  # the process between the two ends, if it is one of bench's
    competes: bool = True  # counts when the best of them is looked for
    one_core: bool = False  # is measured so too

    def missing(self) -> list[str]:
        """Return what is not here, in words; [] if it can run."""
        lacking = [
            f"the package {package} ({EXTRA})"
            for module, package in self.packages.items()
            if not _importable(module)
        ]
        if self.broker is not None and not self.broker.here():
            lacking.append(f"the program {self.broker.needs[0]}")
        return lacking

    def versions(self) -> dict[str, str]:
        """Return the version of each of its packages that is installed as one."""
        found = {}
        for package in self.packages.values():
            with suppress(PackageNotFoundError):
                found[package] = importlib.metadata.version(package)
        return found


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(
            "pound",
            "with_pound",
            {"pound": "pound-broker"},
            ("map", "request"),
            BROKERS["pnd-64"],
            competes=False,
            one_core=True,
        ),
        Contestant(
            "pound.aio",
            "with_pound_aio",
            {"pound.aio": "pound-broker"},
            ("gather",),
            BROKERS["pnd-64"],
            competes=False,
        ),
        Contestant(
            "nats-py",
            "with_nats",
            {"nats": "nats-py"},
            ("map", "request", "gather"),
            BROKERS["nats"],
            one_core=True,
        ),
        Contestant(
            "dramatiq",
            "with_dramatiq",
            {"dramatiq": "dramatiq", "redis": "redis"},
            ("map", "request"),
            BROKERS["redis-1"],
        ),
        Contestant(
            "ipyparallel", "with_ipyparallel", {"ipyparallel": "ipyparallel"}, ("map", "request")
        ),
        Contestant("dask", "with_dask", {"distributed": "distributed"}, ("map", "request")),
        Contestant(
            "pyzmq",
            "with_pyzmq",
            {"zmq": "pyzmq"},
            ("request",),
            BROKERS["zmq_proxy"],
            competes=False,
            one_core=True,
        ),
    )
}
