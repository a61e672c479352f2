"""One budget of bytes for all that the broker holds (rules: _budget.pxd)."""

from libc.stdint cimport int64_t, uint64_t

from pound._actions cimport act
from pound._admission cimport open_bytes
from pound._buffer cimport buffer_free, buffer_t
from pound._dispatcher cimport disp_evict, disp_full
from pound._pipes cimport pipes_bytes
from pound._state cimport (
    C_CONTROL_BYTES, C_HELD_BYTES, C_PIPE_BYTES, C_UNDELIVERED_BYTES, broker_t,
)

cdef extern from *:
    """
    #ifdef __GLIBC__
    #include <malloc.h>
    #define give_back() malloc_trim(0)
    #else
    #define give_back() ((void)0)
    #endif
    """
    void give_back() nogil

cdef enum:
    TRIM_AFTER = 65536       # requests more or fewer that wait, until free memory is given back
    TRIM_BYTES = 16 << 20    # likewise bytes less that are held than there were
    SCRATCH_KEPT = 4 << 20   # bytes of scratch


cdef uint64_t held(broker_t *b) noexcept nogil:
    """Add up what is held."""
    cdef uint64_t bytes = open_bytes(b.d) + b.d.counters.kept_bytes
    b.counters[C_PIPE_BYTES] = <uint64_t> max(0, pipes_bytes(b.pipes))
    return (bytes + b.counters[C_UNDELIVERED_BYTES] + b.counters[C_PIPE_BYTES]
            + b.counters[C_CONTROL_BYTES])


cdef void budget(broker_t *b) noexcept nogil:
    cdef uint64_t bytes = held(b)
    cdef uint64_t most = b.settings.memory_max - b.settings.memory_max // RESERVED_PARTS
    cdef uint64_t kept = b.d.counters.kept_bytes
    if bytes > most and kept:
        disp_evict(b.d, kept - min(kept, bytes - most))
        act(b)
        bytes = held(b)
    b.counters[C_HELD_BYTES] = bytes
    b.held_peak = max(b.held_peak, bytes)
    b.over = bytes > b.settings.memory_max
    b.page_bytes = 0
    disp_full(b.d, bytes > most)


cdef void scratch_trim(buffer_t *scratch) noexcept nogil:
    if scratch.room > SCRATCH_KEPT:
        buffer_free(scratch)


cdef void trim(broker_t *b) noexcept nogil:
    """Libzmq's thread allocates the buffers that it receives in, and the loop frees them.

    Between the requests that stay they leave gaps that malloc keeps, a quarter of what a million of
    them need; and of large bodies that are gone, malloc keeps all.
    """
    cdef int64_t change = <int64_t> b.d.counters.waiting - b.trimmed_at
    scratch_trim(&b.packet)
    scratch_trim(&b.scratch)
    if (change >= TRIM_AFTER or -change >= TRIM_AFTER
            or b.held_peak - b.counters[C_HELD_BYTES] >= TRIM_BYTES):
        b.trimmed_at = <int64_t> b.d.counters.waiting
        b.held_peak = b.counters[C_HELD_BYTES]
        give_back()
