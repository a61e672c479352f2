"""The rig of the interoperation tests: a broker with quick timers, and what a test asks of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.peers import mdp1, mdp2
from tests.peers.base import Worker
from tests.peers.mdp1 import Mdp1Worker
from tests.peers.mdp2 import Mdp2Worker
from tests.support import wait_until

WILDCARD = ("tcp://127.0.0.1:*",)
# The dialects' own rates make a test of silence last for seconds; these make it a fraction of one.
# The peers of tests/peers/catalogue.py beat as often.
QUICK: dict[str, Any] = {
    "frontend": WILDCARD,
    "backend": WILDCARD,
    "default_service": "work",
    "ppp_heartbeat": 0.1,
    "mdp_heartbeat": 0.1,
    "heartbeat": 0.2,
}

Own = Callable[[Any], Any]  # the fixture that closes a peer with the test
MdpForm = type[Mdp1Worker] | type[Mdp2Worker]
QUIET = 0.3  # seconds without a message that a test takes for "none comes"

MDP_FORMS = [Mdp1Worker, Mdp2Worker]
DISCONNECTS: dict[type, list[bytes]] = {
    Mdp1Worker: [b"", mdp1.WORKER, mdp1.DISCONNECT],
    Mdp2Worker: [mdp2.WORKER, mdp2.DISCONNECT],
}
HEARTBEATS: dict[type, list[bytes]] = {
    Mdp1Worker: [b"", mdp1.WORKER, mdp1.HEARTBEAT],
    Mdp2Worker: [mdp2.WORKER, mdp2.HEARTBEAT],
}


class Rig:
    """A running broker and what a test asks of it."""

    def __init__(self, broker: Any) -> None:
        self.broker = broker
        self.frontend: str = broker.frontend_endpoints[0]
        self.backend: str = broker.backend_endpoints[0]

    def stat(self, name: str) -> int:
        return int(self.broker.stats()[name])

    def wait_stat(self, name: str, value: int) -> None:
        """Wait until a counter or gauge has reached `value` exactly."""

        def reached() -> bool:
            now = self.stat(name)
            reached.__name__ = f"{name} == {value} (it is {now})"
            return now == value

        wait_until(reached)

    def ready(self, *workers: Worker) -> None:
        """Let workers say READY, one after the other, and wait until the broker has read it."""
        for worker in workers:
            known = self.stat("workers")
            worker.ready()
            self.wait_stat("workers", known + 1)
