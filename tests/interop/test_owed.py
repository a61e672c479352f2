"""What a peer is owed: every refusal is told, now or when the peer reads, whatever came before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import zmq

from tests.interop.rig import Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.pnd_client import FailedError, PndClient
from tests.support import wait_until

IN_A_PACKET = 5000  # requests; their refusals are more than the broker lets wait for a peer


class SlowClient(PndClient):
    """Its socket holds no more than what it is about to read."""

    options: ClassVar = {zmq.RCVHWM: 1, zmq.RCVBUF: 8192}


def ask_many(client: PndClient, count: int) -> None:
    """Send `count` requests in one packet."""
    first = client.highest + 1
    records = [wire.request(id, [b"q"], b"", priority=0) for id in range(first, first + count)]
    client.open |= {record.id: record for record in records}
    client.highest += count
    client.put(*records)


def test_every_refusal_reaches_a_client_that_reads(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(waiting_max=1)
    client = own(PndClient(rig.frontend))
    client.welcome()
    client.ask([b"q"])
    ask_many(client, IN_A_PACKET)
    ask_many(client, IN_A_PACKET)
    ends = []
    for _ in range(2 * IN_A_PACKET):
        with pytest.raises(FailedError) as failed:
            client.take()
        ends.append((failed.value.id, failed.value.code))
    assert ends == [(id, 8) for id in range(2, 2 * IN_A_PACKET + 2)]
    assert rig.stat("control_dropped") == 0


def test_a_client_that_did_not_read_is_told_when_it_does(
    context: zmq.Context[Any], rig_of: Callable[..., Rig], own: Own
) -> None:
    """What was dropped while its pipe was full is asked for again: WELCOME comes once more."""
    context.setsockopt(zmq.SNDHWM, 4)
    context.setsockopt(zmq.SNDBUF, 8192)
    rig = rig_of(waiting_max=1, client_grace=60, context=context)
    client = own(SlowClient(rig.frontend))
    client.welcome()
    client.ask([b"q"])

    def dropped() -> bool:
        ask_many(client, IN_A_PACKET)
        return rig.stat("control_dropped") > 0

    wait_until(dropped, 30)
    ends = []
    while len(client.open) > 1 or client.answers:
        with pytest.raises(FailedError) as failed:
            client.take(30)
        ends.append(failed.value.code)
    assert ends == [8] * (client.highest - 1)
