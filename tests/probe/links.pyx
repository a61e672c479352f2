# A handle on the rules of a link, for tests only: events are methods, actions are taken as a list.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from pound._engine.endpoints cimport endpoint_target, endpoints_found
from pound._engine.link cimport (
    DENIED_HANDSHAKE, DENIED_KEY, DENIED_MECHANISM, DENIED_NOW, DENIED_RECORD, FAR, FOUND_FOREIGN,
    FOUND_FULL, FOUND_NOTHING, FOUND_ROOM, LINK_CLOSE, LINK_DENIED, LINK_DROP, LINK_LOG_FOUND,
    LINK_LOG_LOST, LINK_OPEN, LINK_PART, denial_t, finding_t, limits_allow, link_bye, link_close,
    link_connected, link_denied, link_disconnected, link_failed, link_forgotten, link_free,
    link_go_home, link_greet_again, link_greets, link_init, link_looked, link_looks_home,
    link_next_beat, link_next_due, link_open, link_open_failed, link_packet, link_refused,
    link_resting, link_state_t, link_tick, link_wake, link_wants_home, link_welcome)
from pound._wire.packets cimport record_t

NEVER = FAR
KINDS = {
    <int>LINK_OPEN: "open",
    <int>LINK_CLOSE: "close",
    <int>LINK_PART: "part",
    <int>LINK_DROP: "drop",
    <int>LINK_LOG_FOUND: "found",
    <int>LINK_LOG_LOST: "lost",
    <int>LINK_DENIED: "denied",
}
DENIALS = {
    "key": <int>DENIED_KEY,
    "mechanism": <int>DENIED_MECHANISM,
    "handshake": <int>DENIED_HANDSHAKE,
    "record": <int>DENIED_RECORD,
    "now": <int>DENIED_NOW,
}

FINDINGS = {
    "nothing": <int>FOUND_NOTHING,
    "foreign": <int>FOUND_FOREIGN,
    "full": <int>FOUND_FULL,
    "room": <int>FOUND_ROOM,
}


cdef class Link:
    """The rules of one link; times are in ns."""

    cdef link_state_t link

    def __init__(self, endpoints, heartbeat, liveness, follows, uint64_t dice):
        cdef list encoded = [endpoint.encode() for endpoint in endpoints]
        cdef const char **names = <const char **>calloc(len(encoded), sizeof(char *))
        cdef bytes session = bytes(16)
        for i, name in enumerate(encoded):
            names[i] = <bytes>name
        failed = link_init(
            &self.link, names, <uint32_t>len(encoded), heartbeat, liveness, follows, session, dice)
        free(names)
        if failed:
            raise MemoryError

    def __dealloc__(self):
        link_free(&self.link)

    # -- events

    def open(self, int64_t now):
        link_open(&self.link, now)

    def close(self):
        link_close(&self.link)

    def open_failed(self, int64_t now):
        link_open_failed(&self.link, now)

    def connected(self, int64_t now):
        link_connected(&self.link, now)

    def disconnected(self, int64_t now):
        link_disconnected(&self.link, now)

    def refused(self, int64_t now):
        link_refused(&self.link, now)

    def denied(self, denial, int64_t now):
        link_denied(&self.link, <denial_t><int>DENIALS[denial], now)

    def failed(self, has_key, int64_t now):
        link_failed(&self.link, has_key, now)

    def looked(self, uint32_t endpoint, found, int64_t now):
        link_looked(&self.link, endpoint, <finding_t><int>FINDINGS[found], now)

    def looks_home(self, int64_t now):
        return bool(link_looks_home(&self.link, now))

    def go_home(self, int64_t now):
        link_go_home(&self.link, now)

    def packet(self, bytes epoch, int64_t now):
        return bool(link_packet(&self.link, epoch, now))

    def welcome(self, heartbeat_ms, liveness, limits, int64_t now):
        cdef record_t record
        memset(&record, 0, sizeof(record))
        record.heartbeat_ms = heartbeat_ms
        record.liveness = liveness
        record.body_bytes_max, record.packet_bytes_max = limits[0], limits[1]
        record.frames_max, record.requests_max = limits[2], limits[3]
        return bool(link_welcome(&self.link, &record, now))

    def bye(self, code, retry_after_ms, int64_t now):
        link_bye(&self.link, code, retry_after_ms, now)

    def forgotten(self, int64_t now):
        link_forgotten(&self.link, now, b"bye")

    def wake(self, int64_t planned, int64_t now):
        link_wake(&self.link, planned, now)

    def tick(self, int64_t now):
        link_tick(&self.link, now)

    def found(self, uint32_t i, addresses):
        """Another thread has resolved the name of an endpoint."""
        cdef bytes texts = b"".join(address.encode() + b"\0" for address in addresses)
        cdef char *copy = <char *>malloc(len(texts) + 1)
        memcpy(copy, <const char *>texts, len(texts) + 1)
        endpoints_found(&self.link.endpoints, i, copy)

    # -- what is sent

    def greets(self, int64_t now):
        return bool(link_greets(&self.link, now))

    def greet_again(self, int64_t now):
        link_greet_again(&self.link, now)

    def beat(self, int64_t now):
        self.link.beat_at = now

    def said(self, int64_t now):
        self.link.said_at = now

    def allows(self, nbytes, frames, size, attached):
        return bool(limits_allow(&self.link.limits, nbytes, frames, size, attached))

    # -- what is known

    def actions(self):
        """(kind, endpoint, reason, brief) of each, in order; they count as carried out."""
        cdef list taken = []
        cdef uint32_t i
        for i in range(self.link.actions_count):
            action = self.link.actions[i]
            reason = None if action.reason == NULL else action.reason.decode()
            taken.append(
                (KINDS[<int>action.kind], action.endpoint.decode(), reason, bool(action.brief)))
        self.link.actions_count = 0
        return taken

    def target(self):
        """Where LINK_OPEN connects to, and whether as IPv6."""
        return endpoint_target(&self.link.endpoints).decode(), bool(self.link.endpoints.six)

    def next_due(self):
        return link_next_due(&self.link)

    def next_beat(self):
        return link_next_beat(&self.link)

    def resting(self, int64_t now):
        return bool(link_resting(&self.link, now))

    def limits(self):
        limits = &self.link.limits
        return (limits.body_bytes_max, limits.packet_bytes_max, limits.frames_max,
                limits.requests_max)

    @property
    def welcomed(self):
        return bool(self.link.welcomed)

    @property
    def barred(self):
        return bool(self.link.door.barred)

    @property
    def up(self):
        return bool(self.link.up)

    @property
    def wants_home(self):
        return bool(link_wants_home(&self.link))

    @property
    def reopens(self):
        """Whether a rest ends with a new socket."""
        return bool(self.link.reopen)

    @property
    def lives(self):
        return self.link.lives

    @property
    def wants_out(self):
        return bool(self.link.wants_out)

    @wants_out.setter
    def wants_out(self, wants):
        self.link.wants_out = wants
