# Events of the broker on their way to a log: rate limits, and the queue between two threads.
#
# The loop's thread puts, the logging thread takes. Neither waits for the other, and the loop takes
# no GIL. When the queue is full, because the log's reader has stopped or the GIL is held, an event
# is counted instead of kept.
#
# Rate: a key is a kind and whom it is about. A key has at most `lines` lines in a window. Its other
# events are counted, and its next line says how many (`repeated`); `logs_sweep` writes that line at
# the latest when the window ends. A kind has at most LOG_BURST lines at once and LOG_RATE a second
# afterwards, whatever peers call themselves; an entry of LOG_HELD_BACK says how many others there
# were.
#
# Invariant: head - tail <= LOGS_MAX; the putter writes `head`, the taker `tail`. An event is in a
#            line, in the `repeated` of a later one, in `held_back` or in `dropped`.
# Cost:      O(1) an event; logs_sweep looks at LOG_KEYS rows, once a second.
# Memory:    fixed, within the struct; two descriptors (one on Linux) from logs_open to logs_free.

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

cdef enum:
    LOG_TEXT_MAX = 64        # bytes of a label or a text; longer ones are cut
    LOGS_MAX = 1024          # events that wait for the logging thread; a power of two
    LOG_KEYS = 1024          # keys remembered; a power of two
    LOG_WAYS = 4             # rows that a key may be in; the one longest unused makes room
    LOG_KINDS_MAX = 64
    LOG_BURST = 1024         # lines of a kind
    LOG_RATE = 16            # a second
    LOG_WINDOW_MS = 30_000

cdef struct log_t:
    int64_t number           # by kind: tasks returned, code, seconds
    int64_t other
    uint32_t repeated        # events of the same key before this one that have no line
    uint32_t ago_ms          # how long before its line this one was
    uint8_t kind
    uint8_t label_size
    uint8_t text_size
    uint8_t identity_size
    uint8_t label[LOG_TEXT_MAX]  # the peer's
    uint8_t identity[LOG_TEXT_MAX]  # the name that its key has; empty: it has none
    uint8_t text[LOG_TEXT_MAX]   # by kind: a service's name, a reason

cdef struct log_key_t:
    uint64_t hash            # 0: the row is free
    int64_t until            # when its window is over
    int64_t last_at          # when `last` was
    uint32_t lines           # written in this window
    uint32_t repeated        # events since the last line
    log_t last

cdef struct log_rate_t:      # of a kind
    int64_t credit_ns        # time saved up: a line costs a second / LOG_RATE
    int64_t filled_at
    int64_t logged_at
    uint64_t held_back

cdef struct logs_t:
    log_t entries[LOGS_MAX]
    uint32_t head            # put so far; atomic, the loop's
    uint32_t tail            # taken so far; atomic, the logging thread's
    uint32_t asleep          # atomic: the logging thread waits for the bell
    uint32_t closed          # atomic: nothing follows
    uint64_t dropped         # atomic: events for which there was no room, or whose handler failed
    int bell_in              # written to wake the logging thread
    int bell_out
    uint64_t seed
    log_rate_t rates[LOG_KINDS_MAX]
    log_key_t keys[LOG_KEYS]

# logs_open readies a zeroed struct: 0, or -1 with errno: no descriptor.
cdef int logs_open(logs_t *q, uint64_t seed, int64_t now) noexcept nogil
cdef void logs_free(logs_t *q) noexcept nogil

# --- the loop's thread

# log_key makes a key of a kind and whom or what it is about.
cdef uint64_t log_key(
    const logs_t *q, uint8_t kind, const uint8_t *about, size_t size, int64_t number
) noexcept nogil
# logs_put puts an event of which `lines` lines a window are written; 0: all of them.
cdef void logs_put(
    logs_t *q, int64_t now, const log_t *event, uint64_t key, uint32_t lines) noexcept nogil
# logs_sweep puts what repeated in windows that are over, or (`ends`) in any window.
cdef void logs_sweep(logs_t *q, int64_t now, int ends) noexcept nogil
cdef void logs_close(logs_t *q, int64_t now) noexcept nogil
cdef uint64_t logs_dropped(const logs_t *q) noexcept nogil

# --- the logging thread

# logs_wait waits for an event: 1, or 0: closed, and nothing is left.
cdef int logs_wait(logs_t *q) noexcept nogil
# logs_take takes the oldest event: 1, or 0: there is none.
cdef int logs_take(logs_t *q, log_t *event) noexcept nogil
# logs_lost counts events that were taken and not written.
cdef void logs_lost(logs_t *q, uint64_t count) noexcept nogil
