"""What an operator can see: the pages of the broker, and the log lines about silence."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from pound._broker.names import DISPATCHER_COUNTERS, LOOP_COUNTERS
from tests.interop.rig import Own, Rig
from tests.peers.base import Peer, Task
from tests.peers.dealer_client import DealerClient
from tests.peers.mdp1 import Mdp1AsyncClient
from tests.peers.mdp2 import Mdp2Worker
from tests.peers.pnd_client import PndClient
from tests.support import wait_until


def status(client: PndClient) -> dict[str, Any]:
    client.ask([b""], b"pound.status")
    _, [text] = client.take()
    shown: dict[str, Any] = json.loads(text)
    return shown


def test_status_shows_every_counter(rig: Rig, own: Own) -> None:
    own(Peer(rig.frontend)).send([b"", b"MDPC01"])
    rig.wait_stat("bad_messages", 1)
    counters = status(own(PndClient(rig.frontend)))["counters"]
    assert counters["bad_messages"] == counters["bad_mdp1"] == 1
    assert set(LOOP_COUNTERS) <= set(counters)
    assert set(DISPATCHER_COUNTERS) - set(counters) == {"workers", "clients", "services"}


def test_status_counts_the_services_that_the_table_shows(rig: Rig, own: Own) -> None:
    """The default service and those that were named, not the broker's own pages."""
    rig.ready(own(Mdp2Worker(rig.backend, service=b"other")))
    client = own(PndClient(rig.frontend))
    assert status(client)["services"] == 2
    client.ask([b""], b"pound.services")
    _, [text] = client.take()
    assert [row["name"] for row in json.loads(text)["services"]] == ["work", "other"]


def test_status_counts_answers_of_unknown_workers_among_the_late_ones(rig: Rig, own: Own) -> None:
    """As `Broker.stats` does."""
    stranger = own(Mdp2Worker(rig.backend, service=b"work"))
    stranger.answer(Task(b"0123456789abcdef", [], []), [b"of another life"])
    rig.wait_stat("answers_late", 1)
    counters = status(own(PndClient(rig.frontend)))["counters"]
    assert counters["answers_late"] == counters["answers_unknown"] == 1


def refusals(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.getMessage().startswith("requests refused")]


def test_refusals_that_a_client_cannot_hear_are_logged_once(
    rig_of: Callable[..., Rig], own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    """One line a peer and half a minute, and every refusal in its counter."""
    caplog.set_level(logging.INFO, "pound")
    rig = rig_of(foreign_window=1)
    over = own(DealerClient(rig.frontend))
    for _ in range(10):
        over.ask([b"q"])
    rig.wait_stat("refused_foreign", 9)
    other = own(Mdp1AsyncClient(rig.frontend, service=b"pound.none"))
    for _ in range(10):
        other.ask([b"q"])
    rig.wait_stat("reserved_services", 10)
    wait_until(lambda: len(refusals(caplog)) >= 2)
    lines = [record.getMessage() + str(record.__dict__) for record in refusals(caplog)]
    assert len(lines) == 2
    assert "foreign_window" in lines[0]
    assert "reserved" in lines[1]
    assert "pound.none" in lines[1]
