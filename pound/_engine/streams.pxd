# A client's side of flow control: a stream goes as fast as it is read.
#
# Client and worker count what the partials of a run cost (partial_cost of _wire/packets.pxd). A run
# is one task; another one has a higher token.
# The worker goes as far as STREAM_FIRST of its own accord, and then as far as the client's last
# CREDIT says: what was read, and a window more. CREDIT is sent when a quarter of what was granted
# is used up, so that a short stream costs none. Partials of a plain request, which nobody reads,
# count as read when they come.
# Invariant: a reader that has read all it was given has granted at least three quarters of a window
#            more, or is about to: no stream is deadlocked.
#            CREDIT is of one run; it is said again behind each repeated REQUEST, since the last one
#            may be lost.
# Cost:      O(1) a partial; a command and a record for each quarter of a window.
# Memory:    none of its own; what it bounds are the partials that were not read: STREAM_FIRST to
#            WINDOW_MAX and one partial a stream.
#
# Everything but stream_read runs on the engine's thread.

from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pound._wire.packets cimport record_t
from pound._zmq.libzmq cimport zmq_msg_t
from .outbox cimport outbox_t
from .requests cimport client_request_t, requests_t, stream_state_t

# stream_looked has the CREDIT of a stream sent, whose caller posted a look_t.
cdef void stream_looked(requests_t *q, uint32_t r) noexcept nogil
# stream_read notes that so many bytes of a stream were read; any thread. 1: post a look_t.
cdef int stream_read(stream_state_t *stream, uint64_t bytes) noexcept nogil
# stream_begin begins a run: what was read of an earlier one makes no room in it. Where a task was
# given back, which the same attempt shows, the stream goes on where it was.
cdef void stream_begin(
    client_request_t *request, uint64_t run, uint8_t attempt) noexcept nogil
# stream_again passes a partial over that a run repeats of the one that was given back: for its
# worker it was read. What the same run says twice counts once.
cdef void stream_again(
    requests_t *q, uint32_t r, const record_t *record, zmq_msg_t *frames) noexcept nogil
# stream_skip passes a partial over that nobody reads.
cdef void stream_skip(
    requests_t *q, uint32_t r, const record_t *record, zmq_msg_t *frames) noexcept nogil
# stream_run returns the run whose partials a request has seen; 0: none.
cdef uint64_t stream_run(const client_request_t *request) noexcept nogil
# stream_unread returns what of a stream's run its caller has not read.
cdef uint64_t stream_unread(const stream_state_t *stream) noexcept nogil
# streams_collect writes the CREDITs that are to be said; stream_repeat the last one of a request
# that was just sent again.
cdef void streams_collect(requests_t *q, outbox_t *out) noexcept nogil
cdef void stream_repeat(outbox_t *out, const client_request_t *request) noexcept nogil
