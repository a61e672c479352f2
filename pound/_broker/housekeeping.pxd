# What is checked once a second, since no event reports it.
#
# Each check looks at a bounded number of rows, and continues where the last one ended.
#
# Cost: O(rows) a second.

from .state cimport broker_t

cdef void housekeeping(broker_t *b) noexcept nogil
