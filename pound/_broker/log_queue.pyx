"""Events on their way to a log (see log_queue.pxd for the rules)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memset

from pound._base.check cimport CHECK
from pound._base.wake cimport POLLIN, pollfd, wait_for, wake_close, wake_drain, wake_open, wake_ring
from .kinds cimport LOG_HELD_BACK

cdef extern from *:
    """
    #define read_acquire(at) __atomic_load_n(at, __ATOMIC_ACQUIRE)
    #define write_release(at, value) __atomic_store_n(at, value, __ATOMIC_RELEASE)
    #define flag_raise(at) __atomic_store_n(at, 1, __ATOMIC_SEQ_CST)
    #define flag_take(at) __atomic_exchange_n(at, 0, __ATOMIC_SEQ_CST)
    #define all_seen() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define count_more(at, more) __atomic_add_fetch(at, more, __ATOMIC_RELAXED)
    #define count_of(at) __atomic_load_n(at, __ATOMIC_RELAXED)
    """
    uint32_t read_acquire(const uint32_t *at) nogil
    void write_release(uint32_t *at, uint32_t value) nogil
    void flag_raise(uint32_t *at) nogil
    uint32_t flag_take(uint32_t *at) nogil
    void all_seen() nogil
    uint64_t count_more(uint64_t *at, uint64_t more) nogil
    uint64_t count_of(const uint64_t *at) nogil

cdef enum:
    COST_NS = 1_000_000_000 // LOG_RATE
    WAIT_NS = 3_600_000_000_000  # a thread that wakes once an hour is still asleep

cdef int64_t WINDOW_NS = LOG_WINDOW_MS * <int64_t> 1_000_000


cdef int logs_open(logs_t *q, uint64_t seed, int64_t now) noexcept nogil:
    cdef uint32_t kind
    q.seed = seed
    q.bell_in = q.bell_out = -1
    for kind in range(LOG_KINDS_MAX):
        q.rates[kind].credit_ns = LOG_BURST * <int64_t> COST_NS
        q.rates[kind].filled_at = now
    return wake_open(&q.bell_in, &q.bell_out)


cdef void logs_free(logs_t *q) noexcept nogil:
    wake_close(q.bell_in, q.bell_out)
    q.bell_in = q.bell_out = -1


# -- the loop's thread ------------------------------------------------------------------------

cdef uint64_t log_key(
        const logs_t *q, uint8_t kind, const uint8_t *about, size_t size, int64_t number
        ) noexcept nogil:
    """FNV-1a with a seed, mixed: two keys that meet share their lines, and nothing worse."""
    cdef uint64_t hash = q.seed ^ 14695981039346656037ULL
    cdef size_t i
    hash = (hash ^ kind) * 1099511628211ULL
    hash = (hash ^ <uint64_t> number) * 1099511628211ULL
    for i in range(size):
        hash = (hash ^ about[i]) * 1099511628211ULL
    hash ^= hash >> 32
    return hash if hash else 1


cdef void logs_put(
        logs_t *q, int64_t now, const log_t *event, uint64_t key, uint32_t lines) noexcept nogil:
    cdef log_key_t *row
    CHECK(event.kind < LOG_KINDS_MAX, "kind %d", <int> event.kind)
    if lines == 0:
        enqueue(q, event)
        return
    row = row_of(q, now, key)
    row.last = event[0]
    row.last_at = now
    row.repeated += 1
    if row.until <= now:
        row.until = now + WINDOW_NS
        row.lines = 0
    if row.lines < lines:
        write_row(q, now, row)


# row_of returns the key's row; one that makes room for it is written first if it owes a line.
cdef log_key_t *row_of(logs_t *q, int64_t now, uint64_t key) noexcept nogil:
    cdef uint32_t first = <uint32_t> key & (LOG_KEYS - LOG_WAYS)
    cdef log_key_t *oldest = &q.keys[first]
    cdef uint32_t i
    CHECK(first + LOG_WAYS <= LOG_KEYS, "row %u", first)
    for i in range(first, first + LOG_WAYS):
        if q.keys[i].hash == key:
            return &q.keys[i]
        if q.keys[i].last_at < oldest.last_at:
            oldest = &q.keys[i]
    if oldest.repeated:
        write_row(q, now, oldest)
    memset(oldest, 0, sizeof(log_key_t))
    oldest.hash = key
    return oldest


# write_row puts a line for the row's last event, which counts those before it.
cdef void write_row(logs_t *q, int64_t now, log_key_t *row) noexcept nogil:
    cdef log_t *event = &row.last
    if not pay(&q.rates[event.kind], now):
        q.rates[event.kind].held_back += row.repeated
    else:
        event.repeated = row.repeated - 1
        event.ago_ms = <uint32_t> ((now - row.last_at) // 1_000_000)
        enqueue(q, event)
    row.repeated = 0
    row.lines += 1


# pay says whether the kind may have another line now.
cdef bint pay(log_rate_t *rate, int64_t now) noexcept nogil:
    rate.credit_ns = min(
        rate.credit_ns + now - rate.filled_at, LOG_BURST * <int64_t> COST_NS)
    rate.filled_at = now
    if rate.credit_ns < COST_NS:
        return 0
    rate.credit_ns -= COST_NS
    return 1


cdef void enqueue(logs_t *q, const log_t *event) noexcept nogil:
    cdef uint32_t head = q.head
    if head - read_acquire(&q.tail) >= LOGS_MAX:
        count_more(&q.dropped, 1)
        return
    q.entries[head & (LOGS_MAX - 1)] = event[0]
    write_release(&q.head, head + 1)
    all_seen()
    if read_acquire(&q.asleep) and flag_take(&q.asleep):
        wake_ring(q.bell_in)


cdef void logs_sweep(logs_t *q, int64_t now, int ends) noexcept nogil:
    cdef log_t queued
    cdef log_rate_t *rate
    cdef uint32_t i
    for i in range(LOG_KEYS):
        if q.keys[i].repeated and (ends or q.keys[i].until <= now):
            q.keys[i].until = now + WINDOW_NS
            q.keys[i].lines = 0
            write_row(q, now, &q.keys[i])
    for i in range(LOG_KINDS_MAX):
        rate = &q.rates[i]
        if rate.held_back and (ends or now - rate.logged_at >= WINDOW_NS):
            memset(&queued, 0, sizeof(log_t))
            queued.kind = LOG_HELD_BACK
            queued.number = i
            queued.other = <int64_t> rate.held_back
            rate.held_back = 0
            rate.logged_at = now
            enqueue(q, &queued)


cdef void logs_close(logs_t *q, int64_t now) noexcept nogil:
    """logs_close puts what has no line yet; afterwards the logging thread ends."""
    logs_sweep(q, now, 1)
    write_release(&q.closed, 1)
    all_seen()
    if flag_take(&q.asleep):
        wake_ring(q.bell_in)


cdef uint64_t logs_dropped(const logs_t *q) noexcept nogil:
    return count_of(&q.dropped)


# -- the logging thread -----------------------------------------------------------------------

cdef int logs_wait(logs_t *q) noexcept nogil:
    cdef pollfd bell
    while True:
        if read_acquire(&q.head) != q.tail:
            return 1
        flag_raise(&q.asleep)
        all_seen()
        if read_acquire(&q.closed):
            return read_acquire(&q.head) != q.tail
        if read_acquire(&q.head) == q.tail:
            bell.fd = q.bell_out
            bell.events = POLLIN
            bell.revents = 0
            wait_for(&bell, 1, WAIT_NS)
            if bell.revents:
                wake_drain(q.bell_out)
        flag_take(&q.asleep)


cdef int logs_take(logs_t *q, log_t *event) noexcept nogil:
    if read_acquire(&q.head) == q.tail:
        return 0
    event[0] = q.entries[q.tail & (LOGS_MAX - 1)]
    write_release(&q.tail, q.tail + 1)
    return 1


cdef void logs_lost(logs_t *q, uint64_t count) noexcept nogil:
    count_more(&q.dropped, count)
