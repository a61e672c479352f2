# Flows: whose fresh request is next. Owners take turns: nobody waits behind another's queue.
#
# A flow is the fresh requests of one owner, in one service and priority, in order of acceptance.
# The flows of a service and priority form a ring. The first one in it has the turn: it is given
# as many tasks as its owner has weight, then goes to the end (weighted round robin). So an owner
# that begins to wait is served after at most one turn of each other, however much they have
# waiting. A flow that is empty leaves the ring, and what was left of its turn with it; it comes
# in again at the end.
#
# Invariant: between two calls, an owner with fresh requests in a service and priority has one flow
#            there, which is in the ring and has been given less than its weight in this turn.
# Cost:      O(1), expected where a flow is looked up: a client knows the flow that it entered last,
#            a fresh request its own.
# Memory:    32 bytes a flow, and 16 to 32 to find it. A new one is reserved before its request is
#            accepted.

from libc.stdint cimport uint32_t, uint64_t

from pound._base.check cimport CHECK
from pound._base.hints cimport likely
from pound._base.links cimport links_of, links_t, queue_append, queue_init, queue_remove
from pound._base.pool cimport NONE, pool_give, pool_reserve, pool_t, pool_take
from pound._base.table cimport (
    mix, table_first, table_next, table_put, table_remove, table_reserve)
from .model cimport client_t, dispatcher_t, flow_t, request_t, service_t
from .owners cimport owner_weight


cdef inline links_t flow_links(dispatcher_t *d) noexcept nogil:
    """flow_links says where a fresh request keeps its neighbours."""
    return links_of(&d.requests[0].queue, sizeof(request_t))


# --- to find one ---

cdef inline bint flow_is(
    const flow_t *flow, uint32_t owner, uint32_t s, uint32_t p
) noexcept nogil:
    return flow.owner == owner and flow.service == s and flow.priority == p and flow.used


cdef inline uint32_t flow_hash(
    const dispatcher_t *d, uint32_t owner, uint32_t s, uint32_t p
) noexcept nogil:
    return <uint32_t> mix((<uint64_t> owner << 32 | s) ^ mix(d.hash_seed + p))


cdef inline uint32_t flow_cell(
    const dispatcher_t *d, uint32_t owner, uint32_t s, uint32_t p
) noexcept nogil:
    """flow_cell returns the cell of an owner's flow in the table, or NONE."""
    cdef uint32_t hash = flow_hash(d, owner, s, p)
    cdef uint32_t at = table_first(&d.flows.found, hash)
    while at != NONE and not flow_is(&d.flows.at[d.flows.found.cells[at].item], owner, s, p):
        at = table_next(&d.flows.found, hash, at)
    return at


cdef inline uint32_t flow_find(
    const dispatcher_t *d, uint32_t owner, uint32_t s, uint32_t p
) noexcept nogil:
    """flow_find returns an owner's flow, or NONE."""
    cdef uint32_t at = flow_cell(d, owner, s, p)
    return NONE if at == NONE else d.flows.found.cells[at].item


# --- the ring ---

cdef inline void ring_enter(dispatcher_t *d, service_t *service, uint32_t f) noexcept nogil:
    """ring_enter puts a flow at the end: before the one that has the turn."""
    cdef flow_t *flow = &d.flows.at[f]
    cdef uint32_t first = service.turns[flow.priority]
    if first == NONE:
        flow.ring.prev = flow.ring.next = service.turns[flow.priority] = f
        return
    flow.ring.next = first
    flow.ring.prev = d.flows.at[first].ring.prev
    d.flows.at[flow.ring.prev].ring.next = f
    d.flows.at[first].ring.prev = f


cdef inline void ring_leave(dispatcher_t *d, service_t *service, uint32_t f) noexcept nogil:
    """ring_leave takes a flow out; if it had the turn, the next one has it."""
    cdef flow_t *flow = &d.flows.at[f]
    d.flows.at[flow.ring.prev].ring.next = flow.ring.next
    d.flows.at[flow.ring.next].ring.prev = flow.ring.prev
    if service.turns[flow.priority] == f:
        service.turns[flow.priority] = NONE if flow.ring.next == f else flow.ring.next


cdef inline uint32_t flow_serve(dispatcher_t *d, service_t *service, uint32_t p) noexcept nogil:
    """flow_serve returns the fresh request that is given out next; it counts in its owner's turn.

    There must be one, and the caller takes it out.
    """
    cdef flow_t *flow = &d.flows.at[service.turns[p]]
    flow.served += 1
    if flow.served >= owner_weight(d, flow.owner):
        flow.served = 0
        service.turns[p] = flow.ring.next
    return flow.requests.head


# --- requests ---

cdef inline int flow_reserve(dispatcher_t *d) noexcept nogil:
    """flow_reserve makes sure that the next flow_enter finds memory: 0, or -1."""
    cdef const pool_t *pool = &d.flows.pool
    if likely((pool.free != NONE or pool.fresh < pool.room)
              and d.flows.found.count <= d.flows.found.mask // 2):
        return 0
    if pool_reserve(&d.flows.pool, <void **> &d.flows.at, sizeof(flow_t)) < 0:
        return -1
    return table_reserve(&d.flows.found)


cdef inline uint32_t flow_make(
    dispatcher_t *d, uint32_t owner, uint32_t s, uint32_t p
) noexcept nogil:
    """flow_make returns a new flow, which is at the end of the ring and still empty."""
    cdef uint32_t f = pool_take(&d.flows.pool, <void **> &d.flows.at, sizeof(flow_t))
    cdef flow_t *flow
    CHECK(f != NONE and table_put(&d.flows.found, flow_hash(d, owner, s, p), f) == 0,
          "no memory for %u flows", d.flows.pool.used)
    flow = &d.flows.at[f]
    flow.used = 1
    flow.owner = owner
    flow.service = s
    flow.priority = <unsigned char> p
    queue_init(&flow.requests)
    ring_enter(d, &d.services[s], f)
    return f


cdef inline uint32_t flow_of(dispatcher_t *d, const request_t *request) noexcept nogil:
    """flow_of returns the flow of a fresh request, made if its owner has none there."""
    cdef client_t *client = &d.clients[request.client]
    cdef uint32_t f = client.flow
    if likely(f != NONE and flow_is(
            &d.flows.at[f], client.owner, request.service, request.priority)):
        return f
    f = flow_find(d, client.owner, request.service, request.priority)
    if f == NONE:
        f = flow_make(d, client.owner, request.service, request.priority)
    client.flow = f
    return f


cdef inline void flow_enter(dispatcher_t *d, uint32_t r) noexcept nogil:
    """flow_enter puts a fresh request behind those of its owner."""
    cdef uint32_t f = flow_of(d, &d.requests[r])
    d.requests[r].task = f
    queue_append(&d.flows.at[f].requests, flow_links(d), r)


cdef inline void flow_end(dispatcher_t *d, uint32_t f) noexcept nogil:
    """flow_end frees an empty flow."""
    cdef flow_t *flow = &d.flows.at[f]
    ring_leave(d, &d.services[flow.service], f)
    table_remove(&d.flows.found, flow_cell(d, flow.owner, flow.service, flow.priority))
    pool_give(&d.flows.pool, <void **> &d.flows.at, sizeof(flow_t), f)


cdef inline void flow_leave(dispatcher_t *d, uint32_t r) noexcept nogil:
    """flow_leave takes a request out of its flow."""
    cdef uint32_t f = d.requests[r].task
    d.requests[r].task = NONE
    queue_remove(&d.flows.at[f].requests, flow_links(d), r)
    if d.flows.at[f].requests.head == NONE:
        flow_end(d, f)
