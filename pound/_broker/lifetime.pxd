# Making and freeing the broker's data.

from libc.stdint cimport uint32_t, uint64_t

from pound._dispatch.limits cimport limits_t
from .state cimport broker_t

cdef enum:
    SEEDS = 11               # of tables, so that nobody can choose keys that collide


# broker_new gives a broker without tables; NULL: no memory.
cdef broker_t *broker_new() noexcept nogil

# broker_tables makes the tables, and room for messages of `frames_max` frames; 0, or -1: no memory.
cdef int broker_tables(
    broker_t *b, const limits_t *limits, const uint64_t *seeds, uint32_t frames_max
) noexcept nogil

# broker_free frees a broker and what it owns, whatever was made of it.
cdef void broker_free(broker_t *b) noexcept nogil
