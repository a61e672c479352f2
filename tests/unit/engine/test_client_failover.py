"""The client when its broker is silent, goes away, forgets it, is restarted or cut off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest
import zmq

import pound
from tests.support import readable, wait_until
from tests.unit.reference_broker import (
    BYE,
    CREDIT,
    HEARTBEAT,
    HELLO,
    MOVED,
    REQUEST,
    RETRY,
    RUN,
    WAIT_S,
    ReferenceBroker,
    bye,
    error,
    held,
    partial,
    record,
    reply,
    welcome,
)

UNUSED = "tcp://127.0.0.1:1"  # a port that refuses


@pytest.fixture
def clients() -> Iterator[list[pound.Client]]:
    """Closes them after the brokers are gone, so that none waits for an answer to its BYE."""
    clients: list[pound.Client] = []
    yield clients
    for client in clients:
        client.close()


@pytest.fixture
def start(context: zmq.Context[Any], clients: Any) -> Iterator[Callable[..., ReferenceBroker]]:
    """``start(endpoint=wildcard)``: a scripted broker."""
    brokers: list[ReferenceBroker] = []

    def start(endpoint: str = "tcp://127.0.0.1:*") -> ReferenceBroker:
        brokers.append(ReferenceBroker.bind_again(context, endpoint))
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.close()


@pytest.fixture
def broker(start: Callable[..., ReferenceBroker]) -> ReferenceBroker:
    return start()


@pytest.fixture
def make(hands: Any, clients: list[pound.Client]) -> Callable[..., pound.Client]:
    """``make(*endpoints, **settings)``: a client."""

    def make(*endpoints: str, **settings: Any) -> pound.Client:
        clients.append(pound.Client(endpoints, **settings))
        return clients[-1]

    return make


def welcomed(client: pound.Client, broker: ReferenceBroker) -> pound.Client:
    broker.greet()
    assert client.wait_connected(WAIT_S)
    return client


def result(future: Future[Any]) -> Any:
    return future.result(WAIT_S)


def rebind(start: Callable[..., ReferenceBroker], old: ReferenceBroker) -> ReferenceBroker:
    old.close()
    return start(old.endpoint)


def test_a_quiet_broker_is_asked_for_a_sign_of_life(make, broker):
    client = welcomed(make(broker.endpoint, heartbeat=0.05), broker)
    for _ in range(12):  # longer than liveness: the answers keep the client here
        broker.heartbeat()
        broker.say(record(HEARTBEAT))
    assert client.wait_connected(0)
    assert broker.read(0) is None


def test_a_broker_that_speaks_is_not_asked(make, broker):
    client = welcomed(make(broker.endpoint, heartbeat=5.0), broker)
    for _ in range(5):
        future = client.submit("echo", b"")
        said = broker.expect(REQUEST)
        broker.say(reply(said.id, b""))
        assert result(future) == b""
    assert broker.heartbeats == []


def test_a_silent_broker_is_left_for_the_next_endpoint(make, start, broker):
    other = start()
    client = welcomed(make(broker.endpoint, other.endpoint, heartbeat=0.05, liveness=3), broker)
    future = client.submit("echo", b"body")
    first = broker.expect(REQUEST)
    hello = other.expect(HELLO)
    assert hello.session == first.session
    other.say(welcome())
    again = other.expect(REQUEST)
    assert (again.id, again.flags, again.parts) == (1, RETRY | MOVED, [b"body"])
    assert again.key == first.key
    other.say(reply(1, b"from the other"))
    assert result(future) == b"from the other"


def test_the_only_endpoint_is_tried_again_by_a_new_route(make, broker):
    client = welcomed(make(broker.endpoint, heartbeat=0.05, liveness=3), broker)
    future = client.submit("echo", b"")
    old = broker.expect(REQUEST).route
    hello = broker.expect(HELLO)
    assert hello.route != old
    broker.say(welcome())
    assert broker.seek(REQUEST).flags == RETRY
    broker.say(reply(1, b"back"))
    assert result(future) == b"back"


def test_one_that_never_welcomes_is_left_even_if_it_speaks(make, start, broker):
    other = start()
    make(broker.endpoint, other.endpoint, heartbeat=0.05, liveness=4)
    broker.expect(HELLO)
    deadline = time.monotonic() + WAIT_S
    while other.read(0.02) is None:
        with suppress(zmq.ZMQError):  # the route is gone once the client has left
            broker.say(record(HEARTBEAT))
        assert time.monotonic() < deadline


def test_an_endpoint_that_refuses_is_passed_over_before_it_counts_as_silent(make, broker):
    client = make(UNUSED, broker.endpoint, heartbeat=30.0)
    welcomed(client, broker)


def test_bye_sends_the_client_to_the_next_endpoint(make, start, broker):
    other = start()
    client = welcomed(make(broker.endpoint, other.endpoint), broker)
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.say(bye(1, retry_after_ms=60_000))
    other.greet()
    said = other.expect(REQUEST)
    assert said.flags == RETRY | MOVED
    other.say(reply(said.id, b"moved"))
    assert result(future) == b"moved"


def test_after_bye_the_only_endpoint_is_left_alone_for_as_long_as_it_said(make, broker):
    client = welcomed(make(broker.endpoint), broker)
    old = client.submit("echo", b"")
    route = broker.expect(REQUEST).route
    broker.say(bye(1, retry_after_ms=400), reply(1, b"still came"))
    told_at = time.monotonic()
    assert result(old) == b"still came"
    future = client.submit("echo", b"later")
    hello = broker.expect(HELLO)
    assert hello.at - told_at >= 0.3  # 400 ms less the jitter
    assert hello.route != route
    broker.say(welcome())
    said = broker.seek(REQUEST, lambda said: said.flags == RETRY)
    broker.say(reply(said.id, b"later"))
    assert result(future) == b"later"


def test_bye_unknown_to_me_is_answered_by_hello(make, broker):
    client = welcomed(make(broker.endpoint), broker)
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.say(bye(0))
    broker.expect(HELLO)
    broker.say(welcome())
    said = broker.expect(REQUEST)
    assert said.flags == RETRY
    broker.say(reply(said.id, b"known"))
    assert result(future) == b"known"


def test_a_new_epoch_is_answered_by_hello(make, broker):
    client = welcomed(make(broker.endpoint), broker)
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.epoch = bytes(16)
    broker.say(record(HEARTBEAT))
    broker.expect(HELLO)
    broker.say(welcome())
    assert broker.expect(REQUEST).flags == RETRY | MOVED
    broker.say(reply(1, b"new life"))
    assert result(future) == b"new life"


def test_a_restarted_broker_is_greeted_as_soon_as_the_connection_stands(make, start, broker):
    client = welcomed(make(broker.endpoint, heartbeat=30.0), broker)
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    again = rebind(start, broker)
    again.expect(HELLO)
    again.say(welcome())
    said = again.expect(REQUEST)
    assert (said.id, said.flags) == (1, RETRY | MOVED)
    again.say(reply(1, b"after the restart"))
    assert result(future) == b"after the restart"


def test_a_broker_that_is_gone_is_left_before_it_counts_as_silent(make, start, broker):
    other = start()
    client = welcomed(make(broker.endpoint, other.endpoint, heartbeat=30.0), broker)
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.close()
    other.greet()
    said = other.expect(REQUEST)
    assert said.flags == RETRY | MOVED
    other.say(reply(said.id, b"from the other"))
    assert result(future) == b"from the other"


def moved(
    make: Any, start: Any, first: ReferenceBroker, hands: Any
) -> tuple[pound.Client, ReferenceBroker]:
    """A client that is welcomed by the second of its brokers, whose first one has gone."""
    other = start()
    client = welcomed(make(first.endpoint, other.endpoint, heartbeat=30.0), first)
    first.say(bye(1))
    other.greet()
    wait_until(lambda: hands.is_away(client._engine), WAIT_S)
    return client, other


def test_an_idle_client_returns_to_its_preferred_broker(make, start, broker, hands):
    client, other = moved(make, start, broker, hands)
    assert other.expect(BYE).head[0] == 1
    broker.seek(HELLO)
    broker.say(welcome())
    future = client.submit("echo", b"")
    said = broker.expect(REQUEST)
    assert said.flags == 0
    broker.say(reply(said.id, b"home"))
    assert result(future) == b"home"


def test_a_client_with_an_open_request_stays_until_it_is_answered(make, start, broker, hands):
    client, other = moved(make, start, broker, hands)
    future = client.submit("echo", b"")
    said = other.expect(REQUEST)
    wait_until(lambda: hands.wants_home(client._engine), WAIT_S)
    other.expect_silence(0.1)
    other.say(reply(said.id, b"here"))
    assert result(future) == b"here"
    other.expect(BYE)
    broker.seek(HELLO)


def test_a_request_that_no_worker_is_left_for_follows_them_home(make, start, broker, hands):
    client, other = moved(make, start, broker, hands)
    futures = [client.submit(service, b"") for service in ("echo", "slow")]
    alone, open = other.expect(REQUEST), other.expect(REQUEST)
    wait_until(lambda: hands.wants_home(client._engine), WAIT_S)
    other.say(error(alone.id, 5, "no worker offers this service"))
    other.expect(BYE)
    broker.seek(HELLO)
    broker.say(welcome())
    said = [broker.expect(REQUEST) for _ in futures]
    assert {(one.service, one.id == open.id) for one in said} == {(b"slow", True), (b"echo", False)}
    for one in said:
        broker.say(reply(one.id, one.service))
    assert [result(future) for future in futures] == [b"echo", b"slow"]


def test_a_service_of_the_brokers_own_is_not_looked_for_at_home(make, start, broker, hands):
    client, other = moved(make, start, broker, hands)
    futures = [client.submit(service, b"") for service in ("echo", "pound.none")]
    said = {one.service: one.id for one in (other.expect(REQUEST), other.expect(REQUEST))}
    wait_until(lambda: hands.wants_home(client._engine), WAIT_S)
    other.say(error(said[b"pound.none"], 5, "no such service"))
    with pytest.raises(pound.NoSuchService):
        result(futures[1])
    other.expect_silence(0.1)


def test_what_came_before_the_connection_broke_is_still_read(make, broker, hands):
    client = welcomed(make(broker.endpoint, heartbeat=30.0), broker)
    futures = [client.submit("echo", b"%d" % n) for n in range(5)]
    broker.seek(REQUEST, lambda said: said.id == 5)
    with held(client):
        for n in range(5):
            broker.say(reply(n + 1, b"%d" % n))
        broker.close(linger=WAIT_S)
        # the connection is gone, the answers not read
        assert readable(hands.monitor_fd(client._engine))
    assert [result(future) for future in futures] == [b"%d" % n for n in range(5)]


def test_nothing_stale_waits_in_the_socket_for_a_reconnect(make, start, broker):
    client = welcomed(make(broker.endpoint, heartbeat=0.02, liveness=1000), broker)
    broker.close()
    deadline = time.monotonic() + WAIT_S
    while client.wait_connected(0):
        assert time.monotonic() < deadline
    future = client.submit("echo", b"", timeout=0.3)
    with pytest.raises(pound.DeadlineExceeded):
        result(future)
    again = rebind(start, broker)
    first = again.expect(HELLO)
    assert not [said for said in again.heartbeats if said.packet <= first.packet]
    again.say(welcome())
    while (said := again.read(0.2)) is not None:
        assert said.kind == HELLO  # those that crossed the WELCOME; no request that expired


def test_a_stream_that_another_broker_runs_again_starts_visibly_anew(make, start, broker):
    other = start()
    client = welcomed(make(broker.endpoint, other.endpoint), broker)
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"), partial(1, 1, b"b"), bye(1))
    other.greet()
    other.expect(REQUEST)
    other.say(partial(1, 0, b"A", run=RUN + 9), reply(1, b"end"))
    got = [(item.body, item.attempt, item.sequence) for item in stream]
    assert got == [(b"a", 1, 0), (b"b", 1, 1), (b"A", 2, 0), (b"end", 2, 1)]


def test_a_request_says_that_it_was_sent_in_another_epoch_and_what_was_seen_of_it(
    make, start, broker
):
    """For good, whatever id it gets; with the key that it has had."""
    other = start()
    client = welcomed(make(broker.endpoint, other.endpoint), broker)
    stream = client.stream("count", b"")
    future = client.submit("echo", b"")
    keys = [broker.expect(REQUEST).key for _ in range(2)]
    broker.say(partial(1, 0, b"a"), bye(1))
    other.greet()
    moved = other.expect(REQUEST)
    told = other.expect(CREDIT)
    plain = other.expect(REQUEST)
    assert [(said.id, said.flags, said.run) for said in (moved, plain)] == [
        (1, RETRY | MOVED, RUN + 1),
        (2, RETRY | MOVED, 0),
    ]
    assert [moved.key, plain.key] == keys
    assert (told.head[1], told.sequence) == (RUN + 1, 1)
    other.say(error(2, 8, "later", 10), partial(1, 1, b"b"), reply(1, b"end"))
    again = other.expect(REQUEST)
    assert (again.id, again.flags & MOVED, again.run, again.key) == (3, MOVED, 0, keys[1])
    other.say(reply(3, b"done"))
    assert result(future) == b"done"
    got = [(item.body, item.attempt, item.sequence) for item in stream]
    assert got == [(b"a", 1, 0), (b"b", 1, 1), (b"end", 1, 2)]


def test_a_stream_whose_next_broker_has_no_more_partials_ends_where_it_was(make, start, broker):
    """Its task was adopted and had said them all, or ran again without any: REPLY does not tell."""
    other = start()
    client = welcomed(make(broker.endpoint, other.endpoint), broker)
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"), partial(1, 1, b"b"), bye(1))
    other.greet()
    other.expect(REQUEST)
    other.say(reply(1, b"end"))
    assert [(item.body, item.sequence) for item in stream] == [(b"a", 0), (b"b", 1), (b"end", 2)]


def test_a_pause_of_our_own_is_not_the_brokers_silence(make, broker):
    client = welcomed(make(broker.endpoint, heartbeat=0.1, liveness=3), broker)
    route = broker.route
    with held(client):  # the engine sees nothing for longer than 0.3 s
        broker.expect_silence(1.0)
    future = client.submit("echo", b"")
    said = broker.expect(REQUEST)
    assert said.route == route
    broker.say(reply(said.id, b"same route"))
    assert result(future) == b"same route"
