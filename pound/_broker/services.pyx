"""The services' names (see services.pxd for the rules)."""

from libc.stdint cimport int64_t, uint32_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from pound._base.array cimport array_room
from pound._base.pool cimport NONE
from pound._base.table cimport names_put, names_remove
from pound._dispatch.dispatcher cimport disp_service_drop, disp_service_open
from .kinds cimport C_NO_MEMORY
from .state cimport broker_t, service_name_t

cdef uint32_t service_named(
        broker_t *b, const uint8_t *name, uint32_t size, int64_t lease_ns, uint8_t how,
        uint32_t client) noexcept nogil:
    cdef uint32_t service = service_find(b, name, size)
    cdef service_name_t *s
    cdef uint8_t *copy
    if service != NONE:
        return service
    copy = <uint8_t *> malloc(size if size else 1)
    if copy == NULL or array_room(<void **> &b.services.at, &b.services.room,
                                  b.d.service_pool.fresh, sizeof(service_name_t)):
        b.counters[C_NO_MEMORY] += 1
        free(copy)
        return NONE
    memcpy(copy, name, size)
    service = disp_service_open(b.d, lease_ns, how, b.now, client)
    if service == NONE:
        free(copy)
        return NONE
    s = &b.services.at[service]
    memset(s, 0, sizeof(service_name_t))
    s.name = copy
    s.size = size
    s.open = 1
    if service >= b.services.count:
        b.services.count = service + 1
    if names_put(&b.services.names, copy, size, service):
        b.counters[C_NO_MEMORY] += 1
        disp_service_drop(b.d, service)
        return NONE
    return service


cdef void service_free(broker_t *b, uint32_t service) noexcept nogil:
    cdef service_name_t *s = &b.services.at[service]
    names_remove(&b.services.names, s.name, s.size)
    free(s.name)
    free(s.rights)
    memset(s, 0, sizeof(service_name_t))
