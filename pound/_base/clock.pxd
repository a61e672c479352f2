# The clock (clock.h): monotonic nanoseconds.

from libc.stdint cimport int64_t

cdef extern from "pound/_base/clock.h" nogil:
    int64_t clock_ns()
