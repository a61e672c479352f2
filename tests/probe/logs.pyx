# A handle for the broker's queue of log events, for tests only.

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pound._broker.log_queue cimport (
    LOGS_MAX, LOG_BURST, LOG_KEYS, LOG_RATE, LOG_WINDOW_MS, log_key, log_t, logs_close,
    logs_dropped, logs_free, logs_lost, logs_open, logs_put, logs_sweep, logs_take, logs_t,
    logs_wait)

ROOM = LOGS_MAX
KEYS = LOG_KEYS
BURST = LOG_BURST
RATE = LOG_RATE
WINDOW_NS = LOG_WINDOW_MS * <int64_t> 1_000_000


cdef class Logs:
    """Events as (kind, label, number, repeated, ago_ms); time as an argument, ns."""

    cdef logs_t *q

    def __cinit__(self, int64_t now=0):
        self.q = <logs_t *> calloc(1, sizeof(logs_t))
        assert self.q != NULL and logs_open(self.q, 7, now) == 0

    def __dealloc__(self):
        logs_free(self.q)
        free(self.q)

    def put(self, int64_t now, uint8_t kind, bytes label, uint32_t lines=1, int64_t number=0):
        cdef log_t event
        memset(&event, 0, sizeof(event))
        event.kind = kind
        event.number = number
        event.label_size = <uint8_t> len(label)
        memcpy(event.label, <const char *> label, event.label_size)
        logs_put(
            self.q, now, &event,
            log_key(self.q, kind, event.label, event.label_size, 0), lines)

    def sweep(self, int64_t now):
        logs_sweep(self.q, now, 0)

    def close(self, int64_t now):
        logs_close(self.q, now)

    def dropped(self):
        return logs_dropped(self.q)

    def lost(self, uint64_t count):
        logs_lost(self.q, count)

    def wait(self):
        cdef int more
        with nogil:
            more = logs_wait(self.q)
        return bool(more)

    def take(self):
        cdef log_t event
        events = []
        while logs_take(self.q, &event):
            events.append((
                event.kind, bytes(event.label[:event.label_size]), event.number, event.repeated,
                event.ago_ms))
        return events
