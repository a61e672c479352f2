# What libzmq holds of the messages that were sent, in bytes: its high-water mark counts messages,
# of any size.
#
# A message of COUNTED_FROM bytes and more is counted for its peer and for the broker until libzmq
# has written all of it, or dropped it: its last frame lends its bytes to libzmq, and a callback
# reports the end. What is smaller costs no such frame; a pipe has room for 1,000 messages, so a
# peer that does not read holds less than 1 MiB of them uncounted. Nor is what goes to peers in this
# process (inproc): they may keep the very bytes that they have read.
#
# Invariant: bytes are taken away once for each time they were added, by any thread, whatever became
#            of the peer, of the broker and of its context (pipes.h).
# Cost:      a counted message: two small blocks, four atomic additions; no copy.
# Memory:    a frame's block is freed with the message; pipe_t and pipes_t by who needs them last.

from libc.stdint cimport int64_t, uint64_t

from .libzmq cimport zmq_msg_t

cdef extern from "pound/_zmq/pipes.h" nogil:
    ctypedef struct pipes_t:
        pass
    ctypedef struct pipe_t:
        pass
    pipes_t *pipes_new()
    void pipes_release(pipes_t *all)
    int64_t pipes_bytes(const pipes_t *all)
    pipe_t *pipe_new(pipes_t *all)
    void pipe_release(pipe_t *pipe)
    void pipe_add(pipe_t *pipe, int64_t bytes)
    void pipe_done(pipe_t *pipe, int64_t bytes)
    int64_t pipe_bytes(const pipe_t *pipe)
    int64_t taken_mark(int fd)

cdef enum:
    COUNTED_FROM = 1024      # bytes of a message, FRAME_BYTES for each of its frames included
    FRAME_BYTES = 64         # of a frame beside its bytes

# pipe_count has `bytes` counted in `pipe` until libzmq is done with `frame`, whose message they are
# of: 0, or -1: no memory (nothing changes).
cdef int pipe_count(pipe_t *pipe, zmq_msg_t *frame, int64_t bytes) noexcept nogil
