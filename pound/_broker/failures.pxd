# Why a request failed that no worker answered: the code and the sentence of the client's ERROR.

from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t

from .state cimport broker_t, slot_t

cdef enum:
    FAILURE_BYTES = 320      # of a sentence, a worker's label in it


# failure_code gives the code of a request that the dispatcher ended with `code`: a stream with a
# gap has one of its own.
cdef uint16_t failure_code(const slot_t *slot, uint16_t code) noexcept nogil

# failure_text writes the sentence and returns its length. `holder` is the worker that had the
# request at its deadline, or NONE.
cdef int failure_text(
    broker_t *b, uint32_t slot, uint16_t code, uint32_t holder, char *text, size_t room
) noexcept nogil
