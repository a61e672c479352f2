# The broker's own services: pound.status, pound.services, pound.workers (JSON) and MMI (RFC 8).
#
# They are answered in the loop, without Python. A page has at most PAGE_ROWS rows, and `after` asks
# for more. No page shows a session, routing id or token; what peers chose is escaped.

from libc.stdint cimport uint32_t, uint8_t

from .state cimport broker_t

cdef enum page_t:
    PAGE_NONE = 0            # not a name of the broker's own
    PAGE_UNKNOWN             # reserved, but there is no such service
    PAGE_STATUS
    PAGE_SERVICES
    PAGE_WORKERS
    PAGE_MMI_SERVICE
    PAGE_MMI_UNKNOWN         # mmi.* that is not implemented: 501
    PAGE_MMI_HIDDEN          # of a service that its client may not use: 404

cdef enum:
    PAGE_ROWS = 1000


cdef inline bint page_has_rows(uint8_t page) noexcept nogil:
    """page_has_rows says whether a page lists things: up to PAGE_ROWS of them, so it is large."""
    return page == PAGE_SERVICES or page == PAGE_WORKERS


cdef inline bint page_is_mmi(uint8_t page) noexcept nogil:
    return page >= PAGE_MMI_SERVICE


# page_of says which page a service's name stands for.
cdef uint8_t page_of(const uint8_t *name, uint32_t size) noexcept nogil

# page_write makes the REPLY with the page the one record of b.scratch; 0, or -1: no memory.
# `asked` is the request's last body part: JSON {"after": N}, or for MMI a service's name.
cdef int page_write(
    broker_t *b, uint8_t page, const uint8_t *asked, uint32_t size) noexcept nogil
