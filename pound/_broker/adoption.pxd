# Tasks that outlive their broker: requests that were sent to another epoch, and the tasks that
# workers kept from there, find each other by the request's key.
#
# moved    a request that was sent to a broker of another epoch before (MOVED): a worker may hold
#          its task. It is held back for `adopt_wait`, from its arrival.
# claim    a task that a worker kept (HOLDS) and whose request has not come yet. It holds a credit
#          of its worker while its handler runs. When its request comes, it is adopted.
# adopted  a request that runs as a task of another epoch, under that task's token. It is not sent;
#          its worker is told (ACCEPTED), and answers it like any other.
#
# Rules
#   HOLDS goes before READY, which acts on all of them, so that a claim has its credit before
#   anything is matched.
#   A key is known for `client_grace`: then nobody wants a claim any more, and it is cancelled. The
#   same when the request of its key runs elsewhere, or has ended.
#   Of two claims of one key the one with more attempts stays, else the first.
#   Whose tokens lie beyond what any broker can have given out by now is not believed.
#
# Cost:   O(1) expected for a moved request and for each task of a HOLDS. Nobody else pays.
# Memory: some 100 bytes a key, one for each moved request and each claim, KEYS_MAX at most; a
#         worker has at most ANSWERED_MAX claims more than its capacity. What HOLDS says waits for
#         READY: of a worker as many entries as the largest one may have, HOLDS_MAX bytes of all.

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from pound._base.buffer cimport buffer_t
from pound._wire.packets cimport record_t
from .state cimport broker_t, peer_t

cdef enum:
    ANSWERED_MAX = 4096
    ENTRIES_MAX = 65535 + ANSWERED_MAX  # of one worker
    HOLDS_MAX = 64 << 20
    KEYS_MAX = 1 << 20

# adoption_hold is for how long a moved request is held back; 0: not at all.
cdef int64_t adoption_hold(broker_t *b, const record_t *r) noexcept nogil
# adoption_moved looks for the task of a moved request, which was accepted and waits in `slot`.
cdef void adoption_moved(broker_t *b, uint32_t slot, const record_t *r) noexcept nogil
# adoption_heard keeps what a HOLDS says until READY.
cdef void adoption_heard(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil
# adoption_tokens appends the tokens of what was heard to `tokens`, which has room for them.
cdef void adoption_tokens(const peer_t *peer, uint64_t *tokens) noexcept nogil
# adoption_claims makes claims of what was heard: before the worker's READY acts.
cdef void adoption_claims(broker_t *b, peer_t *peer, uint32_t capacity) noexcept nogil
# adoption_match has the requests of those claims adopted, if they are here: after READY.
cdef void adoption_match(broker_t *b, peer_t *peer) noexcept nogil
# adoption_over ends a claim that its worker has answered although nobody has adopted it: it was
# cancelled.
cdef void adoption_over(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil
# adoption_forget drops what was heard.
cdef void adoption_forget(broker_t *b, peer_t *peer) noexcept nogil
# adoption_sweep lets old keys go, and cancels the claims among them.
cdef void adoption_sweep(broker_t *b) noexcept nogil
cdef void adoption_init(broker_t *b, uint64_t seed0, uint64_t seed1) noexcept nogil
cdef void adoption_free(broker_t *b) noexcept nogil
# tokens_now is where the tokens of a broker that starts now begin: they rise with time, across
# brokers, so that a later run of a request has a higher one. `seed` is random.
cdef uint64_t tokens_now(uint64_t seed) noexcept nogil

# adoption_count is how many tasks were heard of.
cdef uint32_t adoption_count(const peer_t *peer) noexcept nogil
