"""Records that are kept, where they have attached parts (see records.pxd for the rules)."""

from libc.stdint cimport uint32_t, uint8_t

from pound._zmq.libzmq cimport zmq
from .state cimport C_NO_MEMORY, broker_t, stored_t


cdef int stored_failed(broker_t *b, stored_t *record) noexcept nogil:
    record.size = record.attached = 0
    b.counters[C_NO_MEMORY] += 1
    return -1


cdef void attached_init(const stored_t *record) noexcept nogil:
    cdef uint32_t i
    for i in range(record.attached):
        zmq.msg_init(&stored_attached(record)[i])


cdef void attached_close(const stored_t *record) noexcept nogil:
    cdef uint32_t i
    for i in range(record.attached):
        zmq.msg_close(&stored_attached(record)[i])


cdef int stored_again(
        broker_t *b, stored_t *record, const uint8_t *image, uint32_t size) noexcept nogil:
    cdef stored_t fresh
    cdef uint32_t i
    if stored_fill(b, &fresh, image, size, record.attached):
        return -1
    for i in range(record.attached):
        zmq.msg_move(&stored_attached(&fresh)[i], &stored_attached(record)[i])
    stored_clear(b, record)
    record[0] = fresh
    return 0
