"""What a peer may do (see rights.pxd for the rules)."""

from .state cimport broker_t


cdef void rights_walk(broker_t *b) noexcept nogil:
    pass
