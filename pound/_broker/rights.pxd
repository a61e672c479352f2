# What a peer that was let in may do: by the key that its connection proved.

from .state cimport broker_t

# rights_walk looks at all routes and peers once more: a key has expired, or the table is a new one.
cdef void rights_walk(broker_t *b) noexcept nogil
