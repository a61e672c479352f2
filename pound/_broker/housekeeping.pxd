# What is looked after once a second: what nobody is told by an event.
#
# Each look has a bounded number of rows and goes on where the one before ended.
#
# Cost: O(rows) a second.

from .state cimport broker_t

cdef void housekeeping(broker_t *b) noexcept nogil
