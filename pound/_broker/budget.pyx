"""One budget of bytes for all that the broker holds (rules: budget.pxd)."""

from libc.stdint cimport int64_t, uint64_t

from pound._base.buffer cimport buffer_free, buffer_t
from pound._dispatch.admission cimport open_bytes
from pound._dispatch.dispatcher cimport disp_evict, disp_full
from pound._wire.dialects cimport BACKEND, FRONTEND
from pound._zmq.pipes cimport pipes_bytes
from .actions cimport act
from .kinds cimport (
    C_BAD_MESSAGES, C_CLOSED_CONNECTIONS, C_CONTROL_BYTES, C_HELD_BYTES, C_PIPE_BYTES,
    C_UNDELIVERED_BYTES)
from .state cimport broker_t
from .unread cimport unread_drop

cdef extern from *:
    """
    #include <fcntl.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <unistd.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #define give_back() malloc_trim(0)

    /* resident gives the bytes of memory that the process has now; 0: not known. */
    static int64_t resident(void) {
        char text[128];
        long long pages = 0;
        int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

        if (fd >= 0) {
            close(fd);
        }
        text[size > 0 ? size : 0] = 0;
        return sscanf(text, "%*d %lld", &pages) == 1 ? pages * sysconf(_SC_PAGESIZE) : 0;
    }
    #else
    #define give_back() ((void)0)
    #define resident() ((int64_t)0)
    #endif
    """
    void give_back() nogil
    int64_t resident() nogil

cdef enum:
    TRIM_AFTER = 65536       # requests more or fewer that wait, until free memory is given back
    TRIM_BYTES = 16 << 20    # likewise bytes less that are held than there were
    SCRATCH_KEPT = 4 << 20   # bytes of scratch
    BESIDE_BYTES = 32 << 20
    BESIDE_PAUSE_NS = 30_000_000_000
    BESIDE_PAUSES_MAX = 32   # of these
    BESIDE_BACKLOG = 256     # messages and records in a turn: the loop has better to do


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
    if unread_drop(b, bytes):
        bytes = held(b)
    b.counters[C_HELD_BYTES] = bytes
    b.budget.held_peak = max(b.budget.held_peak, bytes)
    b.budget.over = bytes > b.settings.memory_max
    b.budget.page_bytes = 0
    disp_full(b.d, bytes > most)


cdef void scratch_trim(buffer_t *scratch) noexcept nogil:
    if scratch.room > SCRATCH_KEPT:
        buffer_free(scratch)


cdef void trim(broker_t *b) noexcept nogil:
    """Libzmq's thread allocates the buffers that it receives in, and the loop frees them.

    Between the requests that stay they leave gaps that malloc keeps, a quarter of what a million of
    them need; and of large bodies that are gone, malloc keeps all.
    """
    cdef int64_t change = <int64_t> b.d.counters.waiting - b.budget.trimmed_at
    scratch_trim(&b.outbound.packet)
    scratch_trim(&b.scratch)
    if (change >= TRIM_AFTER or -change >= TRIM_AFTER
            or b.budget.held_peak - b.counters[C_HELD_BYTES] >= TRIM_BYTES):
        b.budget.trimmed_at = <int64_t> b.d.counters.waiting
        b.budget.held_peak = b.counters[C_HELD_BYTES]
        give_back()


# beside gives the bytes that the process has beside what is held; 0: not known.
cdef int64_t beside(broker_t *b) noexcept nogil:
    cdef int64_t bytes = resident()
    return max(1, bytes - <int64_t> b.counters[C_HELD_BYTES]) if bytes else 0


cdef void trim_beside(broker_t *b) noexcept nogil:
    """What libzmq reads lies in its thread's own heap, and malloc keeps nearly all of that.

    When little is given back, libzmq may not have freed it yet: a later turn tries again.
    """
    cdef uint64_t ended = b.counters[C_CLOSED_CONNECTIONS] + b.counters[C_BAD_MESSAGES]
    cdef int64_t now, given
    if b.budget.beside_least and (
            ended == b.budget.beside_ended or b.now < b.budget.beside_at
            or b.loop.backlog > BESIDE_BACKLOG
            or b.sides[FRONTEND].cutting or b.sides[BACKEND].cutting):
        return
    now = beside(b)
    b.budget.beside_least = min(b.budget.beside_least, now) if b.budget.beside_least else now
    if now - b.budget.beside_least < BESIDE_BYTES:
        return
    give_back()
    given = now - beside(b)
    if given >= BESIDE_BYTES // 2:
        b.budget.beside_ended = ended
        b.budget.beside_pauses = 1
    else:
        b.budget.beside_pauses = min(
            max(1, 2 * b.budget.beside_pauses), <int64_t> BESIDE_PAUSES_MAX)
    b.budget.beside_at = b.now + b.budget.beside_pauses * <int64_t> BESIDE_PAUSE_NS
