"""What libzmq holds, in bytes: frames that are counted until it is done (rules: pipes.pxd)."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from .libzmq cimport zmq, zmq_msg_t

cdef struct counted_t:       # behind a counted frame
    pipe_t *pipe
    int64_t bytes
    zmq_msg_t body           # whose bytes the frame lends


cdef void count_done(void *data, void *hint) noexcept nogil:
    """Libzmq is done with a counted frame; in any thread, maybe after the broker's end."""
    cdef counted_t *counted = <counted_t *> hint
    zmq.msg_close(&counted.body)
    pipe_done(counted.pipe, counted.bytes)
    free(counted)


cdef int pipe_count(pipe_t *pipe, zmq_msg_t *frame, int64_t bytes) noexcept nogil:
    cdef counted_t *counted = <counted_t *> malloc(sizeof(counted_t))
    cdef zmq_msg_t lent
    if counted == NULL:
        return -1
    zmq.msg_init(&counted.body)
    zmq.msg_move(&counted.body, frame)
    if zmq.msg_init_data(&lent, zmq.msg_data(&counted.body), zmq.msg_size(&counted.body),
                         count_done, counted):
        zmq.msg_move(frame, &counted.body)
        zmq.msg_close(&counted.body)
        free(counted)
        return -1
    counted.pipe = pipe
    counted.bytes = bytes
    pipe_add(pipe, bytes)
    zmq.msg_move(frame, &lent)
    return 0
