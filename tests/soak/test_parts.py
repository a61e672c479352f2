"""The soak's parts by Python ends answer all; what an end still holds in C is seen as left."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import pound
from tests.soak.left import left
from tests.soak.parts import aio_ends, broker, ends
from tests.support import WAIT_S


@pytest.mark.parametrize("part", [ends, aio_ends])
def test_ends_answer_all_and_leave_nothing(
    part: Callable[[pound.Broker, int, int], Callable[[], int]],
) -> None:
    with broker() as served:
        assert part(served, 64, 2000)() == 2000
        assert left(served) == {}


def test_what_an_end_holds_is_left() -> None:
    begun, ending = threading.Event(), threading.Event()

    def held(body: bytes) -> bytes:
        begun.set()
        ending.wait()
        return body

    with broker() as served:
        with (
            pound.Worker(served.backend_endpoints[0], {"held": held}),
            pound.Client(served.frontend_endpoints[0]) as client,
        ):
            answer = client.submit("held", b"")
            assert begun.wait(WAIT_S)
            living = left(served, 0.0)
            ending.set()
            assert answer.result(WAIT_S) == b""
        assert left(served) == {}
    assert {"running", "held by clients", "held by workers"} <= set(living)
