# A table of keys in the hands of Python, until a broker takes it.
#
# Memory: owned by the handle; `keytable_taken` gives it away, and the handle is empty then.

from .table cimport keytable_t

# --- with the GIL

cdef class Keytable:
    cdef keytable_t *table   # owned; NULL once it was taken

# keytable_taken returns the table, from malloc, which is the caller's from now on.
cdef keytable_t *keytable_taken(Keytable handle) except NULL
