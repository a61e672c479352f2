"""What libzmq does between the broker and its peers, and nothing that it does not.

A *link* is one connection and, on the broker's side, one route. Within a link's direction messages
keep their order and none is lost while it lives. When it breaks, any suffix of what was under way
is lost without notice, each way on its own; each end learns of it at a time of its own, the broker
perhaps while earlier messages are still unread. A half-open link swallows both ways and breaks
much later. Sends to a pipe at its mark say BLOCKED (EAGAIN), to a link known as closed GONE
(EHOSTUNREACH). A new link of the same peer is a new route, and no order holds between two links.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from random import Random
from typing import Any

MS = 1_000_000
SECOND = 1_000 * MS

Record = tuple[Any, ...]
Message = tuple[Record, ...]


class Sent(Enum):
    SENT = 0
    BLOCKED = 1
    GONE = 2


class Pipe:
    """One direction of a link: messages under way, each with the time at which it arrives."""

    def __init__(self) -> None:
        self.under_way: deque[tuple[int, Message]] = deque()
        self.last_due = 0

    def __len__(self) -> int:
        return len(self.under_way)

    def put(self, message: Message, due: int) -> None:
        self.last_due = max(self.last_due, due)
        self.under_way.append((self.last_due, message))

    def take(self, now: int) -> Message | None:
        if self.under_way and self.under_way[0][0] <= now:
            return self.under_way.popleft()[1]
        return None

    def cut(self, keep: int) -> None:
        """Lose the suffix behind the first ``keep`` messages; the rest has arrived."""
        self.under_way = deque((0, message) for _, message in list(self.under_way)[:keep])


class Link:
    """A connection of one peer; ``route`` is its number, rising with every connection."""

    def __init__(self, route: int, peer: Any, mark: int) -> None:
        self.route = route
        self.peer = peer
        self.mark = mark
        self.up = Pipe()  # peer to broker
        self.down = Pipe()  # broker to peer
        self.swallows = False
        self.broken = False
        self.breaks_at: int | None = None  # a half-open link's end
        self.broker_knows_at = 0
        self.peer_knows_at = 0


class Network:
    """All links, living and broken; a broken one stays until the broker knows of it."""

    def __init__(self, rng: Random, pace_ns: int, mark: int, eagain: float) -> None:
        self.rng = rng
        self.pace_ns = pace_ns  # about a turn of the broker
        self.latency_ns = rng.choice((pace_ns // 10, 2 * pace_ns))
        self.mark = mark
        self.eagain = eagain  # how often a send is refused though the pipe has room
        self.now = 0
        self.routes = 0
        self.links: list[Link] = []

    def connect(self, peer: Any) -> Link:
        self.routes += 1
        link = Link(self.routes, peer, self.mark)
        self.links.append(link)
        return link

    def _arrival(self) -> int:
        return self.now + self.rng.randrange(self.latency_ns)

    def send_up(self, link: Link, message: Message) -> None:
        if not link.broken and not link.swallows:
            link.up.put(message, self._arrival())

    def send_down(self, link: Link, message: Message) -> Sent:
        """What zmq_send of the ROUTER with MANDATORY and DONTWAIT says."""
        if link.broken:
            noticed = self.rng.random() < 0.5 or self.now >= link.broker_knows_at
            return Sent.GONE if noticed else Sent.SENT
        if len(link.down) >= link.mark or self.rng.random() < self.eagain:
            return Sent.BLOCKED
        if not link.swallows:
            link.down.put(message, self._arrival())
        return Sent.SENT

    def receive_up(self, link: Link) -> Message | None:
        return link.up.take(self.now)

    def receive_down(self, link: Link) -> Message | None:
        return link.down.take(self.now)

    def break_link(self, link: Link, peer_knows: bool = True) -> None:
        """Close a connection: a suffix is lost each way, each end learns of it later."""
        if link.broken:
            return
        link.broken = True
        link.up.cut(self.rng.randint(0, len(link.up)))
        link.down.cut(self.rng.randint(0, len(link.down)))
        link.broker_knows_at = self.now + self.rng.choice((0, 2, 5, 20)) * self.pace_ns
        link.peer_knows_at = self.now + (0 if peer_knows else 10 * self.pace_ns)

    def half_open(self, link: Link, lasts_ns: int) -> None:
        if not link.broken and not link.swallows:
            link.swallows = True
            link.up.cut(self.rng.randint(0, len(link.up)))
            link.down.cut(self.rng.randint(0, len(link.down)))
            link.breaks_at = self.now + lasts_ns

    def advance(self, now: int) -> None:
        self.now = now
        for link in self.links:
            if link.breaks_at is not None and link.breaks_at <= now:
                self.break_link(link)

    def closed_links(self) -> list[Link]:
        """Broken links that the monitor reports now; each is reported once."""
        known = [k for k in self.links if k.broken and k.broker_knows_at <= self.now]
        self.links = [k for k in self.links if k not in known]
        return known

    def unread(self, link: Link) -> bool:
        return bool(link.up.under_way) and link.up.under_way[0][0] <= self.now

    def readable(self) -> list[Link]:
        links = [link for link in self.links if self.unread(link)]
        self.rng.shuffle(links)
        return links
