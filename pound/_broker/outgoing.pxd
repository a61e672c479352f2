# One outgoing message: assembled completely, then sent or dropped. Nothing is sent before it is
# complete, or libzmq would take the next message for the rest of it.
#
# Holds:     `count` frames in use of `room` at `frames`; `starved` when one found no memory.
# Invariant: count <= room, count <= OUTGOING_MAX; the first `count` frames are initialised.
# Bound:     a client's envelope is part of a message that came within frames_max (at most 65,535);
#            a prefix has HEAD_MAX frames; a body has the 65,535 parts that PND's count allows. A
#            body that was kept inline may go to a peer that takes each part in a frame of its own.
# Cost:      amortised O(1) a frame (room doubles).
# Memory:    `frames` is malloc'd and owned by the struct's owner; a zeroed struct is empty. Room
#            beyond OUTGOING_KEPT is freed after the message. A zmq_msg_t may be moved by its bytes,
#            as zmq_msg_move does.

from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from pound._base.check cimport CHECK
from pound._base.hints cimport unlikely
from pound._wire.dialects cimport HEAD_MAX
from pound._zmq.libzmq cimport zmq, zmq_msg_t

cdef enum:
    OUTGOING_ROOM_MIN = 64
    OUTGOING_KEPT = 4096     # frames: 256 KiB
    OUTGOING_MAX = 2 * 65535 + HEAD_MAX

cdef struct outgoing_t:
    zmq_msg_t *frames        # owned
    uint32_t count
    uint32_t room
    uint8_t starved          # there was no memory for one of the frames


# outgoing_grow makes room for more frames: 0, or -1: no memory.
cdef inline int outgoing_grow(outgoing_t *m) noexcept nogil:
    cdef uint32_t room = 2 * m.room if m.room else OUTGOING_ROOM_MIN
    cdef zmq_msg_t *frames
    CHECK(m.count < OUTGOING_MAX, "a message of %u frames", m.count)
    frames = <zmq_msg_t *> realloc(m.frames, room * sizeof(zmq_msg_t))
    if frames == NULL:
        return -1
    m.frames = frames
    m.room = room
    return 0


# outgoing_next gives the place of the next frame, for the caller to initialise; NULL: no memory.
cdef inline zmq_msg_t *outgoing_next(outgoing_t *m) noexcept nogil:
    if unlikely(m.count == m.room) and outgoing_grow(m):
        m.starved = 1
        return NULL
    m.count += 1
    return &m.frames[m.count - 1]


# outgoing_put adds a frame, a copy of these bytes.
cdef inline void outgoing_put(outgoing_t *m, const void *data, size_t size) noexcept nogil:
    cdef zmq_msg_t *frame = outgoing_next(m)
    if unlikely(frame == NULL):
        return
    if unlikely(zmq.msg_init_size(frame, size)):
        m.starved = 1
        zmq.msg_init(frame)
    elif size:
        memcpy(zmq.msg_data(frame), data, size)


# outgoing_share adds a frame that shares the bytes of `body` with it.
cdef inline void outgoing_share(outgoing_t *m, zmq_msg_t *body) noexcept nogil:
    cdef zmq_msg_t *frame = outgoing_next(m)
    if unlikely(frame == NULL):
        return
    zmq.msg_init(frame)
    zmq.msg_copy(frame, body)


# outgoing_free gives the memory back and leaves an empty message.
cdef inline void outgoing_free(outgoing_t *m) noexcept nogil:
    free(m.frames)
    m.frames = NULL
    m.count = m.room = m.starved = 0


# outgoing_end begins the next message: the frames of this one were sent or closed.
cdef inline void outgoing_end(outgoing_t *m) noexcept nogil:
    m.count = m.starved = 0
    if unlikely(m.room > OUTGOING_KEPT):
        outgoing_free(m)
