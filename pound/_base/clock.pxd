# The clocks (clock.h): nanoseconds, monotonic and since 1970.

from libc.stdint cimport int64_t

cdef extern from "pound/_base/clock.h" nogil:
    int64_t clock_ns()
    int64_t wall_ns()
