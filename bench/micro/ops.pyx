# What the micro-benchmarks run: each class makes its state once, `run(n)` does n operations on it
# without Python, and leaves the state as full as it was. Each checks its own outcome: an operation
# that fails raises, so that nothing fast and wrong is measured.
#
# Items are visited in a fixed order that jumps about (`scattered`), as traffic does.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pound._base.buffer cimport buffer_free, buffer_t
from pound._base.heap cimport heap_free, heap_move, heap_push, heap_t, heap_top, places_of, places_t
from pound._base.index cimport (
    index_find, index_free, index_put, index_remove, index_t, keys_of, keys_t)
from pound._base.links cimport (
    link_t, links_of, links_t, queue_append, queue_init, queue_remove, queue_t)
from pound._base.lru cimport (
    lru_enter, lru_entries_of, lru_entries_t, lru_entry_t, lru_first, lru_free, lru_init, lru_leave,
    lru_t)
from pound._base.pool cimport NONE, pool_free, pool_give, pool_init, pool_t, pool_take
from pound._base.table cimport names_free, names_get, names_init, names_put, names_t
from pound._dispatch.dispatcher cimport (
    disp_action, disp_answer, disp_client_done, disp_client_open, disp_delete, disp_delivered,
    disp_new, disp_request, disp_sent, disp_service_open, disp_worker_open, disp_worker_ready)
from pound._dispatch.limits cimport limits_default, limits_t
from pound._dispatch.model cimport (
    ACT_FREE, ACT_TASK, ANS_COUNTED, LIVENESS_ALWAYS, READY_NEW_LIFE, REQ_ACCEPTED, action_t,
    dispatcher_t)
from pound._wire.packets cimport (
    SESSION_SIZE, WIRE_OK, packet_begin, packet_end, packet_next, packet_open, packet_t, part_put,
    put_request, record_t)

cdef enum:
    IN_FLIGHT = 8            # requests that run at once in the dispatcher, or one per worker
    BODY_SIZE = 64
    NAME_SIZE = 5            # of a routing id
    LIVENESS_NS = 3_000_000_000


# scattered gives the i-th item of `count`: a permutation of the low bits' odd multiples.
cdef uint32_t scattered(uint32_t i, uint32_t count) noexcept nogil:
    return <uint32_t> ((<uint64_t> i * 2654435761u) % count)


# --- the leaves

# heap_run gives the first n times a later key, as a timer does that is armed anew.
cdef int heap_run(heap_t *h, places_t places, int64_t *key, uint32_t n) noexcept nogil:
    cdef uint32_t _
    for _ in range(n):
        key[0] += 1
        heap_move(h, places, key[0], heap_top(h))
    return 0


# lru_run gives the first n times a later key, as the LRU does with the worker that was sent a
# task.
cdef int lru_run(lru_t *r, lru_entries_t entries, int64_t *key, uint32_t n) noexcept nogil:
    cdef uint32_t _, first
    for _ in range(n):
        key[0] += 1
        first = lru_first(r, entries)
        lru_leave(r, entries, first)
        if lru_enter(r, entries, key[0], first) != 0:
            return -1
    return 0


# index_run ends the oldest of `count` keys that follow one another and adds the next, n times.
cdef int index_run(index_t *x, uint64_t *keys, uint64_t *key, uint32_t count, uint32_t n
                   ) noexcept nogil:
    cdef keys_t all = keys_of(keys, sizeof(uint64_t))
    cdef uint32_t _, item
    for _ in range(n):
        item = index_find(x, all, key[0] - count)
        if item == NONE:
            return -1
        index_remove(x, key[0] - count, item)
        if index_put(x, all, key[0], item) != 0:
            return -1
        keys[item] = key[0]
        key[0] += 1
    return 0


# names_run looks n keys up.
cdef int names_run(names_t *names, uint32_t count, uint32_t n) noexcept nogil:
    cdef uint8_t key[NAME_SIZE]
    cdef uint32_t i, item
    for i in range(n):
        item = scattered(i, count)
        name_of(key, item)
        if names_get(names, key, NAME_SIZE) != item:
            return -1
    return 0


# name_of writes a key as libzmq makes routing ids: a zero and a number.
cdef void name_of(uint8_t *key, uint32_t item) noexcept nogil:
    key[0] = 0
    (<uint32_t *> (key + 1))[0] = item


# queue_run takes n items out of their places and appends them.
cdef int queue_run(queue_t *q, links_t links, uint32_t count, uint32_t n) noexcept nogil:
    cdef uint32_t i, item
    for i in range(n):
        item = scattered(i, count)
        queue_remove(q, links, item)
        queue_append(q, links, item)
    return 0


# pool_run gives n numbers back and takes one each time.
cdef int pool_run(pool_t *p, void **array, uint32_t count, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        pool_give(p, array, BODY_SIZE, scattered(i, count))
        if pool_take(p, array, BODY_SIZE) == NONE:
            return -1
    return 0


# --- the dispatcher

cdef struct flight_t:        # the tasks that run
    uint64_t token[IN_FLIGHT]
    uint32_t worker[IN_FLIGHT]
    uint32_t count


# take_off hands in a request and takes the task that becomes of it.
cdef int take_off(
    dispatcher_t *d, uint32_t client, uint32_t service, uint64_t id, flight_t *flight
) noexcept nogil:
    cdef uint32_t slot
    cdef const action_t *act
    if disp_request(d, client, id, service, 0, 0, BODY_SIZE, 0, 0, 1, &slot) != REQ_ACCEPTED:
        return -1
    act = disp_action(d)
    if act == NULL or act.kind != ACT_TASK:
        return -1
    flight.token[flight.count] = act.token
    flight.worker[flight.count] = act.peer
    flight.count += 1
    return disp_sent(d, act.slot, act.token, 1)


# land answers the tasks that run and delivers the answers.
cdef int land(dispatcher_t *d, flight_t *flight) noexcept nogil:
    cdef uint32_t i, slot
    cdef int result
    for i in range(flight.count):
        result = disp_answer(
            d, flight.worker[i], flight.token[i], BODY_SIZE, 1, 1, &slot)
        if result != ANS_COUNTED:
            return -1
        disp_delivered(d, slot)
    flight.count = 0
    return 0


# dispatcher_run takes n requests, IN_FLIGHT at a time, through their whole life.
cdef int dispatcher_run(
    dispatcher_t *d, uint32_t client, uint32_t service, uint64_t *id, uint32_t in_flight, uint32_t n
) noexcept nogil:
    cdef flight_t flight
    cdef const action_t *act
    cdef uint32_t _
    flight.count = 0
    for _ in range(n):
        id[0] += 1
        if take_off(d, client, service, id[0], &flight) != 0:
            return -1
        if flight.count < in_flight:
            continue
        if land(d, &flight) != 0:
            return -1
        disp_client_done(d, client, id[0] + 1)
        act = disp_action(d)
        while act != NULL:
            if act.kind != ACT_FREE:
                return -1
            act = disp_action(d)
    return land(d, &flight)


# --- the codec

# write_run writes packets of `records` requests until there were n.
cdef int write_run(buffer_t *b, uint32_t records, uint32_t n) noexcept nogil:
    cdef uint8_t session[SESSION_SIZE]
    cdef uint8_t payload[BODY_SIZE]
    cdef uint8_t *body
    cdef uint32_t i
    memset(session, 1, SESSION_SIZE)
    memset(payload, 2, BODY_SIZE)
    while n >= records:
        if packet_begin(b, session, 1) != 0:
            return -1
        for i in range(records):
            body = put_request(b, i, 0, 1, 0, 0, payload, 0, NULL, 0, 4 + BODY_SIZE)
            if body == NULL:
                return -1
            part_put(body, payload, BODY_SIZE)
        packet_end(b, records)
        n -= records
    return 0


# read_run judges and reads a packet of `records` records until there were n.
cdef int read_run(const buffer_t *b, uint32_t records, uint32_t n) noexcept nogil:
    cdef packet_t packet
    cdef record_t record
    cdef uint32_t seen
    while n >= records:
        if packet_open(b.data, b.size, 0, &packet) != WIRE_OK:
            return -1
        seen = 0
        while packet_next(&packet, &record):
            seen += 1
        if seen != records:
            return -1
        n -= records
    return 0


# --- the handle

cdef int done(int result) except -1:
    if result != 0:
        raise RuntimeError("an operation failed")
    return 0


cdef class Heap:
    """A heap of `count` items."""

    cdef heap_t heap
    cdef uint32_t *place
    cdef int64_t key

    def __cinit__(self, uint32_t count):
        cdef uint32_t i
        self.place = <uint32_t *> calloc(count, sizeof(uint32_t))
        for i in range(count):
            self.key += 1
            done(heap_push(&self.heap, places_of(self.place, sizeof(uint32_t)), self.key, i))

    def __dealloc__(self):
        heap_free(&self.heap)
        free(self.place)

    def run(self, uint32_t n):
        with nogil:
            heap_run(&self.heap, places_of(self.place, sizeof(uint32_t)), &self.key, n)


cdef class Lru:
    """A lru of `count` items."""

    cdef lru_t lru
    cdef lru_entry_t *entry
    cdef int64_t key

    def __cinit__(self, uint32_t count):
        cdef uint32_t i
        self.entry = <lru_entry_t *> calloc(count, sizeof(lru_entry_t))
        lru_init(&self.lru)
        for i in range(count):
            self.key += 1
            done(lru_enter(&self.lru, lru_entries_of(self.entry, sizeof(lru_entry_t)), self.key, i))

    def __dealloc__(self):
        lru_free(&self.lru)
        free(self.entry)

    def run(self, uint32_t n):
        cdef int result
        with nogil:
            result = lru_run(
                &self.lru, lru_entries_of(self.entry, sizeof(lru_entry_t)), &self.key, n)
        done(result)


cdef class Index:
    """An index of `count` keys."""

    cdef index_t index
    cdef uint64_t *keys
    cdef uint64_t key
    cdef uint32_t count

    def __cinit__(self, uint32_t count):
        cdef uint32_t i
        self.count = self.key = count
        self.keys = <uint64_t *> calloc(count, sizeof(uint64_t))
        if self.keys == NULL:
            raise MemoryError
        for i in range(count):
            done(index_put(&self.index, keys_of(self.keys, sizeof(uint64_t)), i, i))
            self.keys[i] = i

    def __dealloc__(self):
        index_free(&self.index)
        free(self.keys)

    def run(self, uint32_t n):
        cdef int result
        with nogil:
            result = index_run(&self.index, self.keys, &self.key, self.count, n)
        done(result)


cdef class Names:
    """A table of `count` routing ids."""

    cdef names_t names
    cdef uint32_t count

    def __cinit__(self, uint32_t count):
        cdef uint8_t key[NAME_SIZE]
        cdef uint32_t i
        self.count = count
        names_init(&self.names, 1, 2)
        for i in range(count):
            name_of(key, i)
            done(names_put(&self.names, key, NAME_SIZE, i))

    def __dealloc__(self):
        names_free(&self.names)

    def run(self, uint32_t n):
        cdef int result
        with nogil:
            result = names_run(&self.names, self.count, n)
        done(result)


cdef class Queue:
    """A list of `count` items."""

    cdef queue_t queue
    cdef link_t *link
    cdef uint32_t count

    def __cinit__(self, uint32_t count):
        cdef uint32_t i
        self.count = count
        self.link = <link_t *> calloc(count, sizeof(link_t))
        queue_init(&self.queue)
        for i in range(count):
            queue_append(&self.queue, links_of(self.link, sizeof(link_t)), i)

    def __dealloc__(self):
        free(self.link)

    def run(self, uint32_t n):
        with nogil:
            queue_run(&self.queue, links_of(self.link, sizeof(link_t)), self.count, n)


cdef class Pool:
    """A pool whose `count` numbers are all in use."""

    cdef pool_t pool
    cdef void *entities
    cdef uint32_t count

    def __cinit__(self, uint32_t count):
        cdef uint32_t _
        self.count = count
        pool_init(&self.pool)
        for _ in range(count):
            done(pool_take(&self.pool, &self.entities, BODY_SIZE) == NONE)

    def __dealloc__(self):
        pool_free(&self.pool)

    def run(self, uint32_t n):
        cdef int result
        with nogil:
            result = pool_run(&self.pool, &self.entities, self.count, n)
        done(result)


cdef class Dispatcher:
    """A dispatcher with one client, one service and `count` workers of capacity 1."""

    cdef dispatcher_t *d
    cdef uint32_t client
    cdef uint32_t service
    cdef uint32_t in_flight
    cdef uint64_t id

    def __cinit__(self, uint32_t count):
        cdef limits_t limits = limits_default()
        cdef uint32_t _, worker
        limits.answers_bytes_max = 0
        self.d = disp_new(&limits, 1, 1)
        if self.d == NULL:
            raise MemoryError
        self.in_flight = min(count, IN_FLIGHT)
        self.service = disp_service_open(self.d, 0, 1, 1, NONE)
        self.client = disp_client_open(self.d, 0, 0)
        for _ in range(count):
            worker = disp_worker_open(self.d, LIVENESS_ALWAYS, LIVENESS_NS, 1, 1)
            done(worker == NONE)
            disp_worker_ready(self.d, worker, 1, &self.service, 1, NULL, 0, READY_NEW_LIFE, 1, 1)

    def __dealloc__(self):
        disp_delete(self.d)

    def run(self, uint32_t n):
        cdef int result
        with nogil:
            result = dispatcher_run(
                self.d, self.client, self.service, &self.id, self.in_flight, n)
        done(result)


cdef class Codec:
    """Packets of `records` REQUESTs with 64 bytes each."""

    cdef buffer_t buffer
    cdef uint32_t records

    def __cinit__(self, uint32_t records):
        self.records = records
        done(write_run(&self.buffer, records, records))

    def __dealloc__(self):
        buffer_free(&self.buffer)

    def write(self, uint32_t n):
        cdef int result
        with nogil:
            result = write_run(&self.buffer, self.records, n)
        done(result)

    def read(self, uint32_t n):
        cdef int result
        with nogil:
            result = read_run(&self.buffer, self.records, n)
        done(result)
