# The end of each call to the dispatcher: what it made possible is matched.

from pound._base.check cimport POUND_CHECKS
from .audit cimport audit
from .matching cimport settle
from .model cimport dispatcher_t


cdef inline void finish(dispatcher_t *d) noexcept nogil:
    """finish ends a call."""
    if d.unmatched.count > 0 or d.unserved.count > 0:
        settle(d)
    if POUND_CHECKS:
        audit(d)
