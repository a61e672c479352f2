"""The Guide's dialects for tests: what a message says, and the frames put before a body."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc

from pound._wire.dialects cimport (
    BACKEND as _BACKEND, BAD_ADDRESS, BAD_COMMAND, BAD_EMPTY, BAD_FRAMES, BAD_NONE, BAD_ROLE,
    BAD_SERVICE, BAD_VERSION, DIALECT_BARE, DIALECT_MDP1, DIALECT_MDP2, DIALECT_NONE,
    DIALECT_PLAIN, DIALECT_PND, DIALECT_PPP, FRONTEND as _FRONTEND, HEAD_ANSWER, HEAD_DISCONNECT,
    HEAD_HEARTBEAT, HEAD_MAX, HEAD_PARTIAL, HEAD_TASK, SAID_ANSWER, SAID_BAD, SAID_DISCONNECT,
    SAID_HEARTBEAT, SAID_PACKET, SAID_PARTIAL, SAID_READY, SAID_REQUEST, TOKEN_DIGITS, dialect_head,
    dialect_read, frame_t, message_t)

import enum


class Side(enum.IntEnum):
    """The socket that a message came in on."""

    FRONTEND = _FRONTEND
    BACKEND = _BACKEND


class Dialect(enum.IntEnum):
    """The protocol that a peer speaks."""

    NONE = DIALECT_NONE
    PND = DIALECT_PND
    PLAIN = DIALECT_PLAIN
    BARE = DIALECT_BARE
    PPP = DIALECT_PPP
    MDP1 = DIALECT_MDP1
    MDP2 = DIALECT_MDP2


class Said(enum.IntEnum):
    """What a message says."""

    BAD = SAID_BAD
    PACKET = SAID_PACKET
    REQUEST = SAID_REQUEST
    READY = SAID_READY
    ANSWER = SAID_ANSWER
    PARTIAL = SAID_PARTIAL
    HEARTBEAT = SAID_HEARTBEAT
    DISCONNECT = SAID_DISCONNECT


class Bad(enum.IntEnum):
    """What is wrong with a message."""

    NONE = BAD_NONE
    FRAMES = BAD_FRAMES
    EMPTY = BAD_EMPTY
    COMMAND = BAD_COMMAND
    ADDRESS = BAD_ADDRESS
    SERVICE = BAD_SERVICE
    ROLE = BAD_ROLE
    VERSION = BAD_VERSION


class Head(enum.IntEnum):
    """What the broker tells a peer."""

    TASK = HEAD_TASK
    ANSWER = HEAD_ANSWER
    PARTIAL = HEAD_PARTIAL
    HEARTBEAT = HEAD_HEARTBEAT
    DISCONNECT = HEAD_DISCONNECT


@cython.final
cdef class Message:
    """What `read` found: the fields of message_t; `token` is None unless it is sound."""

    cdef readonly object said
    cdef readonly object dialect
    cdef readonly object error
    cdef readonly object token
    cdef readonly bint delimited
    cdef readonly bint text
    cdef readonly bint worker
    cdef readonly bint worker_numbers
    cdef readonly bytes service
    cdef readonly uint32_t envelope
    cdef readonly uint32_t body
    cdef readonly uint32_t parts

    def __repr__(self):
        return f"<Message {self.dialect!r} {self.said!r} {self.error!r}>"


cdef object _message(const message_t *m):
    cdef Message message = Message.__new__(Message)
    message.said = Said(m.said)
    message.dialect = Dialect(m.dialect)
    message.error = Bad(m.error)
    message.token = m.token if m.token_sound else None
    message.delimited = m.delimited
    message.text = m.text
    message.worker = m.worker
    message.worker_numbers = m.worker_numbers
    message.service = b"" if m.service == NULL else m.service[:m.service_size]
    message.envelope = m.envelope
    message.body = m.body
    message.parts = m.parts
    return message


def read(frames, side):
    """Recognise a message.

    Parameters
    ----------
    frames : sequence of bytes-like
        Without the routing id.
    side : Side
        The socket that it came in on.

    Returns
    -------
    Message
    """
    cdef message_t message
    cdef list views = [memoryview(frame) for frame in frames]
    cdef frame_t *c_frames = <frame_t *>malloc((len(views) + 1) * sizeof(frame_t))
    cdef const uint8_t[::1] view
    cdef uint32_t i
    if c_frames == NULL:
        raise MemoryError
    try:
        # Behind the last frame a trap: a protocol frame at an address that nobody may read.
        c_frames[len(views)].data = <const uint8_t *>1
        c_frames[len(views)].size = 6
        for i, frame in enumerate(views):
            view = frame
            c_frames[i].size = view.shape[0]
            c_frames[i].data = &view[0] if view.shape[0] else NULL
        dialect_read(c_frames, len(views), side, &message)
        return _message(&message)
    finally:
        free(c_frames)


def head(
    dialect, what, *, delimited=False, text=False, worker_numbers=False, token=0,
    bytes service=b"",
):
    """The frames before the body of what the broker tells a peer.

    Returns
    -------
    list of bytes
        Empty if there are none, or if the dialect has no such message.
    """
    cdef frame_t frames[HEAD_MAX]
    cdef uint8_t hex16[TOKEN_DIGITS]
    cdef const uint8_t *name = service
    cdef uint32_t n
    n = dialect_head(
        dialect, what, delimited, text or worker_numbers, token, name, len(service), hex16, frames
    )
    return [frame.data[:frame.size] for frame in frames[:n]]
