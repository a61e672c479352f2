"""A task that a worker holds for long is told of: once in the log, and on the page of workers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.rig import Own, Rig
from tests.peers.catalogue import BEAT
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import wait_until


def rows(client: PndClient) -> list[dict[str, Any]]:
    asked = client.ask([], b"pound.workers")
    id, answer = client.take()
    while id != asked:  # an answer of the worker's
        id, answer = client.take()
    [page] = answer
    workers: list[dict[str, Any]] = json.loads(page)["workers"]
    return workers


def test_a_task_that_is_held_for_long_is_told_once(
    rig_of: Callable[..., Rig], own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pound")
    rig = rig_of(held_long=0.2, heartbeat=30)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=9))
    rig.ready(worker)
    client = own(PndClient(rig.frontend))
    assert [row["oldest_ms"] for row in rows(client)] == [None]
    for _ in range(2):
        client.ask([b"q"])
    first, second = worker.task(), worker.task()

    def told() -> list[str]:
        lines = [record.getMessage() for record in caplog.records]
        return [line for line in lines if line.startswith("task held long")]

    wait_until(told)
    assert rows(client)[0]["oldest_ms"] >= 200
    worker.answer(first, [b"a"])  # the next one is as old, and of the same worker
    wait_until(lambda: rig.stat("answered") >= 2)
    worker.answer(second, [b"a"])
    wait_until(lambda: [row["oldest_ms"] for row in rows(client)] == [None])
    assert len(told()) == rig.stat("tasks_held_long") == 1


def test_no_task_is_told_of_where_that_is_off(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(held_long=0, heartbeat=30)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    client = own(PndClient(rig.frontend))
    client.ask([b"q"])
    task = worker.task()
    turns = rig.stat("turns")
    wait_until(lambda: rows(client)[0]["oldest_ms"] > 1500)
    assert rig.stat("turns") > turns
    assert rig.stat("tasks_held_long") == 0
    worker.answer(task, [b"a"])
