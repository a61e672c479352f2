"""Events put for the logging thread (see log_events.pxd for the rules)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from pound._base.check cimport CHECK
from pound._base.hints cimport unlikely
from pound.security.table cimport identity_t, keytable_t
from .kinds cimport (
    LOG_BAD_MESSAGE, LOG_CONNECTION_REFUSED, LOG_DENIED, LOG_DRAINED, LOG_DRAINING, LOG_PAUSE,
    LOG_REQUESTS_REFUSED, LOG_REQUEST_FAILED, LOG_REQUEST_UNANSWERABLE, LOG_SILENT_CONNECTION,
    LOG_TASKS_RELEASED, LOG_UNFINISHED, LOG_WORKER_LEAVES, LOG_WORKER_READY, LOG_WORKER_REFUSED)
from .log_queue cimport LOG_TEXT_MAX, log_key, log_t, logs_put
from .state cimport broker_t, peer_t

cdef enum:
    CHANGES_LINES = 10       # of one key in 30 s, where each event is a change of state


# log_lines returns how many lines of a kind, about one peer, are written in 30 s; 0: all. A fault
# that a peer makes is said once and counted; workers that come and go are changes of state.
cdef uint32_t log_lines(uint8_t kind) noexcept nogil:
    if kind == LOG_DRAINING or kind == LOG_DRAINED or kind == LOG_UNFINISHED:
        return 0
    if (LOG_WORKER_READY <= kind <= LOG_WORKER_LEAVES or kind == LOG_PAUSE
            or kind == LOG_SILENT_CONNECTION):
        return CHANGES_LINES
    return 1


# log_about returns the event's key: by the peer's label, else by the text. A worker that is refused
# is known by the service that it names, since it may come again and again by new connections; so
# are released tasks, which their caller counts by service. A request's fate has a code, of which
# there are few; so are the reasons of bad messages, up to the quote of what was sent. What
# a key may not do is about its identity, whatever its peers call themselves; a connection that is
# refused is known by address and reason: it may show any key.
cdef uint64_t log_about(broker_t *b, const log_t *event) noexcept nogil:
    cdef int64_t number = 0
    if (event.kind == LOG_REQUEST_FAILED or event.kind == LOG_REQUEST_UNANSWERABLE
            or event.kind == LOG_REQUESTS_REFUSED or event.kind == LOG_DENIED
            or event.kind == LOG_CONNECTION_REFUSED):
        number = event.number
    elif event.kind == LOG_BAD_MESSAGE:
        number = <int64_t> log_reason(event.text, event.text_size)
    if event.identity_size and event.kind == LOG_DENIED:
        return log_key(b.logs, event.kind, event.identity, event.identity_size, number)
    if (event.label_size and event.kind != LOG_WORKER_REFUSED
            and event.kind != LOG_TASKS_RELEASED and event.kind != LOG_CONNECTION_REFUSED):
        return log_key(b.logs, event.kind, event.label, event.label_size, number)
    return log_key(b.logs, event.kind, event.text, event.text_size, number)


cdef uint64_t log_reason(const uint8_t *text, size_t size) noexcept nogil:
    """FNV-1a of a reason, without what a peer chose of it."""
    cdef uint64_t hash = 14695981039346656037ULL
    cdef size_t i
    for i in range(size):
        if text[i] == c"'":
            break
        hash = (hash ^ text[i]) * 1099511628211ULL
    return hash


# identify notes the name of an identity, if it has one.
cdef void identify(const broker_t *b, uint32_t number, log_t *event) noexcept nogil:
    cdef const keytable_t *table = b.guard.table
    cdef const identity_t *identity
    if number >= table.identities_room:
        return
    identity = &table.identities[number]
    event.identity_size = identity.name_size
    memcpy(event.identity, identity.name, identity.name_size)


cdef uint8_t text_put(uint8_t *to, const uint8_t *text, size_t size) noexcept nogil:
    size = min(size, <size_t> LOG_TEXT_MAX)
    if size:
        memcpy(to, text, size)
    return <uint8_t> size


cdef void log_refused(
        broker_t *b, const uint8_t *key, size_t key_size, uint32_t identity,
        const uint8_t *address, size_t address_size, uint8_t reason) noexcept nogil:
    cdef log_t event
    memset(&event, 0, sizeof(event))
    event.kind = LOG_CONNECTION_REFUSED
    event.number = reason
    event.label_size = text_put(event.label, key, key_size)
    event.text_size = text_put(event.text, address, address_size)
    identify(b, identity, &event)
    logs_put(b.logs, b.now, &event, log_about(b, &event), log_lines(event.kind))


cdef void log_event(
        broker_t *b, uint8_t kind, peer_t *peer, const uint8_t *text, size_t size,
        int64_t number, int64_t other) noexcept nogil:
    cdef log_t event
    memset(&event, 0, sizeof(event))
    event.kind = kind
    event.number = number
    event.other = other
    if peer != NULL:
        CHECK(peer.label.size <= LOG_TEXT_MAX, "a label of %d bytes", <int> peer.label.size)
        event.label_size = peer.label.size
        memcpy(event.label, peer.label.bytes, peer.label.size)
        if unlikely(b.guard != NULL):
            identify(b, peer.rights.identity, &event)
    event.text_size = text_put(event.text, text, size)
    logs_put(b.logs, b.now, &event, log_about(b, &event), log_lines(kind))
