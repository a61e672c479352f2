"""Answers of a bad form or size: they end their task with a reason, and the worker is free again.

The address of an answer is a token that the broker checks; so even a malformed answer says which
task it was to end. One that merely lacks the empty frame after the address counts as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.rig import QUIET, Own, Rig
from tests.interop.test_dialects_workers import DealerReqWorker
from tests.peers.base import Body, Task, Worker
from tests.peers.catalogue import BEAT, CLIENTS, SERVICE, WORKERS
from tests.peers.dealer_client import DealerClient
from tests.peers.mdp1 import Mdp1Worker
from tests.peers.mdp2 import Mdp2Client, Mdp2Worker
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker
from tests.peers.ppp_worker import PppWorker

INTERNAL = 13
FRAMES_MAX = 8
FOREIGN: dict[str, Callable[[str], Any]] = {
    name: make for name, make in WORKERS.items() if not name.startswith(("pnd", "req"))
} | {"req": DealerReqWorker}
# What each dialect puts before the address.
BEFORE: dict[str, list[bytes]] = {
    "req": [],  # the peer adds the empty frame
    "ppp": [],
    "ppp text": [],
    "mdp1": [b"", b"MDPW01", b"\x03"],
    "mdp2": [b"MDPW02", b"\x04"],
    "mdp2 delimited": [b"", b"MDPW02", b"\x04"],
}
NO_BODY = [(name, after) for name in ("req", "ppp", "ppp text") for after in ([], [b""])]


def ended(client: PndClient, reason: str) -> None:
    with pytest.raises(FailedError, match=reason) as failed:
        client.take()
    assert failed.value.code == INTERNAL


def serves_on(worker: Worker, client: PndClient) -> None:
    """The worker was freed by its bad answer, and its next one counts."""
    client.ask([b"next"])
    task = worker.task()
    assert task.body == [b"next"]
    worker.answer(task, [b"good"])
    assert client.take()[1] == [b"good"]


# ---- of a bad form ----


@pytest.mark.parametrize(("name", "after"), NO_BODY)
def test_answer_without_a_body(rig: Rig, own: Own, name: str, after: Body) -> None:
    worker, client = own(FOREIGN[name](rig.backend)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    worker.send([*BEFORE[name], worker.task().address, *after])
    ended(client, "malformed.*wrong number of frames")
    assert rig.stat("bad_messages") == 1
    serves_on(worker, client)


@pytest.mark.parametrize(
    ("name", "before", "reason"),
    [
        ("mdp1", [b"", b"MDPW03", b"\x03"], "unknown MDP version 'MDPW03'"),
        ("mdp2", [b"MDPW00", b"\x04"], "unknown MDP version 'MDPW00'"),
        ("mdp1", [b"", b"MDPW01", b"\x09"], "no such command"),
        ("mdp2", [b"MDPW02", b"\x09"], "no such command"),
        ("mdp2", [b"MDPW02", b"FINAL"], "no such command"),
        ("mdp1", [b"", b"MDPW01", b"\x02"], "only the broker sends"),
        ("mdp1", [b"", b"MDPW01", b"\x04"], "wrong number of frames"),  # 0.2's number for FINAL
        ("mdp2", [b"x", b"", b"MDPW02", b"\x04"], "an envelope before"),
    ],
)
def test_answer_of_a_bad_head(
    rig: Rig, own: Own, name: str, before: list[bytes], reason: str
) -> None:
    worker, client = own(FOREIGN[name](rig.backend)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    worker.send([*before, worker.task().address, b"", b"a"])
    ended(client, f"malformed.*{reason}")
    assert rig.stat("bad_messages") == 1
    serves_on(worker, client)


@pytest.mark.parametrize("count", [FRAMES_MAX, 10_000])
@pytest.mark.parametrize("name", FOREIGN)
def test_answer_of_too_many_frames(
    rig_of: Callable[..., Rig], own: Own, name: str, count: int
) -> None:
    rig = rig_of(frames_max=FRAMES_MAX)
    worker, client = own(FOREIGN[name](rig.backend)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    worker.answer(worker.task(), [b"x"] * count)
    ended(client, r"malformed.*more frames than frames_max \(8\)")
    assert rig.stat("bad_messages") == 1
    serves_on(worker, client)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("name", FOREIGN)
def test_answer_of_too_many_bytes(
    rig_of: Callable[..., Rig], own: Own, name: str, parts: int
) -> None:
    rig = rig_of(body_bytes_max=1000)
    worker, client = own(FOREIGN[name](rig.backend)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    worker.answer(worker.task(), [b"x" * 1200] * parts)
    ended(client, "body_bytes_max")
    serves_on(worker, client)


@pytest.mark.parametrize("name", ["dealer", "mdp1 async", "mdp2"])
def test_bad_answer_to_a_foreign_client_is_accounted_for(rig: Rig, own: Own, name: str) -> None:
    """It can't be told; the worker is free all the same."""
    worker, client = own(PppWorker(rig.backend, heartbeat=BEAT)), own(CLIENTS[name](rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    worker.send([worker.task().address])
    rig.wait_stat("failed_foreign", 1)
    assert rig.stat("running") == 0
    client.ask([b"r"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


def test_bad_answer_with_a_token_of_another_ends_nothing(rig: Rig, own: Own) -> None:
    holder = own(PppWorker(rig.backend, heartbeat=BEAT))
    thief = own(Mdp1Worker(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(DealerClient(rig.frontend))
    rig.ready(holder)
    client.ask([b"q"])
    task = holder.task()
    rig.ready(thief)
    thief.send([b"", b"MDPW01", b"\x03", task.address, *[b"x"] * 2000])
    rig.wait_stat("bad_messages", 1)
    holder.answer(task, [b"right"])
    assert client.take() == [b"right"]


def test_second_answer_after_a_bad_one_counts_for_nothing(rig: Rig, own: Own) -> None:
    worker, client = own(PppWorker(rig.backend)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    worker.send([task.address])
    ended(client, "wrong number of frames")
    worker.answer(task, [b"too late"])
    rig.wait_stat("answers_late", 1)
    assert not client.strays


# ---- without the empty frame ----


@pytest.mark.parametrize("body", [[b"a"], [b"a", b"", b"MDPW01", b"\x05"], [b"\x01"]])
@pytest.mark.parametrize("name", FOREIGN)
def test_answer_without_the_empty_frame_counts(
    rig: Rig, own: Own, name: str, body: list[bytes]
) -> None:
    worker, client = own(FOREIGN[name](rig.backend)), own(DealerClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    worker.send([*BEFORE[name], worker.task().address, *body])
    assert client.take() == body
    client.ask([b"r"])
    worker.answer(worker.task(), [b"b"])
    assert client.take() == [b"b"]
    assert rig.stat("bad_messages") == 0


def test_partial_without_the_empty_frame_counts(rig: Rig, own: Own) -> None:
    worker = own(Mdp2Worker(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(Mdp2Client(rig.frontend, service=SERVICE))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    worker.command(b"\x03", task.address, b"half")
    worker.answer(task, [b"all"])
    assert client.take() == [b"all"]
    assert client.partials == [[b"half"]]


# ---- partials ----


def large_partial(worker: Any, task: Task) -> None:
    worker.partial(task, [b"x" * 1200])


def long_partial(worker: Any, task: Task) -> None:
    worker.partial(task, [b"x"] * 100)


@pytest.mark.parametrize("spoil", [large_partial, long_partial])
@pytest.mark.parametrize("name", ["mdp2", "mdp2 delimited"])
def test_stream_with_a_bad_partial_ends(
    rig_of: Callable[..., Rig], own: Own, name: str, spoil: Callable[[Any, Task], None]
) -> None:
    """A stream with a hole must not look like a whole one."""
    rig = rig_of(body_bytes_max=1000, frames_max=16)
    worker, client = own(WORKERS[name](rig.backend)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    worker.partial(task, [b"first"])
    spoil(worker, task)
    worker.partial(task, [b"third"])
    ended(client, "partial.*body_bytes_max, frames_max")
    assert [partial.body for partial in client.partials] == [[b"first"]]
    worker.answer(task, [b"over"])
    serves_on(worker, client)


def test_stream_of_a_pnd_worker_with_a_bad_partial_ends(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(body_bytes_max=1000)
    worker, client = own(PndWorker(rig.backend, heartbeat=BEAT)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    large_partial(worker, worker.task())
    ended(client, "partial.*body_bytes_max")


def test_mdp_client_gets_no_final_of_a_stream_with_a_hole(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(body_bytes_max=1000)
    worker = own(Mdp2Worker(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(Mdp2Client(rig.frontend, service=SERVICE))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    large_partial(worker, task)
    worker.answer(task, [b"all"])
    rig.wait_stat("undeliverable", 1)
    assert client.poll(QUIET) is None
