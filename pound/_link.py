"""The link: one DEALER towards one endpoint of the list, and what is known of the broker behind it.

Only the engine's thread touches it. It knows sockets, packets, silence and the list of endpoints;
what records mean to a client or a worker it does not know.

Invariants: at most one socket is open; it has no routing id; nothing is given to it while it has
no connection, so that nothing stale is sent after a reconnect; `welcomed` holds from a WELCOME
until the connection breaks, the broker forgets us (BYE 0, a new epoch) or the endpoint changes.
libzmq does not say in band that it lost or renewed a connection: the socket's monitor does.
(ZMQ_IMMEDIATE would hold messages back too, but on a disconnect it drops those that came in and
were not read yet: answers, and the broker's BYE.)
Owner of memory: packets that libzmq took are its own (bodies are shared, not copied); those it
refused stay here, at most one turn's worth.
"""

from __future__ import annotations

import logging
import math
import os
import random
import re
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import zmq
from zmq.utils.monitor import recv_monitor_message

from pound._logging import log_event
from pound._wire import Packet, Record, decode, encode_many
from pound.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    Context: TypeAlias = zmq.Context[zmq.Socket[bytes]]
    Socket: TypeAlias = zmq.Socket[bytes]

LABEL_BYTES_MAX = 64
ENDPOINT = re.compile(r"(tcp://.+:\d+|ipc://.+|inproc://.+)")
GREETING_EVERY = 1.0  # seconds between two greetings until WELCOME
REST = 1.0  # seconds away from a broker that said BYE without saying for how long
TURN_PAUSE = (
    0.25  # seconds that an endpoint is given at least, so that turning can't become a storm
)
HWM = 256  # messages; a packet holds many records, and what does not fit waits in the engine
PACKETS_A_TURN = 256  # read at most so many before writing again
RECONNECT_MS = 100
RECONNECT_MAX_MS = 1000
EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
)  # fmt: skip


class Limits(NamedTuple):
    """What the broker allows; the protocol's defaults until its WELCOME is heard."""

    body_bytes_max: int = 67108864
    packet_bytes_max: int = 1048576
    frames_max: int = 1024
    requests_max: int = 65536


def check_endpoints(endpoints: str | Sequence[str]) -> tuple[str, ...]:
    """Return the endpoints as a tuple.

    Raises
    ------
    ConfigError
        There is none, or one is not of the forms tcp://HOST:PORT, ipc://PATH, inproc://NAME.
    """
    given = (endpoints,) if isinstance(endpoints, str) else tuple(endpoints)
    if not given:
        raise ConfigError("no endpoint given")
    for endpoint in given:
        if not isinstance(endpoint, str) or not ENDPOINT.fullmatch(endpoint):
            raise ConfigError(
                f"endpoint {endpoint!r} is not tcp://HOST:PORT, ipc://PATH or inproc://NAME"
            )
    return given


def check_rates(heartbeat: float, liveness: int) -> None:
    """Raise ValueError unless both are positive."""
    if not heartbeat > 0:
        raise ValueError(f"heartbeat is a positive number of seconds, not {heartbeat!r}")
    if liveness < 1:
        raise ValueError(f"liveness is 1 or more, not {liveness!r}")


def label_bytes(label: str | None) -> bytes:
    """Return the label as it travels; ``host:pid`` when none is given.

    Raises
    ------
    ValueError
        It is longer than 64 bytes.
    """
    if label is None:
        pid = f":{os.getpid()}"
        return socket.gethostname().encode()[: LABEL_BYTES_MAX - len(pid)] + pid.encode()
    encoded = label.encode()
    if len(encoded) > LABEL_BYTES_MAX:
        raise ValueError(f"a label of {len(encoded)} bytes; at most {LABEL_BYTES_MAX} are allowed")
    return encoded


def jitter(seconds: float) -> float:
    """Return `seconds`, a quarter more or less, so that many peers don't speak at once."""
    return seconds * random.uniform(0.75, 1.25)


class Link:
    """The way to the broker.

    Parameters
    ----------
    context : zmq.Context
    endpoints : tuple of str
        Tried in turn; never empty.
    heartbeat : float
        Seconds; the broker's own rule as well once WELCOME has told it.
    liveness : int
        A broker silent for heartbeat x liveness is left for the next endpoint.
    follows : bool
        True for a worker, which judges silence by the rates that WELCOME told, because that is
        how often the broker speaks; a client asks at its own rate and is answered.
    """

    def __init__(
        self,
        context: Context,
        endpoints: tuple[str, ...],
        heartbeat: float,
        liveness: int,
        follows: bool,
        logger: logging.Logger,
    ) -> None:
        self.session = os.urandom(16)  # a secret between the broker and us: never logged
        self.epoch: bytes | None = None  # the last one heard, on whichever endpoint
        self.up = False  # a connection stands; inproc, which tells nothing, counts as always up
        self.welcomed = False
        self.limits = Limits()
        self.heartbeat = heartbeat
        self.heard_at = -math.inf  # the last packet on a welcomed route, or the start of this one
        self.said_at = -math.inf
        self.resting_until = -math.inf  # said BYE: nothing is asked of it before
        self.leaving = False  # we said BYE: to lose the broker is no news any more
        self.wants_out = False  # something is to be sent as soon as the socket takes it
        self._own = (heartbeat, liveness)
        self._silence = heartbeat * liveness
        self._follows = follows
        self._logger = logger
        self._context = context
        self._endpoints = endpoints
        self._at = 0
        self._socket: Socket | None = None
        self._monitor: Socket | None = None
        self._packets: deque[list[Any]] = deque()  # refused by libzmq for now
        self._greet_at = math.inf
        self._opened_at = -math.inf
        self._handshakes = 0
        self._reopen = False  # open anew when the rest is over

    @property
    def endpoint(self) -> str:
        """The endpoint in use."""
        return self._endpoints[self._at]

    # -- the socket ------------------------------------------------------------------------

    def open(self, now: float) -> None:
        """Connect to the endpoint in use, by a new socket."""
        self.close(0)
        dealer = self._context.socket(zmq.DEALER)
        try:
            self._configure(dealer)
            self._monitor = dealer.get_monitor_socket(EVENTS)
            dealer.connect(self.endpoint)
        except zmq.ZMQError as error:
            log_event(
                self._logger,
                logging.ERROR,
                "cannot connect",
                endpoint=self.endpoint,
                error=str(error),
            )
        self._socket = dealer
        self.up = self.endpoint.startswith("inproc:")
        self._handshakes = 0
        self._opened_at = self.heard_at = self._greet_at = now
        self.resting_until = -math.inf
        self._reopen = False

    def close(self, linger_ms: int) -> None:
        """Close the socket, if one is open; what libzmq holds is sent for `linger_ms` more."""
        self.up = self.welcomed = False
        self._packets.clear()
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close(linger=linger_ms)
        if self._monitor is not None:
            self._monitor.close(linger=0)
        self._socket = self._monitor = None

    def register(self, poller: zmq.Poller) -> None:
        """Put what the link waits for into the poll set."""
        if self._socket is not None:
            out = zmq.POLLOUT if self.wants_out and self.up else 0
            poller.register(self._socket, zmq.POLLIN | out)
        if self._monitor is not None:
            poller.register(self._monitor, zmq.POLLIN)

    def _configure(self, dealer: Socket) -> None:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.SNDHWM, HWM)
        dealer.setsockopt(zmq.RCVHWM, HWM)
        dealer.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        if "[" in self.endpoint:  # elsewhere IPV6 would make `localhost` miss a broker on 127.0.0.1
            dealer.setsockopt(zmq.IPV6, 1)

    # -- what is heard ---------------------------------------------------------------------

    def watch(self, now: float) -> None:
        """Read the monitor: a broken, a renewed and a refused connection."""
        while self._monitor is not None:
            try:
                event = recv_monitor_message(self._monitor, zmq.DONTWAIT)["event"]
            except zmq.Again:
                return
            if event == zmq.EVENT_DISCONNECTED:
                self.up = False
                self._lose("disconnected")
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.up = True
                self._handshakes += 1
                if self._handshakes > 1:
                    self._packets.clear()
                    self.forgotten(now, "reconnected")
            elif self._handshakes == 0 and len(self._endpoints) > 1:
                self.turn(now, "refused")

    def receive(self, now: float) -> Iterator[Packet]:
        """Read the packets that are here, a bounded number of them."""
        for _ in range(PACKETS_A_TURN):
            if self._socket is None:
                return
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                packet = decode(frames)
            except ProtocolError as error:
                log_event(
                    self._logger, logging.WARNING, "malformed packet dropped", error=str(error)
                )
                continue
            if self.welcomed:
                self.heard_at = now
            yield packet

    def welcome(self, record: Record, now: float) -> None:
        """Take the broker's rates and limits from its WELCOME."""
        if not self.welcomed:
            log_event(self._logger, logging.INFO, "broker found", endpoint=self.endpoint)
        self.welcomed = True
        self.heard_at = now
        self.resting_until = -math.inf
        self._reopen = False
        self._greet_at = math.inf
        self.limits = Limits(
            record.body_bytes_max,
            max(1, record.packet_bytes_max),
            max(2, record.frames_max),
            max(1, record.requests_max),
        )
        told = record.heartbeat_ms / 1000 or self._own[0]
        self.heartbeat = min(self._own[0], told)
        self._silence = self.heartbeat * self._own[1]
        if self._follows:
            self._silence = told * max(record.liveness, 1)

    def forgotten(self, now: float, reason: str) -> None:
        """Greet anew: the broker does not know us, or not by this route."""
        self._lose(reason)
        self.resting_until = -math.inf
        self._reopen = False
        self._greet_at = now

    def bye(self, now: float, retry_after: float) -> None:
        """Turn to the next endpoint, or to this one again after a while: the broker goes away."""
        if len(self._endpoints) > 1:
            self.turn(now, "bye")
        else:
            self._rest(now + jitter(retry_after or REST))

    # -- silence and turning ----------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Open the socket anew when a rest is over; leave an endpoint that is silent."""
        if self.resting(now):
            return
        if self._reopen:
            self.open(now)
        elif now - self.heard_at >= self._silence:
            self.turn(now, "silent")

    def turn(self, now: float, reason: str) -> None:
        """Leave this endpoint for the next one, or for itself when it is the only one."""
        self._lose(reason)
        self._at = (self._at + 1) % len(self._endpoints)
        self.close(0)
        self._rest(self._opened_at + TURN_PAUSE)
        self.tick(now)

    def _lose(self, reason: str) -> None:
        if self.welcomed and not self.leaving:
            event = "broker lost"
            log_event(self._logger, logging.WARNING, event, endpoint=self.endpoint, reason=reason)
        self.welcomed = False

    def _rest(self, until: float) -> None:
        self.resting_until = until
        self._reopen = True
        self._greet_at = math.inf

    def resting(self, now: float) -> bool:
        """Tell whether nothing is to be asked of the broker for now."""
        return now < self.resting_until

    def forgive(self, pause: float) -> None:
        """Don't count our own pause (a stopped process, a GIL held) as the broker's silence."""
        self.heard_at += pause

    def next_due(self) -> float:
        """Return the time at which `tick` or a greeting has something to do."""
        if self._reopen:
            return self.resting_until
        silent_at = self.heard_at + self._silence
        return silent_at if self.wants_out else min(silent_at, self._greet_at)

    # -- what is said -----------------------------------------------------------------------

    def writable(self) -> bool:
        """Tell whether a connection takes another packet; the refused ones go first."""
        while self.up and self._socket is not None:
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLOUT:
                return False
            if not self._packets:
                return True
            self._push()
        return False

    def greets(self, now: float) -> bool:
        """Tell whether HELLO or READY belongs into this turn's packet; it counts as said then."""
        if now < self._greet_at:
            return False
        self._greet_at = math.inf if self.welcomed else now + jitter(GREETING_EVERY)
        return True

    def greet_again(self, now: float) -> None:
        """Ask for one more greeting (a worker's READY with other values)."""
        self._greet_at = min(self._greet_at, now)

    def send(self, records: Sequence[Record], done: int, now: float) -> None:
        """Pack `records` and hand them to libzmq; what it refuses is kept for the next turn."""
        limits = self.limits
        self.said_at = now
        self._packets.extend(
            encode_many(self.session, done, records, limits.packet_bytes_max, limits.frames_max)
        )
        self._push()

    @property
    def flushed(self) -> bool:
        """True when libzmq took every packet."""
        return not self._packets

    def _push(self) -> None:
        while self._packets and self._socket is not None:
            try:
                self._socket.send_multipart(self._packets[0], zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            self._packets.popleft()
