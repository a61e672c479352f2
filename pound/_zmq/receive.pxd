# Reading a socket and its monitor without waiting.
#
# A descriptor of libzmq's is readable once for each notice that came in: a reader reads until there
# is nothing left, and looks once more after sending, which may take the notice in.

from libc.errno cimport EINTR
from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.string cimport memcpy

from pound._base.hints cimport unlikely
from .libzmq cimport ZMQ_DONTWAIT, zmq, zmq_msg_t

cdef enum:
    MONITOR_EVENT_BYTES = 6  # of the first frame: the event and its value


cdef inline int receive_now(zmq_msg_t *msg, void *socket) noexcept nogil:
    """receive_now reads a frame: its size, or -1: there is none, or zmq.errnum() says why not."""
    cdef int size = zmq.msg_recv(msg, socket, ZMQ_DONTWAIT)
    while unlikely(size < 0) and zmq.errnum() == EINTR:
        size = zmq.msg_recv(msg, socket, ZMQ_DONTWAIT)
    return size


cdef inline int monitor_next(
    void *monitor, zmq_msg_t *msg, uint16_t *event, uint32_t *value
) noexcept nogil:
    """monitor_next reads the next event of a monitor, by `msg`: 1, or 0: there is none."""
    cdef const uint8_t *data
    event[0] = 0
    if receive_now(msg, monitor) < 0:
        return 0
    if zmq.msg_size(msg) == MONITOR_EVENT_BYTES:
        data = <const uint8_t *> zmq.msg_data(msg)
        memcpy(event, data, 2)
        memcpy(value, data + 2, 4)
    while zmq.msg_more(msg):  # the endpoint
        if receive_now(msg, monitor) < 0:
            break
    return 1
