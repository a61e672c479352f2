# Claims: tasks that their workers were sent in another epoch, by another broker or by this one
# before it was started again, and that a request of this epoch may *adopt*.
#
# A worker claims what it still works on, and what it has answered and keeps the answer of. A claim
# is a task without a request: no answer to it counts, nobody is charged for it, and it ends with
# its worker's life, with the next READY that does not list it, or when it is dropped. While it runs
# it holds its worker's credit; what the worker was not sent yet makes room.
# A request that waits adopts a claim: it runs from then on, as if the worker had been sent it here,
# with a lease of its own. One that was lost twice goes alone, and adopts nothing.
#
# A token is the name of one task only. So a worker may not claim the token of a task that is not
# its own, nor one of the 2^44 that are given out next: more than a claim lives to see. Tokens rise
# with time across epochs, and whoever makes claims has them go on above those of the others first
# (disp_tokens_above).
#
# Cost: O(1) for each claim and O(log n) for an adoption, times the services of the worker.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from .model cimport claim_t, dispatcher_t

# disp_claim_state returns what a token is to a worker that says it holds it (claim_result).
# disp_claims makes claims of a worker or updates them, and takes back what it was not sent yet
# where they leave no room for it. A token that is CLAIM_OTHER or CLAIM_ADOPTED is skipped, and one
# for which there is no memory. It returns how many of them are claims of the worker now; of one
# that is gone, none.
# disp_adopt: 1, the request in `slot`, which waits or was not sent yet, runs as the claimed task,
# after so many attempts elsewhere. 0, nothing has changed: the token is no claim of the worker, the
# worker does not offer the service, or the request was sent, or was lost twice.
# disp_claim_drop forgets a claim, if the token is one.
cdef uint8_t disp_claim_state(const dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil
cdef uint32_t disp_claims(
    dispatcher_t *d, uint32_t w, const claim_t *claims, uint32_t n, int64_t now) noexcept nogil
cdef int disp_adopt(
    dispatcher_t *d, uint32_t w, uint64_t token, uint32_t slot, uint8_t attempt, int64_t now
) noexcept nogil
cdef void disp_claim_drop(
    dispatcher_t *d, uint32_t w, uint64_t token, int64_t now) noexcept nogil
# disp_tokens_above has no token below `floor` given out from now on; it returns the next one.
cdef uint64_t disp_tokens_above(dispatcher_t *d, uint64_t floor) noexcept nogil
