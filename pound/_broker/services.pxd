# The names of services, and their numbers.
#
# Cost:   O(length of the name).
# Memory: names are copies, owned by b.services.at. A name and its number live until the dispatcher
#         frees the number (ACT_SERVICE_FREE).

from libc.stdint cimport int64_t, uint32_t, uint8_t

from pound._base.table cimport names_get
from .state cimport broker_t


cdef inline uint32_t service_find(broker_t *b, const uint8_t *name, uint32_t size) noexcept nogil:
    """service_find gives the number of a name, NONE for an unknown one; "" is the default one."""
    if size == 0:
        return b.services.unnamed
    return names_get(&b.services.names, name, size)


# service_named makes the name if it is unknown: NONE when there are too many
# (disp_service_refusal), or no memory. `client` asks for it, or NONE. A caller that then
# has no use for it calls disp_service_drop, or it stays.
cdef uint32_t service_named(
    broker_t *b, const uint8_t *name, uint32_t size, int64_t lease_ns, uint8_t how,
    uint32_t client) noexcept nogil
cdef void service_free(broker_t *b, uint32_t service) noexcept nogil
