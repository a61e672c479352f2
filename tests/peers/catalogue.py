"""Every dialect of each role by name, and how to make its peer for the service ``work``.

The broker of a test must have ``work`` as its default service, so that plain, PPP and PND peers
(which name none) meet the Majordomo peers there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.peers.base import Worker
from tests.peers.dealer_client import BareClient, DealerClient
from tests.peers.mdp1 import Mdp1AsyncClient, Mdp1Client, Mdp1Worker
from tests.peers.mdp2 import Mdp2Client, Mdp2Worker
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.peers.ppp_worker import PppWorker, TextPppWorker
from tests.peers.req_client import LazyPirate, ReqClient
from tests.peers.req_worker import ReqWorker, SimplePirateWorker

SERVICE = b"work"
BEAT = 0.1  # seconds between the heartbeats of these peers

CLIENTS: dict[str, Callable[[str], Any]] = {
    "req": ReqClient,
    "lazy pirate": LazyPirate,
    "dealer": DealerClient,
    "dealer stack": lambda url: DealerClient(url, stack=(b"hop 1", b"\0" * 5, b"h" * 255)),
    "bare": BareClient,
    "mdp1": lambda url: Mdp1Client(url, service=SERVICE),
    "mdp1 async": lambda url: Mdp1AsyncClient(url, service=SERVICE),
    "mdp2": lambda url: Mdp2Client(url, service=SERVICE),
    "mdp2 delimited": lambda url: Mdp2Client(url, service=SERVICE, delimited=True),
    "pnd": PndClient,
    "pnd named": lambda url: PndClient(url, service=SERVICE),
}

WORKERS: dict[str, Callable[[str], Worker]] = {
    "req": ReqWorker,
    "req 0x01": SimplePirateWorker,
    "ppp": lambda url: PppWorker(url, heartbeat=BEAT),
    "ppp text": lambda url: TextPppWorker(url, heartbeat=BEAT),
    "mdp1": lambda url: Mdp1Worker(url, service=SERVICE, heartbeat=BEAT),
    "mdp2": lambda url: Mdp2Worker(url, service=SERVICE, heartbeat=BEAT),
    "mdp2 delimited": lambda url: Mdp2Worker(url, service=SERVICE, heartbeat=BEAT, delimited=True),
    "pnd": lambda url: PndWorker(url, heartbeat=BEAT),
    "pnd named": lambda url: PndWorker(url, service=SERVICE, heartbeat=BEAT),
}
