"""Bodies around every limit, in every pair of dialects: delivered whole, or ended with a reason.

Each example is a broker with small limits, a client and a worker. What is too much is refused: the
client hears why, or, where its dialect has no word for it, a counter tells. Afterwards both peers
are served as before. `make sanitize` runs this with every array watched.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, assume, example, given, settings

from tests.interop.rig import QUICK, Rig
from tests.peers.base import BOUND, Body, Worker
from tests.peers.catalogue import CLIENTS, WORKERS
from tests.peers.pnd_client import FailedError, PndClient
from tests.support import wait_until

EXAMPLES = 40
PACKET = 4096  # packet_bytes_max, and the size from which a part is attached
# Where a request that was not taken is counted, and one whose answer was not.
REFUSED = ("bad_messages", "bad_records", "refused", "refused_foreign")
UNANSWERED = ("failed_foreign",)

sizes = st.sampled_from([0, 1, 2, 60, PACKET - 1, PACKET, PACKET + 1])
counts = st.one_of(st.integers(1, 20), st.sampled_from([60, 64, 65, 300, 5000, 65_535]))
limits = st.fixed_dictionaries(
    {
        "frames_max": st.sampled_from([8, 9, 16, 64]),
        "body_bytes_max": st.sampled_from([64, 5000, 100_000, 1 << 20]),
        "packet_bytes_max": st.just(PACKET),
    }
)


def body(sizes: list[int], count: int) -> Body:
    """`count` parts of these sizes in turn; small ones where there are many."""
    if count > 100:
        sizes = [min(size, 2) for size in sizes]
    return [b"p" * size for size in itertools.islice(itertools.cycle(sizes), count)]


bodies = st.builds(body, st.lists(sizes, min_size=1, max_size=3), counts)


class Case:
    """One broker, one client, one worker."""

    def __init__(self, rig: Rig, client: str, worker: str) -> None:
        self.rig = rig
        self.client: Any = CLIENTS[client](rig.frontend)
        self.worker: Worker = WORKERS[worker](rig.backend)
        self.worker.heartbeat = None  # its beats would be read between what is counted here
        rig.ready(self.worker)

    def close(self) -> None:
        self.client.close()
        self.worker.close()

    def counted(self, names: tuple[str, ...]) -> int:
        stats = self.rig.broker.stats()
        return sum(int(stats[name]) for name in names)

    def task(self, before: int) -> Any:
        """The task, or None when a counter says that the request was not taken."""
        end = time.monotonic() + BOUND
        while time.monotonic() < end:
            frames = self.worker.poll(0.01)
            task = None if frames is None else self.worker.parse(frames)
            if task is not None:
                return task
            if self.counted(REFUSED) > before:
                return None
        raise AssertionError("neither delivered nor refused")

    def answer(self, before: int, expected: Body) -> bool:
        """Whether the answer came, and whole; if not, that there is a reason."""
        if isinstance(self.client, PndClient):
            try:
                got = self.client.take()[1]
            except FailedError as failed:
                if failed.code not in (3, 13):
                    raise
                return False
            assert got == expected
            return True
        wait_until(lambda: self.client.socket.poll(0) or self.counted(UNANSWERED) > before)
        if self.counted(UNANSWERED) > before:
            return False
        assert self.client.take() == expected
        return True


def whole(sent: Body) -> Body:
    """What arrives of a body: foreign peers have none without a part."""
    return sent or [b""]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(
    client=st.sampled_from(sorted(set(CLIENTS) - {"bare", "lazy pirate", "req", "mdp1"})),
    worker=st.sampled_from(sorted(set(WORKERS) - {"req", "req 0x01"})),
    asked=bodies,
    answered=bodies,
    limits=limits,
)
@example(
    client="pnd",
    worker="mdp1",
    asked=[b"p"] * 65_535,
    answered=[b"p"] * 65_535,
    limits={"frames_max": 8, "body_bytes_max": 1 << 20, "packet_bytes_max": PACKET},
)
@example(
    client="dealer stack",
    worker="pnd",
    asked=[b"p"],
    answered=[b"p"] * 65_535,
    limits={"frames_max": 8, "body_bytes_max": 1 << 20, "packet_bytes_max": PACKET},
)
@example(
    client="mdp2",
    worker="ppp",
    asked=[b"p" * PACKET] * 7,
    answered=[b"p" * PACKET] * 7,
    limits={"frames_max": 8, "body_bytes_max": 1 << 20, "packet_bytes_max": PACKET},
)
def test_bodies_around_every_limit(
    client: str, worker: str, asked: Body, answered: Body, limits: dict[str, int]
) -> None:
    import pound

    assume(not is_cut(asked, limits) and not is_cut(answered, limits))
    with pound.Broker(
        **{**QUICK, **limits, "ppp_liveness": 1000, "mdp_liveness": 1000, "liveness": 1000}
    ) as broker:
        case = Case(Rig(broker), client, worker)
        try:
            run(case, asked, answered, limits)
        finally:
            case.close()
            broker.stop()


def run(case: Case, asked: Body, answered: Body, limits: dict[str, int]) -> None:
    refused = case.counted(REFUSED)
    case.client.ask(asked)
    task = case.task(refused)
    if task is None:
        assert too_much(asked, limits), "refused without a reason"
        if isinstance(case.client, PndClient) and case.counted(("bad_messages",)) == 0:
            assert not case.answer(0, [])
    else:
        assert task.body == whole(asked)
        before = case.counted(UNANSWERED)
        if not pnd_frames(case, answered, limits):
            case.worker.answer(task, answered)
            if not case.answer(before, whole(answered)):
                assert too_much(answered, limits), "no answer without a reason"
        else:
            case.worker.answer(task, [b"other"])
            assert case.answer(before, [b"other"])
    small(case)


def is_cut(parts: Body, limits: dict[str, int]) -> bool:
    """Whether libzmq closes the connection of a PND peer that sends it inline, in one frame."""
    largest = max(limits["body_bytes_max"], limits["packet_bytes_max"])
    return sum(len(part) + 4 for part in parts) + 1000 > largest + 4 * 65_535 + 4096


def too_much(parts: Body, limits: dict[str, int]) -> bool:
    """Whether some dialect's form of the body is beyond a limit: addresses and heads included."""
    size = sum(len(part) for part in parts)
    return size > limits["body_bytes_max"] or len(parts) + 6 > limits["frames_max"]


def pnd_frames(case: Case, parts: Body, limits: dict[str, int]) -> bool:
    """Whether a PND worker would break WELCOME's frames_max with it: such a packet is no answer."""
    attached = any(len(part) >= PACKET for part in parts)
    return (
        type(case.worker).__name__ == "PndWorker"
        and attached
        and len(parts) >= limits["frames_max"]
    )


def small(case: Case) -> None:
    """Both are served as before."""
    before = case.counted(UNANSWERED)
    case.client.ask([b"q"])
    task = case.task(case.counted(REFUSED))
    assert task is not None
    assert task.body == [b"q"]
    case.worker.answer(task, [b"a"])
    assert case.answer(before, [b"a"])
