# What is checked once a second, since no event reports it.
#
# Each look has a bounded number of rows and goes on where the one before ended.
#
# Cost: O(rows) a second.

from .state cimport broker_t

cdef void housekeeping(broker_t *b) noexcept nogil
