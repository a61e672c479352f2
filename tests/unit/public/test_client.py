"""The client against a scripted broker: greeting, requests, answers, limits, deadlines.

Streams, maps, arguments, types and the life of a client have files beside this one. What happens
when brokers go silent, away or are restarted is in engine/test_client_failover.py, bodies that are
not copied in engine/test_client_bodies.py.
"""

from __future__ import annotations

import pickle
import socket
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest
import zmq

import pound
import pound.aio
from pound._engine import client as client_engine
from pound._engine.reach import Trouble
from tests.support import wait_until
from tests.unit.reference_broker import (
    ACCEPTED,
    ATTACHED,
    CANCEL,
    HELLO,
    META,
    REPLY,
    REQUEST,
    RETRY,
    WAIT_S,
    ReferenceBroker,
    bye,
    error,
    held,
    record,
    reply,
    welcome,
)


def result(future: Future[Any]) -> Any:
    return future.result(WAIT_S)


# -- greeting -------------------------------------------------------------------------------


def test_hello_opens_the_packet_and_a_request_travels_with_it(context):
    with socket.socket() as reserved:  # bound and not listening: it refuses until it is freed
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{reserved.getsockname()[1]}"
        client = pound.Client(endpoint, label="me:1")
        client.submit("echo", b"body", priority=3)
    broker = ReferenceBroker.bind_again(context, endpoint)
    hello = broker.expect(HELLO)
    request = broker.expect(REQUEST)
    broker.close()
    client.close()
    assert hello.parts == [b"me:1"]
    assert (request.packet, request.id, request.flags) == (hello.packet, 1, 0)
    assert (request.service, request.parts, request.head) == (b"echo", [b"body"], (0, 3))
    assert hello.session == request.session
    assert len(hello.session) == 16


def test_the_route_is_left_to_libzmq_and_each_client_has_a_session_of_its_own(make_client, broker):
    make_client()
    make_client()
    first, second = broker.expect(HELLO), broker.expect(HELLO)
    assert first.route[0] == second.route[0] == 0  # what ROUTER makes up begins with a zero
    assert first.session != second.session


def test_hello_is_repeated_until_welcome_and_then_no_more(make_client, broker):
    client = make_client(heartbeat=60.0)
    for _ in range(2):
        broker.expect(HELLO)
    broker.say(welcome())
    assert client.wait_connected(WAIT_S)
    while broker.read(0) is not None:
        continue  # those that crossed the WELCOME
    broker.expect_silence(0.3)


def test_before_welcome_only_little_is_sent(make_client, broker, monkeypatch):
    monkeypatch.setattr(client_engine, "EAGER_BYTES", 500)
    client = make_client()
    for _ in range(3):
        client.submit("echo", bytes(400))
    broker.expect(HELLO)
    broker.expect(REQUEST)
    broker.expect_silence(0.2)
    broker.say(welcome())
    again = [broker.expect(REQUEST) for _ in range(3)]
    assert [(said.id, said.flags) for said in again] == [(1, RETRY), (2, 0), (3, 0)]


# -- requests and answers -------------------------------------------------------------------


def test_ids_increase_from_1_and_what_is_ready_shares_a_packet(client, broker):
    with held(client):
        futures = [client.submit("echo", b"%d" % n) for n in range(50)]
    requests = [broker.expect(REQUEST) for _ in range(50)]
    assert [said.id for said in requests] == list(range(1, 51))
    assert len({said.packet for said in requests}) == 1
    broker.say(*(reply(said.id, said.parts[0]) for said in reversed(requests)))
    assert [result(future) for future in futures] == [b"%d" % n for n in range(50)]


def test_packets_keep_to_the_limits_of_welcome(make_client, broker):
    client = make_client()
    broker.greet(packet_bytes_max=1000, frames_max=3)
    assert client.wait_connected(WAIT_S)
    with held(client):
        for size in [300] * 10 + [5000] * 4:
            client.submit("echo", bytes(size))
    requests = [broker.expect(REQUEST) for _ in range(14)]
    packets = [said.packet for said in requests]
    assert max(packets.count(packet) for packet in packets[:8]) == 2  # 3 x 300 and heads: too much
    attached = [said.packet for said in requests if len(said.parts[0]) == 5000]
    assert max(attached.count(packet) for packet in attached) == 2  # frames_max - 1


def test_done_is_the_lowest_open_request(client, broker):
    first, second = client.submit("echo", b"1"), client.submit("echo", b"2")
    broker.seek(REQUEST, lambda said: said.id == 2)
    broker.say(reply(2, b"b"))
    assert result(second) == b"b"
    client.submit("echo", b"3")
    assert broker.expect(REQUEST).done == 1
    broker.say(reply(1, b"a"))
    assert result(first) == b"a"
    client.submit("echo", b"4")
    assert broker.expect(REQUEST).done == 3


def test_any_welcome_makes_open_requests_go_again_with_retry(client, broker):
    futures = [client.submit("echo", b"%d" % n) for n in range(3)]
    broker.seek(REQUEST, lambda said: said.id == 3)
    broker.say(reply(2, b"done"))
    assert result(futures[1]) == b"done"
    broker.say(welcome())
    again = [broker.expect(REQUEST), broker.expect(REQUEST)]
    assert [(said.id, said.flags & RETRY) for said in again] == [(1, RETRY), (3, RETRY)]
    broker.say(record(ACCEPTED, 1), reply(1, b"a"), reply(3, b"c"))
    assert [result(futures[0]), result(futures[2])] == [b"a", b"c"]


def test_a_second_answer_and_an_answer_to_nothing_are_passed_over(client, broker):
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.say(reply(1, b"first"), reply(1, b"second"), error(1, 13), reply(77, b"?"))
    assert result(future) == b"first"
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.say(reply(2, b"next"))
    assert result(future) == b"next"


def test_malformed_packets_are_dropped(client, broker, caplog):
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker._router.send_multipart([broker.route, b"no packet"])
    broker.say(reply(1, b"sound"))
    assert result(future) == b"sound"
    assert "malformed packet dropped" in caplog.text


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"bytes", [b"bytes"]),
        (bytearray(b"array"), [b"array"]),
        (memoryview(b"0view0")[1:5], [b"view"]),
        ([b"a", bytearray(b"b"), memoryview(b"c")], [b"a", b"b", b"c"]),
        ((b"",), [b""]),
        ([], []),
        ([b"x" * 5000, b"y"], [b"x" * 5000, b"y"]),
    ],
)
def test_bodies_of_every_kind_go_out_and_come_back(client, broker, body, parts):
    future = client.submit_full("echo", body)
    said = broker.expect(REQUEST)
    assert said.parts == parts
    broker.say(reply(said.id, *parts))
    assert result(future) == pound.Answer(parts)
    assert result(future).parts == parts


ASK_FOR_ONE = {
    "request": lambda client: client.request("echo", b""),
    "submit": lambda client: client.submit("echo", b"").result(WAIT_S),
    "map": lambda client: next(client.map("echo", [b""])),
    "stream": lambda client: next(client.stream("echo", b"")).body,
    "request_full": lambda client: client.request_full("echo", b"").body,
    "submit_full": lambda client: client.submit_full("echo", b"").result(WAIT_S).body,
    "map_full": lambda client: next(client.map_full("echo", [b""])).body,
}


@pytest.mark.parametrize("parts", [[], [b"one"], [b"two", b"parts"]], ids=len)
@pytest.mark.parametrize("method", ASK_FOR_ONE)
def test_what_asks_for_one_part_gets_one_and_loses_none_of_several(client, broker, method, parts):
    """No part is an empty body; several are an error that has them all."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ASK_FOR_ONE[method], client)
        said = broker.expect(REQUEST)
        broker.say(reply(said.id, *parts))
        if len(parts) < 2:
            assert answer.result(WAIT_S) == b"".join(parts)
            return
        with pytest.raises(pound.MultipartError, match=r"^a body of 2 parts, not one") as error:
            answer.result(WAIT_S)
    assert error.value.parts == parts
    assert pickle.loads(pickle.dumps(error.value)).parts == parts


def test_attached_parts_of_an_answer_are_the_body(client, broker):
    future = client.submit_full("echo", b"")
    broker.expect(REQUEST)
    claim = bytearray(record(REPLY, 1, flags=ATTACHED))
    claim[6:8] = b"\x02\x00"  # two parts, none of them inline
    broker.say(bytes(claim), attached=[b"one" * 2000, b"two"])
    assert result(future).parts == [b"one" * 2000, b"two"]


def test_a_body_is_taken_as_it_was_when_it_was_asked(client, broker):
    body = bytearray(b"before")
    client.submit("echo", body)
    body[:] = b"after!"
    assert broker.expect(REQUEST).parts == [b"before"]


@pytest.mark.parametrize("body", ["text", 5, None, [b"a", "text"], {b"a"}])
def test_what_is_not_bytes_is_no_body(client, body):
    with pytest.raises(TypeError, match="bytes-like"):
        client.submit("echo", body)


def test_meta_travels_both_ways(client, broker):
    answers: list[pound.Answer] = []
    thread = threading.Thread(
        target=lambda: answers.append(client.request_full("echo", b"x", meta={"trace": "ä"}))
    )
    thread.start()
    said = broker.expect(REQUEST)
    assert said.flags == META
    assert said.parts == ['{"trace":"ä"}'.encode(), b"x"]
    broker.say(reply(said.id, b'{"type":"text"}', b"y", flags=META))
    thread.join(WAIT_S)
    assert answers == [pound.Answer(b"y", {"type": "text"})]


def test_meta_of_an_answer_is_not_part_of_its_body(client, broker):
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.say(reply(1, b"{}", b"body", flags=META))
    assert result(future) == b"body"


@pytest.mark.parametrize("meta", [b"not json", b"[1]", b'{"a": 1}', b"\xff"])
def test_malformed_meta_of_an_answer_is_an_error(client, broker, meta):
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.say(reply(1, meta, b"body", flags=META))
    with pytest.raises(pound.InternalError, match="META"):
        result(future)


def test_meta_holds_strings_only(client):
    with pytest.raises(TypeError, match="meta"):
        client.submit("echo", b"", meta={"a": 1})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, pound.Cancelled),
        (2, pound.TaskFailed),
        (3, pound.InvalidRequest),
        (4, pound.DeadlineExceeded),
        (5, pound.NoSuchService),
        (7, pound.PermissionDenied),
        (10, pound.AttemptsExhausted),
        (12, pound.Unimplemented),
        (13, pound.InternalError),
        (15, pound.DataLoss),
        (16, pound.Unauthenticated),
        (99, pound.TaskFailed),
    ],
)
def test_errors_are_typed_and_carry_the_words(client, broker, code, kind):
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.say(error(1, code, "the reason", 1500))
    with pytest.raises(kind, match="the reason") as caught:
        result(future)
    assert (caught.value.code, caught.value.retry_after) == (code, 1.5)


# -- limits and overflow --------------------------------------------------------------------


def test_no_more_than_requests_max_are_open(make_client, broker):
    client = make_client()
    broker.greet(requests_max=2)
    assert client.wait_connected(WAIT_S)
    futures = [client.submit("echo", b"") for _ in range(3)]
    assert [broker.expect(REQUEST).id for _ in range(2)] == [1, 2]
    broker.expect_silence(0.2)
    broker.say(reply(1, b""))
    assert result(futures[0]) == b""
    assert broker.expect(REQUEST).id == 3


def test_a_body_beyond_the_limit_names_value_and_limit(make_client, broker):
    client = make_client()
    broker.greet(body_bytes_max=100)
    assert client.wait_connected(WAIT_S)
    with pytest.raises(pound.InvalidRequest, match=r"101 bytes.*body_bytes_max of 100"):
        result(client.submit("echo", [bytes(60), bytes(41)]))
    client.submit("echo", bytes(100))
    assert len(broker.expect(REQUEST).parts[0]) == 100


def test_too_many_attached_parts_name_value_and_limit(make_client, broker):
    client = make_client()
    broker.greet(frames_max=4)
    assert client.wait_connected(WAIT_S)
    with pytest.raises(pound.InvalidRequest, match=r"4 attached parts.*frames_max of 4"):
        result(client.submit("echo", [bytes(5000)] + [b""] * 3))
    client.submit("echo", [b"small"] * 10)
    assert len(broker.expect(REQUEST).parts) == 10


def test_busy_waits_and_asks_again_under_a_new_id(client, broker):
    future = client.submit("echo", b"body")
    broker.expect(REQUEST)
    asked_at = time.monotonic()
    broker.say(error(1, 8, "full", retry_after_ms=200))
    again = broker.expect(REQUEST)
    assert (again.id, again.flags, again.done, again.parts) == (2, 0, 2, [b"body"])
    assert again.at - asked_at >= 0.1  # retry_after less the jitter
    broker.say(reply(2, b"at last"))
    assert result(future) == b"at last"


def test_a_draining_broker_is_asked_again_even_when_busy_raises(make_client, broker):
    client = make_client(overflow="raise")
    broker.greet()
    assert client.wait_connected(WAIT_S)
    future = client.submit("echo", b"body")
    said = broker.seek(REQUEST)
    broker.say(error(said.id, 14, "draining", retry_after_ms=200))
    again = broker.seek(REQUEST)
    assert (again.id, again.parts) == (said.id + 1, [b"body"])
    broker.say(reply(again.id, b"at last"))
    assert result(future) == b"at last"


def test_busy_raises_when_told_to(make_client, broker):
    client = make_client(overflow="raise")
    broker.greet()
    future = client.submit("echo", b"")
    said = broker.seek(REQUEST)
    broker.say(error(said.id, 8, "full", retry_after_ms=250))
    with pytest.raises(pound.Busy, match="full") as caught:
        result(future)
    assert caught.value.retry_after == 0.25


def test_waiting_for_a_busy_broker_ends_at_the_deadline(client, broker):
    future = client.submit("echo", b"", timeout=0.3)
    broker.expect(REQUEST)
    broker.say(error(1, 8, "full", retry_after_ms=60_000))
    with pytest.raises(pound.DeadlineExceeded, match="busy"):
        result(future)


# -- deadlines and cancelling ---------------------------------------------------------------


def test_the_timeout_is_told_and_passing_it_ends_the_request_here_and_there(client, broker):
    started = time.monotonic()
    future = client.submit("echo", b"", timeout=0.3)
    assert 200 <= broker.expect(REQUEST).head[0] <= 301
    with pytest.raises(pound.DeadlineExceeded, match=r"0\.3 s.*no answer has come") as caught:
        result(future)
    assert isinstance(caught.value, TimeoutError)
    assert time.monotonic() - started >= 0.3
    assert broker.expect(CANCEL).id == 1


def test_a_retry_tells_the_time_that_is_left(client, broker):
    client.submit("echo", b"", timeout=30.0)
    first = broker.expect(REQUEST).head[0]
    broker.expect_silence(0.02)  # the clock advances
    broker.say(welcome())
    assert broker.expect(REQUEST).head[0] < first


def test_the_brokers_own_deadline_error_is_taken(client, broker):
    future = client.submit("echo", b"", timeout=5.0)
    broker.expect(REQUEST)
    broker.say(error(1, 4, "the broker says so"))
    with pytest.raises(pound.DeadlineExceeded, match="the broker says so"):
        result(future)


def test_a_deadline_passes_without_any_broker():
    words = r"no broker answers at tcp://127\.0\.0\.1:1"
    with pound.Client("tcp://127.0.0.1:1") as client, pytest.raises(TimeoutError, match=words):
        client.request("echo", b"", timeout=0.1)


def test_a_deadline_without_a_broker_says_why_there_is_none(caplog):
    """Its name does not resolve (.invalid never does), or nothing listens."""
    for endpoint, words in (
        ("tcp://no-such-name.invalid:1", "the name 'no-such-name.invalid' does not resolve"),
        ("tcp://127.0.0.1:1", "connection refused: nothing listens there"),
        ("inproc://nobody", "inproc needs the broker's zmq.Context"),
    ):
        with pound.Client(endpoint) as client:
            wait_until(lambda client=client: client._engine.trouble)
            with pytest.raises(pound.DeadlineExceeded, match=words) as caught:
                client.request("echo", b"", timeout=0.1)
        assert f"({endpoint})" in str(caught.value)
        lines = [line.getMessage() for line in caplog.records]
        assert any("no broker, trying again" in line and endpoint in line for line in lines)


def test_something_that_is_no_broker_is_told_as_such(context, caplog):
    """A socket that answers nothing, and one that does not even speak ZeroMQ."""
    other = context.socket(zmq.ROUTER)
    port = other.bind_to_random_port("tcp://127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute_port = mute.getsockname()[1]
        for at, words in ((port, "no broker of Pound"), (mute_port, "nobody speaks ZeroMQ")):
            with pound.Client(f"tcp://127.0.0.1:{at}") as client:
                wait_until(lambda client=client: client._engine.trouble)
                assert words in client._engine.trouble
    other.close(0)


def test_the_reason_is_forgotten_when_a_broker_is_found(make_client, broker):
    client = make_client(heartbeat=60.0)
    client._engine.look(1.0, True)
    wait_until(lambda: client._engine.trouble)
    broker.greet()
    assert client.wait_connected(WAIT_S)
    wait_until(lambda: not client._engine.trouble)


def test_a_reason_is_logged_once_until_it_changes(caplog):
    def reasons() -> list[str]:  # a client of the test before may log its last words here
        lines = [line.getMessage() for line in caplog.records]
        found = [line for line in lines if "no broker, trying again" in line]
        return [line.partition("reason=")[2] for line in found]

    with pound.Client("tcp://127.0.0.1:1") as client:
        wait_until(reasons)
        for _ in range(3):
            client._engine.look(2.0, False)
            wait_until(lambda: not looking(client))
        client._engine.log_trouble(Trouble("tcp://127.0.0.1:1", "another one", True))
    assert len(reasons()) == 2
    assert reasons()[0] != reasons()[1]


def looking(client: pound.Client) -> bool:
    return any(thread.name == "pound-client-look" for thread in threading.enumerate())


def test_a_time_too_short_to_be_sent_is_told_as_such(client):
    with pytest.raises(pound.DeadlineExceeded, match="the time was over before"):
        client.request("echo", b"", timeout=1e-7)


def test_a_lost_broker_is_told_as_such(client, broker):
    broker.close()
    wait_until(lambda: not client._engine.connected.is_set())
    with pytest.raises(pound.DeadlineExceeded, match=r"the broker was lost \(disconnected\)"):
        client.request("echo", b"", timeout=0.1)


def test_a_refusal_of_the_broker_is_told_in_its_words(client, broker):
    future = client.submit("echo", b"", timeout=0.3)
    broker.expect(REQUEST)
    broker.say(error(1, 8, "too much waits (waiting_max)", 60_000))
    with pytest.raises(pound.DeadlineExceeded, match=r"asked 1 times and said: too much w"):
        result(future)


def test_a_broker_that_has_fallen_silent_is_told_as_such(make_client, broker):
    client = make_client(heartbeat=0.05, liveness=100)
    broker.greet()
    assert client.wait_connected(WAIT_S)
    with pytest.raises(pound.DeadlineExceeded, match=r"said nothing for 0\.\d s: is it stopped"):
        client.request("echo", b"", timeout=0.3)


def test_a_broker_that_goes_away_is_told_as_such(client, broker):
    broker.say(bye(1, 60_000))
    wait_until(lambda: resting(client))


def resting(client: pound.Client) -> bool:
    with pytest.raises(pound.DeadlineExceeded) as caught:
        client.request("echo", b"", timeout=0.05)
    return "goes away and takes no requests" in str(caught.value)


def test_cancelling_the_future_cancels_the_request(client, broker):
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    assert future.cancel()
    assert broker.expect(CANCEL).id == 1
    with pytest.raises(CancelledError):
        result(future)
    broker.say(reply(1, b"too late"))
    client.submit("echo", b"")
    assert broker.expect(REQUEST).done == 2


def test_a_cancel_that_may_be_lost_is_told_again_after_welcome(client, broker):
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    future.cancel()
    broker.expect(CANCEL)
    broker.say(welcome())
    assert broker.expect(CANCEL).id == 1
    broker.say(error(1, 1, "cancelled"), welcome())
    broker.expect_silence(0.2)


def test_a_request_cancelled_before_it_was_sent_is_never_sent(make_client, broker):
    client = make_client()
    broker.greet(requests_max=1)
    assert client.wait_connected(WAIT_S)
    first = client.submit("echo", b"first")
    second = client.submit("echo", b"second")
    client.submit("echo", b"third")
    broker.expect(REQUEST)
    assert second.cancel()
    broker.say(reply(1, b""))
    assert result(first) == b""
    assert broker.expect(REQUEST).parts == [b"third"]
