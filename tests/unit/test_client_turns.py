"""Which of a client's requests is sent next: the broker's own services, fresh and refused ones."""

from __future__ import annotations

from tests.unit.reference_broker import REQUEST, WAIT_S, error, reply


def test_the_brokers_own_services_are_asked_whatever_is_open(make_client, broker):
    client = make_client()
    broker.greet(requests_max=1)
    assert client.wait_connected(WAIT_S)
    for _ in range(3):
        client.submit(b"", "nobody")
    assert broker.expect(REQUEST).id == 1
    broker.expect_silence(0.1)
    for service in ("pound.status", "mmi.service"):
        future = client.submit(b"", service)
        said = broker.expect(REQUEST)
        broker.say(reply(said.id, service.encode()))
        assert future.result(WAIT_S) == service.encode()


def test_what_was_refused_takes_turns_with_what_was_never_sent(make_client, broker):
    """Neither can hold up the other: not a flood of new calls, not one of refused ones."""
    client = make_client()
    broker.greet(requests_max=2)
    assert client.wait_connected(WAIT_S)
    for _ in range(4):
        client.submit(b"refused", "busy")
    for _ in range(4):
        said = broker.expect(REQUEST)
        broker.say(error(said.id, 8, "full", retry_after_ms=1))
    held = [broker.expect(REQUEST).id for _ in range(2)]  # refused before, sent again
    broker.expect_silence(0.3)  # the others' time has come, too
    for _ in range(3):
        client.submit(b"fresh", "quick")
    sent = []
    for id in held:
        broker.say(reply(id, b""))
        sent += broker.expect(REQUEST).parts
    assert sorted(sent) == [b"fresh", b"refused"]
