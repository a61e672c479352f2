"""Faults of the program around a client or a worker: they cost nobody else's answers."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

import pytest

import pound

WAIT_S = 10.0


class Refusal(BaseException):
    """What no handler of `Exception` catches."""


def refuse(*_: object) -> bool:
    raise Refusal


def fail(body: bytes) -> bytes:
    if body == b"fail":
        raise ValueError("asked to")
    return body


def test_a_log_filter_that_raises_does_not_cost_a_worker_its_thread(broker: Any) -> None:
    logger = logging.getLogger("pound.worker")
    logger.addFilter(refuse)
    try:
        with (
            pound.Worker(broker.backend_endpoints[0], {"fail": fail}),
            pound.Client(broker.frontend_endpoints[0]) as client,
        ):
            with pytest.raises(pound.TaskFailed, match="asked to"):
                client.request("fail", b"fail", timeout=WAIT_S)
            assert client.request("fail", b"go on", timeout=WAIT_S) == b"go on"
    finally:
        logger.removeFilter(refuse)


def test_a_callback_that_raises_leaves_the_other_futures_theirs(broker: Any) -> None:
    with (
        pound.Worker(broker.backend_endpoints[0], {"fail": fail}, capacity=64),
        pound.Client(broker.frontend_endpoints[0]) as client,
    ):
        futures: list[Future[Any]] = []
        for number in range(500):
            future = client.submit("fail", b"%d" % number, timeout=WAIT_S)
            future.add_done_callback(refuse)
            futures.append(future)
        assert [future.result(WAIT_S) for future in futures] == [b"%d" % n for n in range(500)]
