"""A modelled broker, for the simulation of the links (links.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .books import must
from .network import MS, Link, Record

if TYPE_CHECKING:
    from .link_ends import End
    from .links import World

NEVER = (1 << 63) - 1
BYE_UNKNOWN, BYE_GOING = 0, 1


class Broker:
    """One broker of the lists: welcomes, executes, beats, and forgets who is silent."""

    def __init__(self, world: World, index: int) -> None:
        rng = world.rng
        self.world, self.index = world, index
        self.heartbeat = rng.choice((world.heartbeat, world.heartbeat // 2, 3 * world.heartbeat))
        self.liveness = rng.choice((3, 5))
        packet = rng.choice((300, 1000, 1 << 20))
        self.limits = (rng.choice((1000, 1 << 26)), packet, rng.choice((2, 1024)), 1 << 16)
        self.alive = True
        self.stopped_until = 0
        self.executed: set[tuple[str, int]] = set()
        self._begin()

    def _begin(self) -> None:
        self.epoch = self.world.rng.randbytes(16)
        self.drains: int | None = None  # ms that its BYE says
        self.turns_away = False
        self.sessions: dict[End, Link] = {}
        self.heard: dict[End, int] = {}
        self.beat_at = self.world.now
        self.turned_at = self.world.now

    @property
    def serves(self) -> bool:
        stopped = self.world.now < self.stopped_until
        return self.alive and not stopped and self.drains is None and not self.turns_away

    def kill(self) -> None:
        self.alive = False
        for link in self.links():
            self.world.network.break_link(link)

    def start(self) -> None:
        if not self.alive:
            self.alive = True
            self._begin()

    def stop(self, until: int) -> None:
        self.stopped_until = until

    def drain(self, retry_ms: int) -> None:
        self.drains = retry_ms
        for link in self.sessions.values():
            self._say(link, ("bye", BYE_GOING, retry_ms), ("agreed",))
        self.sessions.clear()

    def turn_away(self, cut: bool) -> None:
        """Let nobody stay that comes from now on; with `cut`, whoever is there must come again."""
        self.turns_away = True
        for link in self.links() if cut else ():
            self.world.network.break_link(link)

    def forget(self, end: End) -> None:
        """Lose a session, and say so when its route is used again."""
        self.sessions.pop(end, None)

    def revoke(self, end: End) -> None:
        """Say so, and cut the connection a moment later."""
        link = self.sessions.pop(end, None)
        if link is not None:
            self._say(link, ("error",))
            link.breaks_at = self.world.now + 30 * MS

    def links(self) -> list[Link]:
        return [link for link in self.world.network.links if link.broker is self]  # type: ignore[attr-defined]

    def due(self) -> int:
        """When it has something to do."""
        if not self.alive:
            return NEVER
        heads = [link.up.under_way[0][0] for link in self.links() if link.up.under_way]
        return max(min([self.beat_at, *heads]), self.stopped_until)

    def turn(self) -> None:
        now = self.world.now
        if not self.alive or now < self.stopped_until:
            return
        pause = now - self.turned_at - self.heartbeat
        if pause > 0:
            self.heard = {end: at + pause for end, at in self.heard.items()}
        self.turned_at = now
        links = self.links()
        self.world.rng.shuffle(links)
        for link in links:
            while (message := self.world.network.receive_up(link)) is not None:
                self._read(link, message)
        for end, link in [*self.sessions.items()]:
            if link.broken and now >= link.broker_knows_at:
                del self.sessions[end]
        self._expire()
        self._beat()

    def _read(self, link: Link, message: tuple[Record, ...]) -> None:
        end: End = link.peer
        first = message[0][0]
        if link not in self.world.begun:
            self.world.begun.add(link)
            must(first == "greeting", "K5", f"a route of {end} begins with {first}")
        elif len(message) > 1 and self.sessions.get(end) is link:
            size = sum(record[2] for record in message if record[0] == "command")
            must(size <= self.limits[1], "K8", f"a packet of {size} bytes, more than {self.limits}")
        self.heard[end] = self.world.now
        if self.world.denials.get((self, end)) == "record":
            self._say(link, ("error",))
            self.sessions.pop(end, None)
            return
        for kind, *values in message:
            if kind == "greeting":
                self._welcome(end, link)
            elif self.sessions.get(end) is not link:
                self._say(link, ("bye", BYE_UNKNOWN, 0))
                return
            elif kind == "command":
                self.executed.add((end.name, values[0]))
                self._say(link, ("done", values[0]))
            elif kind == "leave" and end.follows:
                self._say(link, ("agreed",))
            elif kind == "leave":
                del self.sessions[end]
            elif kind == "heartbeat" and not end.follows:
                self._say(link, ("heartbeat",))

    def _welcome(self, end: End, link: Link) -> None:
        if self.world.rng.random() < self.world.deaf:
            return
        if self.drains is not None:
            self._say(link, ("bye", BYE_GOING, self.drains), ("agreed",))
            return
        known = self.sessions.get(end) is link
        self.sessions[end] = link
        self._say(link, ("welcome", self.heartbeat // MS, self.liveness, self.limits))
        if self.turns_away and not known:
            link.breaks_at = self.world.now + self.world.rng.choice((0, 30 * MS, 400 * MS))

    def _expire(self) -> None:
        now = self.world.now
        for end, link in [*self.sessions.items()]:
            if end.follows and now - self.heard[end] > self.heartbeat * self.liveness:
                harmed = link.broken or self.turns_away
                must(
                    harmed or self.world.fault_at >= self.heard[end],
                    "K3",
                    f"{end} was missed for no reason",
                )
                del self.sessions[end]

    def _beat(self) -> None:
        if self.world.now >= self.beat_at:
            self.beat_at = self.world.now + self.heartbeat
            for end, link in self.sessions.items():
                if end.follows:
                    self._say(link, ("heartbeat",))

    def _say(self, link: Link, *records: Record) -> None:
        self.world.network.send_down(link, (("epoch", self.epoch), *records))
