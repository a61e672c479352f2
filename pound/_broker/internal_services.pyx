"""The broker's own services (see internal_services.pxd for the rules)."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, strlen

from pound._base.buffer cimport buffer_extend, buffer_t
from pound._base.heap cimport heap_top
from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport disp_held_ms
from pound._dispatch.model cimport PRIORITIES, counters_t, service_t, worker_t
from pound._wire.codes cimport dialect_name
from pound._wire.packets cimport RECORD_SIZE, put_reply, store_u32
from pound.security.table cimport identity_t, keytable_t
from .kinds cimport (
    C_ANSWERS_UNKNOWN, C_CONTROL_BYTES, C_COUNT, C_HELD_BYTES, C_PIPE_BYTES, C_UNDELIVERED_BYTES)
from .services cimport service_find
from .state cimport broker_t, peer_t, service_name_t

cdef enum:
    ESCAPED_MAX = 6          # bytes of one escaped byte: \u00XX
    FLOWS_LOOKED = 64        # of a priority, for the oldest request: a page must not take long


# -- names ------------------------------------------------------------------------------------

cdef int is_name(const uint8_t *name, uint32_t size, const char *text) noexcept nogil:
    return size == strlen(text) and memcmp(name, text, size) == 0


cdef int begins(const uint8_t *name, uint32_t size, const char *text) noexcept nogil:
    return size >= strlen(text) and memcmp(name, text, strlen(text)) == 0


cdef uint8_t page_of(const uint8_t *name, uint32_t size) noexcept nogil:
    if begins(name, size, "mmi."):
        return PAGE_MMI_SERVICE if is_name(name, size, "mmi.service") else PAGE_MMI_UNKNOWN
    if is_name(name, size, "pound.status"):
        return PAGE_STATUS
    if is_name(name, size, "pound.services"):
        return PAGE_SERVICES
    if is_name(name, size, "pound.workers"):
        return PAGE_WORKERS
    if begins(name, size, "pound."):
        return PAGE_UNKNOWN
    return PAGE_NONE


# -- JSON -------------------------------------------------------------------------------------

cdef void put(buffer_t *out, const void *data, size_t size) noexcept nogil:
    cdef uint8_t *at = buffer_extend(out, size)
    if at != NULL:
        memcpy(at, data, size)


cdef void put_text(buffer_t *out, const char *text) noexcept nogil:
    put(out, text, strlen(text))


# utf8_size gives the length of the UTF-8 sequence of 2..4 bytes that begins at data, as far as its
# form shows; 0: there is none.
cdef uint32_t utf8_size(const uint8_t *data, uint32_t left) noexcept nogil:
    cdef uint32_t size = 2 if 0xC2 <= data[0] < 0xE0 else 3
    cdef uint32_t i
    if data[0] < 0xC2 or data[0] > 0xF4:
        return 0
    if data[0] >= 0xF0:
        size = 4
    if size > left or (data[0] == 0xE0 and data[1] < 0xA0) or (
            data[0] == 0xED and data[1] >= 0xA0) or (
            data[0] == 0xF0 and data[1] < 0x90) or (data[0] == 0xF4 and data[1] >= 0x90):
        return 0
    for i in range(1, size):
        if data[i] & 0xC0 != 0x80:
            return 0
    return size


# put_bytes writes what a peer chose as a JSON string: text as it is, other bytes escaped.
cdef void put_bytes(buffer_t *out, const uint8_t *data, uint32_t size) noexcept nogil:
    cdef char escaped[ESCAPED_MAX + 1]
    cdef uint32_t i = 0
    cdef uint32_t step
    put_text(out, "\"")
    while i < size:
        step = 1
        if data[i] == 0x22 or data[i] == 0x5C:
            put_text(out, "\\")
            put(out, data + i, 1)
        elif 0x20 <= data[i] < 0x7F:
            put(out, data + i, 1)
        elif utf8_size(data + i, size - i):
            step = utf8_size(data + i, size - i)
            put(out, data + i, step)
        else:
            snprintf(escaped, sizeof(escaped), "\\u%04x", <unsigned int> data[i])
            put_text(out, escaped)
        i += step
    put_text(out, "\"")


# put_key begins a member: its separator, unless it is the first, and its name.
cdef void put_key(buffer_t *out, const char *key) noexcept nogil:
    cdef uint8_t last = out.data[out.size - 1]
    if last != 0x7B:
        put_text(out, ",")
    put_text(out, "\"")
    put_text(out, key)
    put_text(out, "\":")


# put_row begins an element of an array.
cdef void put_row(buffer_t *out) noexcept nogil:
    put_text(out, "{" if out.data[out.size - 1] == 0x5B else ",{")


cdef void put_number(buffer_t *out, const char *key, int64_t number) noexcept nogil:
    cdef char text[24]
    snprintf(text, sizeof(text), "%lld", <long long> number)
    put_key(out, key)
    put_text(out, text)


cdef void put_truth(buffer_t *out, const char *key, int truth) noexcept nogil:
    put_key(out, key)
    put_text(out, "true" if truth else "false")


cdef void put_null(buffer_t *out, const char *key) noexcept nogil:
    put_key(out, key)
    put_text(out, "null")


# put_age writes how long ago something was, in ms; INT64_MAX: null, it was never.
cdef void put_age(buffer_t *out, const char *key, int64_t now, int64_t since) noexcept nogil:
    if since != INT64_MAX:
        put_number(out, key, max(now - since, 0) // 1000000)
    else:
        put_null(out, key)


cdef void put_after(buffer_t *out, uint32_t next, int more) noexcept nogil:
    if more:
        put_number(out, "after", next)
    else:
        put_null(out, "after")


# after_of reads N of {"after": N}; 0 where there is none.
cdef uint32_t after_of(const uint8_t *asked, uint32_t size) noexcept nogil:
    cdef uint64_t number = 0
    cdef uint32_t i = 0
    while i < size and not 0x30 <= asked[i] <= 0x39:
        i += 1
    while i < size and 0x30 <= asked[i] <= 0x39 and number < NONE:
        number = 10 * number + asked[i] - 0x30
        i += 1
    return <uint32_t> number if number < NONE else NONE


# -- pages ------------------------------------------------------------------------------------

cdef int page_write(
        broker_t *b, uint8_t page, const uint8_t *asked, uint32_t size) noexcept nogil:
    cdef buffer_t *out = &b.scratch
    cdef size_t begin = RECORD_SIZE + 4
    out.size = 0
    if put_reply(out, 0, 0, 1, 4) == NULL:
        return -1
    if page == PAGE_STATUS:
        page_status(b, out)
    elif page == PAGE_SERVICES:
        page_services(b, out, after_of(asked, size))
    elif page == PAGE_WORKERS:
        page_workers(b, out, after_of(asked, size))
    elif page == PAGE_MMI_SERVICE:
        put_text(out, "200" if offered(b, asked, size) else "404")
    else:
        put_text(out, "404" if page == PAGE_MMI_HIDDEN else "501")
    store_u32(out.data, <uint32_t> out.size)
    store_u32(out.data + RECORD_SIZE, <uint32_t> (out.size - begin))
    return 0


# offered says whether a worker, busy or not, offers the service.
cdef int offered(broker_t *b, const uint8_t *name, uint32_t size) noexcept nogil:
    cdef uint32_t service = service_find(b, name, size)
    return service != NONE and b.d.services[service].workers > 0


cdef void page_status(broker_t *b, buffer_t *out) noexcept nogil:
    put_text(out, "{")
    put_key(out, "version")
    put_bytes(out, <const uint8_t *> b.about.version, <uint32_t> strlen(b.about.version))
    put_number(out, "uptime_ms", (b.now - b.loop.started) // 1000000)
    put_truth(out, "draining", b.drain.draining)
    put_key(out, "endpoints")
    put_text(out, b.about.endpoints)
    put_number(out, "clients", <int64_t> b.d.counters.clients)
    put_number(out, "workers", <int64_t> b.d.counters.workers)
    put_number(out, "services", <int64_t> (b.d.counters.services - b.d.shares.internal))
    page_memory(b, out)
    put_key(out, "counters")
    put_text(out, "{")
    page_counters(b, out)
    put_text(out, "}}")


cdef void page_memory(broker_t *b, buffer_t *out) noexcept nogil:
    put_key(out, "memory")
    put_text(out, "{")
    put_number(out, "waiting", <int64_t> b.d.counters.waiting_bytes)
    put_number(out, "running", <int64_t> b.d.counters.running_bytes)
    put_number(out, "undelivered", <int64_t> b.counters[C_UNDELIVERED_BYTES])
    put_number(out, "kept", <int64_t> b.d.counters.kept_bytes)
    put_number(out, "pipes", <int64_t> b.counters[C_PIPE_BYTES])
    put_number(out, "control", <int64_t> b.counters[C_CONTROL_BYTES])
    put_number(out, "total", <int64_t> b.counters[C_HELD_BYTES])
    put_number(out, "max", <int64_t> b.settings.memory_max)
    put_text(out, "}")


cdef void page_counters(broker_t *b, buffer_t *out) noexcept nogil:
    cdef counters_t decided = b.d.counters
    cdef uint64_t *at = <uint64_t *> &decided
    cdef uint32_t i
    # An answer of a session that is no worker any more is late, too.
    decided.answers_late += b.counters[C_ANSWERS_UNKNOWN]
    for i in range(sizeof(counters_t) // sizeof(uint64_t)):
        if (&at[i] != &decided.clients and &at[i] != &decided.workers
                and &at[i] != &decided.services):  # these are above
            put_number(out, b.about.dispatcher_names[i], <int64_t> at[i])
    for i in range(C_COUNT):
        put_number(out, b.about.counter_names[i], <int64_t> b.counters[i])


cdef void page_services(broker_t *b, buffer_t *out, uint32_t after) noexcept nogil:
    cdef uint32_t rows = 0
    cdef uint32_t s = after
    cdef service_name_t *name
    put_text(out, "{\"services\":[")
    while s < b.services.count and rows < PAGE_ROWS:
        name = &b.services.at[s]
        if name.open and page_of(name.name, name.size) == PAGE_NONE:
            rows += 1
            service_row(b, out, s, name)
        s += 1
    put_text(out, "]")
    put_after(out, s, s < b.services.count)
    put_text(out, "}")


cdef void service_row(
        broker_t *b, buffer_t *out, uint32_t number, service_name_t *name) noexcept nogil:
    cdef service_t *s = &b.d.services[number]
    put_row(out)
    put_key(out, "name")
    put_bytes(out, name.name, name.size)
    put_number(out, "waiting", <int64_t> s.waiting)
    put_number(out, "delayed", <int64_t> s.delayed)
    put_number(out, "running", <int64_t> s.running)
    put_number(out, "workers", s.workers)
    put_number(out, "waiting_bytes", <int64_t> s.waiting_bytes)
    put_age(out, "oldest_wait_ms", b.now, oldest_wait(b, s))
    if s.workers == 0 and s.waiting:
        put_number(out, "workerless_ms", (b.now - s.workerless_since) // 1000000)
    else:
        put_null(out, "workerless_ms")
    put_text(out, "}")


# oldest_wait gives since when the first request of the service's queues waits: the earliest of
# their heads, one for each priority and kind; INT64_MAX: none waits. Where more than FLOWS_LOOKED
# clients wait in a priority, it is the earliest of those who are next.
cdef int64_t oldest_wait(const broker_t *b, const service_t *s) noexcept nogil:
    cdef int64_t oldest = waits_since(b, heap_top(&s.isolated))
    cdef int p
    for p in range(PRIORITIES):
        oldest = min(oldest, waits_since(b, heap_top(&s.returned[p])))
        oldest = min(oldest, oldest_fresh(b, s.turns[p]))
    return oldest


cdef int64_t oldest_fresh(const broker_t *b, uint32_t first) noexcept nogil:
    cdef int64_t oldest = INT64_MAX
    cdef uint32_t f = first
    cdef uint32_t _
    for _ in range(FLOWS_LOOKED):
        if f == NONE:
            return oldest
        oldest = min(oldest, waits_since(b, b.d.flows.at[f].requests.head))
        f = b.d.flows.at[f].ring.next
        if f == first:
            return oldest
    return oldest


cdef int64_t waits_since(const broker_t *b, uint32_t slot) noexcept nogil:
    return INT64_MAX if slot == NONE else b.d.requests[slot].since


cdef void page_workers(broker_t *b, buffer_t *out, uint32_t after) noexcept nogil:
    cdef uint32_t rows = 0
    cdef uint32_t w = after
    put_text(out, "{\"workers\":[")
    while w < b.peers.workers_room and rows < PAGE_ROWS:
        if b.peers.of_worker[w] != NULL and not b.d.workers[w].gone:
            rows += 1
            worker_row(b, out, w, b.peers.of_worker[w])
        w += 1
    put_text(out, "]")
    put_after(out, w, w < b.peers.workers_room)
    put_text(out, "}")


# put_identity writes the name that a peer's key has, or null.
cdef void put_identity(broker_t *b, buffer_t *out, const peer_t *peer) noexcept nogil:
    cdef const keytable_t *table = b.guard.table
    cdef const identity_t *identity
    if peer.rights.identity >= table.identities_room:
        put_null(out, "identity")
        return
    identity = &table.identities[peer.rights.identity]
    put_key(out, "identity")
    put_bytes(out, identity.name, identity.name_size)


cdef void worker_row(
        broker_t *b, buffer_t *out, uint32_t number, peer_t *peer) noexcept nogil:
    cdef worker_t *w = &b.d.workers[number]
    cdef uint32_t i, s
    put_row(out)
    put_number(out, "number", number)
    put_key(out, "dialect")
    put_text(out, "\"")
    put_text(out, dialect_name(peer.dialect))
    put_text(out, "\"")
    put_key(out, "label")
    put_bytes(out, peer.label.bytes, peer.label.size)
    if b.guard != NULL:
        put_identity(b, out, peer)
    put_key(out, "services")
    put_text(out, "[")
    for i in range(w.n_offers):
        s = b.d.offers[w.offers[i]].service
        if i:
            put_text(out, ",")
        put_bytes(out, b.services.at[s].name, b.services.at[s].size)
    put_text(out, "]")
    put_number(out, "capacity", w.capacity)
    put_number(out, "held", w.held)
    if w.held:
        put_number(out, "oldest_ms", disp_held_ms(b.d, number, b.now))
    else:
        put_null(out, "oldest_ms")
    put_number(out, "idle_ms", (b.now - b.loop.paused - w.last_heard) // 1000000)
    put_key(out, "state")
    put_text(out, worker_state(w))
    put_text(out, "}")


cdef const char *worker_state(worker_t *w) noexcept nogil:
    if w.leaving:
        return "\"leaving\""
    if w.blocked_at != NONE:
        return "\"blocked\""
    if w.reserved_for != NONE:
        return "\"reserved\""
    return "\"busy\"" if w.held >= w.capacity else "\"ready\""
