# The dispatcher's memory: its first allocation and its end. In between each array grows with its
# pool, each heap by itself, and none shrinks.

from libc.stdint cimport uint32_t
from libc.stdlib cimport free

from pound._base.heap cimport heap_free
from pound._base.index cimport index_free
from pound._base.lru cimport lru_free
from pound._base.pool cimport pool_free, pool_init, pool_reserve
from pound._base.table cimport table_free, table_reserve
from .model cimport (
    PRIORITIES, client_t, dispatcher_t, flow_t, offer_t, request_t, service_t, task_t, worker_t)


cdef inline int memory_init(dispatcher_t *d) noexcept nogil:
    """memory_init allocates the first room of each array; -1: no memory."""
    pool_init(&d.request_pool)
    pool_init(&d.task_pool)
    pool_init(&d.client_pool)
    pool_init(&d.worker_pool)
    pool_init(&d.service_pool)
    pool_init(&d.offer_pool)
    pool_init(&d.flows.pool)
    pool_init(&d.owners.pool)
    if (pool_reserve(&d.request_pool, <void **> &d.requests, sizeof(request_t)) < 0
            or pool_reserve(&d.task_pool, <void **> &d.tasks, sizeof(task_t)) < 0
            or pool_reserve(&d.client_pool, <void **> &d.clients, sizeof(client_t)) < 0
            or pool_reserve(&d.worker_pool, <void **> &d.workers, sizeof(worker_t)) < 0
            or pool_reserve(&d.service_pool, <void **> &d.services, sizeof(service_t)) < 0
            or pool_reserve(&d.offer_pool, <void **> &d.offers, sizeof(offer_t)) < 0
            or pool_reserve(&d.flows.pool, <void **> &d.flows.at, sizeof(flow_t)) < 0
            or table_reserve(&d.flows.found) < 0):
        return -1
    return 0


cdef inline void memory_free(dispatcher_t *d) noexcept nogil:
    """memory_free frees all that the dispatcher owns but itself."""
    cdef uint32_t i, p
    for i in range(d.client_pool.fresh):
        if d.clients[i].used:
            index_free(&d.clients[i].ids)
    for i in range(d.worker_pool.fresh):
        if d.workers[i].used:
            free(d.workers[i].offers)
    for i in range(d.service_pool.fresh):
        if d.services[i].used:
            lru_free(&d.services[i].idle)
            lru_free(&d.services[i].busy)
            heap_free(&d.services[i].isolated)
            for p in range(PRIORITIES):
                heap_free(&d.services[i].returned[p])
    heap_free(&d.timers.deadlines)
    heap_free(&d.timers.leases)
    heap_free(&d.timers.delays)
    heap_free(&d.timers.blocked_ends)
    heap_free(&d.timers.graces)
    heap_free(&d.timers.service_waits)
    heap_free(&d.timers.liveness)
    heap_free(&d.unmatched)
    heap_free(&d.unserved)
    heap_free(&d.timers.scratch)
    index_free(&d.by_token)
    pool_free(&d.request_pool)
    pool_free(&d.task_pool)
    pool_free(&d.client_pool)
    pool_free(&d.worker_pool)
    pool_free(&d.service_pool)
    pool_free(&d.offer_pool)
    pool_free(&d.flows.pool)
    pool_free(&d.owners.pool)
    table_free(&d.flows.found)
    table_free(&d.owners.found)
    free(d.owners.at)
    free(d.owners.charges)
    free(d.actions.items)
