"""Which of a client's requests is sent next: the broker's own services, fresh and refused ones."""

from __future__ import annotations

from tests.unit.reference_broker import REQUEST, WAIT_S, error, reply


def test_the_brokers_own_services_are_asked_whatever_is_open(make_client, broker):
    client = make_client()
    broker.greet(requests_max=1)
    assert client.wait_connected(WAIT_S)
    for _ in range(3):
        client.submit("nobody", b"")
    assert broker.expect(REQUEST).id == 1
    broker.expect_silence(0.1)
    for service in ("pound.status", "mmi.service"):
        future = client.submit(service, b"")
        said = broker.expect(REQUEST)
        broker.say(reply(said.id, service.encode()))
        assert future.result(WAIT_S) == service.encode()


def test_each_request_has_a_key_of_its_own_and_keeps_it(make_client, broker):
    """Of more requests than keys are drawn at once; a refusal changes the id only."""
    client = make_client()
    broker.greet()
    assert client.wait_connected(WAIT_S)
    futures = [client.submit("echo", b"%d" % n) for n in range(600)]
    keys: dict[bytes, bytes] = {}
    for _ in range(2 * len(futures)):
        said = broker.expect(REQUEST)
        if said.parts[0] in keys:
            assert said.key == keys[said.parts[0]]
            broker.say(reply(said.id, b""))
        else:
            keys[said.parts[0]] = said.key
            broker.say(error(said.id, 14, "away", retry_after_ms=1))
    assert len(set(keys.values())) == 600
    assert bytes(16) not in keys.values()
    for future in futures:
        future.result(WAIT_S)


def test_what_was_refused_takes_turns_with_what_was_never_sent(make_client, broker):
    """Neither can hold up the other: not a flood of new calls, not one of refused ones."""
    client = make_client()
    broker.greet(requests_max=2)
    assert client.wait_connected(WAIT_S)
    for _ in range(4):
        client.submit("busy", b"refused")
    for _ in range(4):
        said = broker.expect(REQUEST)
        broker.say(error(said.id, 8, "full", retry_after_ms=1))
    held = [broker.expect(REQUEST).id for _ in range(2)]  # refused before, sent again
    broker.expect_silence(0.3)  # the others' time has come, too
    for _ in range(3):
        client.submit("quick", b"fresh")
    sent = []
    for id in held:
        broker.say(reply(id, b""))
        sent += broker.expect(REQUEST).parts
    assert sorted(sent) == [b"fresh", b"refused"]


def test_the_brokers_own_services_are_asked_again_whatever_is_open(make_client, broker):
    client = make_client()
    broker.greet(requests_max=1)
    assert client.wait_connected(WAIT_S)
    client.submit("nobody", b"")
    broker.expect(REQUEST)
    future = client.submit("pound.status", b"")
    broker.say(error(broker.expect(REQUEST).id, 8, "read first", retry_after_ms=1))
    broker.say(reply(broker.expect(REQUEST).id, b"page"))
    assert future.result(WAIT_S) == b"page"


def test_what_the_broker_refuses_is_not_sent_over_and_over(make_client, broker):
    """A refusal says how much of a service the broker takes; one more is sent when one ends."""
    client = make_client()
    broker.greet(requests_max=100)
    assert client.wait_connected(WAIT_S)
    for _ in range(300):
        client.submit("busy", b"")
    ids = [broker.expect(REQUEST).id for _ in range(100)]
    for id in ids[40:]:
        broker.say(error(id, 8, "full", retry_after_ms=60_000))
    broker.expect_silence(0.3)
    for id in ids[:3]:
        broker.say(reply(id, b""))
        broker.expect(REQUEST)
        broker.expect_silence(0.1)
    client.submit("quick", b"other")
    assert broker.expect(REQUEST).parts == [b"other"]


def test_a_refused_request_is_not_asked_again_before_its_time(make_client, broker):
    client = make_client(heartbeat=60)
    broker.greet()
    assert client.wait_connected(WAIT_S)
    broker.expect_silence(0.1)
    client.submit("busy", b"")
    broker.say(error(broker.expect(REQUEST).id, 8, "full", retry_after_ms=60_000))
    broker.expect_silence(1.2)


def test_more_of_a_refused_service_is_tried_in_time(make_client, broker):
    client = make_client()
    broker.greet(requests_max=300)
    assert client.wait_connected(WAIT_S)
    broker.expect_silence(0.1)
    for _ in range(400):
        client.submit("busy", b"")
    ids = [broker.expect(REQUEST).id for _ in range(300)]
    for id in ids[1:]:
        broker.say(error(id, 8, "full", retry_after_ms=200))
    for _ in range(64):
        broker.expect(REQUEST)
    broker.expect_silence(0.3)
    for _ in range(64):
        broker.expect(REQUEST)


def row_of(name: bytes) -> int:
    """Return the first row that _engine/pace.pxd looks at for a service."""
    name_hash = 14695981039346656037
    for byte in name:
        name_hash = (name_hash ^ byte) * 1099511628211 % 2**64
    return (name_hash ^ name_hash >> 32) % 64


def test_a_refused_service_holds_up_none_whose_name_begins_at_its_row(make_client, broker):
    client = make_client()
    broker.greet(requests_max=100)
    assert client.wait_connected(WAIT_S)
    others = (f"quick-{n}" for n in range(10_000))
    beside = [name for name in others if row_of(name.encode()) == row_of(b"busy")][:5]
    for _ in range(300):
        client.submit("busy", b"")
    ids = [broker.expect(REQUEST).id for _ in range(100)]
    for id in ids[40:]:
        broker.say(error(id, 8, "full", retry_after_ms=60_000))
    broker.expect_silence(0.3)
    for name in beside:
        client.submit(name, name.encode())
        assert broker.expect(REQUEST).parts == [name.encode()]
