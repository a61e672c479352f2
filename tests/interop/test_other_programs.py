"""Programs that read the RFCs in their own way: majortomo, other versions, MMI without a body.

And what the broker says about peers that it does not know yet.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.rig import QUIET, Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.base import Body, Peer, demand
from tests.peers.catalogue import BEAT, CLIENTS, SERVICE, WORKERS
from tests.peers.dealer_client import DealerClient
from tests.peers.mdp1 import Mdp1AsyncClient, Mdp1Worker
from tests.peers.mdp2 import Mdp2Client, Mdp2Worker
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.peers.req_worker import ReqWorker
from tests.support import wait_until


class MajortomoClient(Mdp2Client):
    """As majortomo 0.2 of PyPI: the worker's numbers, an empty frame, no service in answers."""

    def __init__(self, url: str, *, delimited: bool = True) -> None:
        super().__init__(url, service=SERVICE, delimited=delimited)

    def ask(self, body: Body, service: bytes | None = None) -> None:
        self.send([*self.head, b"\x02", service or self.service, *body])

    def _answer(self, timeout: float, service: bytes) -> tuple[bytes, Body]:
        frames = self.recv(timeout)
        n = len(self.head)
        demand(frames[:n] == self.head and len(frames) > n, "not MDP/Client 0.2", frames)
        demand(frames[n] in (b"\x03", b"\x04"), "neither PARTIAL nor FINAL", frames)
        return bytes([frames[n][0] - 1]), frames[n + 1 :]


@pytest.mark.parametrize("delimited", [True, False])
def test_majortomo_is_answered_in_kind(rig: Rig, own: Own, delimited: bool) -> None:
    worker = own(Mdp2Worker(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(MajortomoClient(rig.frontend, delimited=delimited))
    rig.ready(worker)
    client.ask([b"q", b""])
    task = worker.task()
    assert task.body == [b"q", b""]
    worker.partial(task, [b"half", b"h"])
    worker.answer(task, [b"all"])
    assert client.take() == [b"all"]
    assert client.partials == [[b"half", b"h"]]


@pytest.mark.parametrize("name", WORKERS)
def test_majortomo_is_served_by_any_worker(rig: Rig, own: Own, name: str) -> None:
    worker, client = own(WORKERS[name](rig.backend)), own(MajortomoClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


def test_majortomo_asks_the_broker_itself(rig: Rig, own: Own) -> None:
    client = own(MajortomoClient(rig.frontend))
    client.ask([SERVICE], b"mmi.service")
    assert client.take() == [b"404"]


# ---- MMI and pages without a body ----

ASKING = {
    "mdp1": lambda url: Mdp1AsyncClient(url, service=b""),
    "mdp2": lambda url: Mdp2Client(url, service=b""),
    "pnd": PndClient,
}


def asked(client: Peer, service: bytes, body: Body) -> Body:
    client.ask(body, service)  # type: ignore[attr-defined]
    if isinstance(client, PndClient):
        return client.take()[1]
    return client.take(service=service)  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("service", [b"mmi.service", b"mmi.echo", b"mmi."])
def test_mmi_without_a_body_is_not_implemented(
    rig: Rig, own: Own, name: str, service: bytes
) -> None:
    assert asked(own(ASKING[name](rig.frontend)), service, []) == [b"501"]
    assert rig.stat("bad_messages") == 0


@pytest.mark.parametrize("name", ASKING)
def test_pages_need_no_body(rig: Rig, own: Own, name: str) -> None:
    (answer,) = asked(own(ASKING[name](rig.frontend)), b"pound.services", [])
    assert answer.startswith(b'{"services":[')


def test_mmi_name_that_is_attached_is_read(rig: Rig, own: Own) -> None:
    """No service has so long a name, and the default one is not meant."""
    rig.ready(own(WORKERS["ppp"](rig.backend)))
    client = own(PndClient(rig.frontend))
    assert asked(client, b"mmi.service", [b""]) == [b"200"]
    assert asked(client, b"mmi.service", [b"x" * 5000]) == [b"404"]


# ---- names of peers ----


def worker_row(client: PndClient) -> dict[str, Any]:
    """The only row of the page of workers."""
    client.ask([], b"pound.workers")
    (row,) = json.loads(client.take()[1][0])["workers"]
    return dict(row)


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.getMessage().startswith(event)]


BAD: dict[str, tuple[str, list[bytes], str]] = {
    "client": ("frontend", [b""], "wrong number of frames"),
    "worker": ("backend", [b"", b"HELLO"], "no such command"),
    "mdp": ("frontend", [b"", b"MDPC01"], "wrong number of frames"),
    "version": ("frontend", [b"", b"MDPC03", b"s", b"q"], "unknown MDP version 'MDPC03'"),
    "worker's version": ("backend", [b"MDPW07", b"\x01", b"s"], "unknown MDP version 'MDPW07'"),
    "pnd": ("frontend", [b"PND\x01"], "short"),
    "frames": ("frontend", [b"x"] * 2000, "more frames than frames_max (1024)"),
}


@pytest.mark.parametrize(("side", "frames", "why"), BAD.values(), ids=BAD)
def test_bad_message_of_a_stranger_names_its_address(
    rig: Rig, own: Own, caplog: pytest.LogCaptureFixture, side: str, frames: Body, why: str
) -> None:
    caplog.set_level(logging.INFO, "pound")
    own(Peer(getattr(rig, side))).send(frames)
    rig.wait_stat("bad_messages", 1)
    (line,) = wait_until(lambda: lines(caplog, "bad message"))
    assert "peer=127.0.0.1" in line
    assert why in line


def test_route_that_is_struck_names_its_address(
    rig: Rig, own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pound")
    sender = own(Peer(rig.frontend))
    for _ in range(100):
        sender.send([b""])
    (line,) = wait_until(lambda: lines(caplog, "peer ignored"))
    assert "peer=127.0.0.1" in line


def test_pnd_peer_without_a_label_is_known_by_its_address(rig: Rig, own: Own) -> None:
    client, worker = own(PndClient(rig.frontend)), own(PndWorker(rig.backend))
    ready = wire.ready(1, [b""])
    ready.parts[0] = b""
    worker.put(ready)
    rig.wait_stat("workers", 1)
    assert worker_row(client)["label"] == "127.0.0.1"


# ---- the state of workers ----


@pytest.mark.parametrize("name", ["ppp", "mdp1", "pnd"])
def test_worker_that_holds_its_capacity_is_busy(rig: Rig, own: Own, name: str) -> None:
    worker, client = own(WORKERS[name](rig.backend)), own(PndClient(rig.frontend))

    rig.ready(worker)
    assert worker_row(client)["state"] == "ready"
    asker = own(DealerClient(rig.frontend))
    asker.ask([b"q"])
    task = worker.task()
    assert worker_row(client)["state"] == "busy"
    worker.answer(task, [b"a"])
    assert asker.take() == [b"a"]
    assert worker_row(client)["state"] == "ready"


# ---- workers that are refused ----


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"services_max": 1}, "services_max"), ({"sessions_max": 1}, "sessions_max")],
)
@pytest.mark.parametrize("form", [Mdp1Worker, Mdp2Worker])
def test_worker_that_finds_no_room_is_not_sent_away(
    rig_of: Callable[..., Rig],
    own: Own,
    caplog: pytest.LogCaptureFixture,
    form: type[Mdp1Worker] | type[Mdp2Worker],
    settings: dict[str, int],
    why: str,
) -> None:
    """DISCONNECT would bring it back at once, and for ever; it is told of in the log."""
    caplog.set_level(logging.INFO, "pound")
    rig = rig_of(**settings)
    rig.ready(own(ReqWorker(rig.backend)))
    worker = own(form(rig.backend, service=b"another"))
    worker.ready()
    (line,) = wait_until(lambda: lines(caplog, "worker refused"))
    assert "service=another" in line
    assert why in line
    for _ in range(3):
        worker.beat()
    assert worker.poll(QUIET) is None
    assert rig.stat("workers") == 1


def test_refused_worker_is_heard_once_there_is_room(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(sessions_max=1)
    first = own(ReqWorker(rig.backend))
    rig.ready(first)
    worker = own(Mdp1Worker(rig.backend, service=SERVICE))
    worker.ready()
    worker.beat()
    assert worker.poll(QUIET) is None
    first.close()
    rig.wait_stat("workers", 0)
    rig.ready(worker)
    client = own(CLIENTS["dealer"](rig.frontend))
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]
