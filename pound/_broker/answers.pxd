# Final answers and partials of workers, of any dialect, handed to the dispatcher.
#
# The caller owns a stored_t until it calls `answer` or `partial`. They always take it: they store
# it or free it.

from libc.stdint cimport uint32_t, uint64_t

from .state cimport broker_t, gap_t, peer_t, stored_t


# answer hands a worker's final answer to the dispatcher; the result is an ANS_*.
cdef int answer(
    broker_t *b, peer_t *peer, uint64_t token, stored_t *record) noexcept nogil

# answer_oversized ends a task whose answer is larger than the broker takes: trying again would
# only make the same answer again. The result is an ANS_*.
cdef int answer_oversized(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil

# answer_bad ends a task whose answer has a bad form, likewise; `why` is in the client's ERROR.
cdef int answer_bad(
    broker_t *b, peer_t *peer, uint64_t token, const char *why) noexcept nogil

# answer_unstored ends a task whose answer finds no memory, likewise.
cdef int answer_unstored(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil

# partial queues a partial of the request in `slot` for its client.
cdef void partial(broker_t *b, uint32_t slot, stored_t *record) noexcept nogil

# partial_dropped ends a request whose partial can't be queued, if its client is sent any.
cdef void partial_dropped(broker_t *b, uint32_t slot, gap_t why) noexcept nogil
