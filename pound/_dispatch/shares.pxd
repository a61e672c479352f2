# Shares: what one client, or services without workers, may take of what all clients share.
#
# A table that is filled in order of asking belongs to the client that asks most. So
#   services  Those that workers offer, or that are configured, have services_max of their own.
#             Names that are only asked for have as many again, and one client an eighth of these,
#             or NAMES_LEAST. The broker's own services need no room.
#   clients   Above clients_max, CLIENTS_RESERVE more are accepted, for the broker's own services
#             only. Clients in their grace make room before any client is refused.
#   requests  A client may have 7 times as much open as is free, in number and in bytes: it leaves
#             the last eighth of the total to others. Requests that wait for services without
#             workers take at most half. The last quarter of a PND client's own window is for
#             services that have workers, and fewer waiting requests than such a quarter.
# Limits below shares_from are not shared: a part of them would be next to nothing. Nor are limits
# at which the broker stops reading a client, since that client would lose a refused request.
#
# Cost: O(1). For a service with workers, while more than an eighth is free, two comparisons.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pound._base.links cimport queue_init
from pound._base.lru cimport lru_init
from pound._base.pool cimport NONE, pool_take
from pound._base.table cimport mix
from .limits cimport limits_t
from .model cimport (
    OPENED_INTERNAL, OPENED_NAMED, OPENED_PINNED, PRIORITIES, REQ_ACCEPTED, REQ_BUSY_BYTES,
    REQ_BUSY_SHARE, REQ_BUSY_WINDOW, REQ_BUSY_WORKERLESS, REQ_MANY_NAMES, REQ_MANY_OWN_NAMES,
    REQ_MANY_SERVICES, REQ_NO_SERVICE, client_t, dispatcher_t, service_t)
from .owners cimport owner_alone

cdef enum:
    NAMES_LEAST = 16         # names without workers that a client may have, however few there are
    CLIENTS_RESERVE = 16
    OPEN_TO_FREE = 7         # of what is free, a client may have open so many times as much
    BYTES_SHIFT = 14         # byte limits are shared from so much larger a limit on


cdef inline bint shared(const limits_t *limits, uint64_t limit) noexcept nogil:
    return limit >= limits.shares_from


cdef inline bint shared_bytes(const limits_t *limits, uint64_t limit) noexcept nogil:
    return limit >> BYTES_SHIFT >= limits.shares_from


# --- services ---

cdef inline uint32_t names(const dispatcher_t *d) noexcept nogil:
    """names counts the services that are only asked for."""
    return d.service_pool.used - d.shares.offered - d.shares.internal


cdef inline int service_refusal(
    const dispatcher_t *d, uint8_t how, uint32_t c
) noexcept nogil:
    """service_refusal returns why there may not be one more service, or REQ_ACCEPTED."""
    cdef uint32_t most = d.limits.services_max
    if how == OPENED_INTERNAL:
        return REQ_ACCEPTED
    if how != OPENED_NAMED:
        return REQ_ACCEPTED if d.shares.offered < most else REQ_MANY_SERVICES
    if names(d) >= most:
        return REQ_MANY_NAMES
    if c != NONE and d.clients[c].named >= max(most // 8, <uint32_t> NAMES_LEAST):
        return REQ_MANY_OWN_NAMES
    return REQ_ACCEPTED


cdef inline void service_name(dispatcher_t *d, service_t *service, uint32_t c) noexcept nogil:
    """service_name notes who asked for a service first."""
    service.namer = c
    if c != NONE:
        service.namer_stamp = d.clients[c].stamp
        d.clients[c].named += 1


cdef inline uint32_t service_make(
    dispatcher_t *d, int64_t lease_ns, uint8_t how, int64_t now, uint32_t c
) noexcept nogil:
    """service_make returns a new service, for which there is room, or NONE: no memory."""
    cdef uint32_t s = pool_take(&d.service_pool, <void **> &d.services, sizeof(service_t))
    cdef uint32_t p
    cdef service_t *service
    if s == NONE:
        return NONE
    service = &d.services[s]
    service.used = 1
    service.lease_ns = lease_ns
    service.pinned = how == OPENED_PINNED
    service.internal = how == OPENED_INTERNAL
    d.shares.offered += service.pinned
    d.shares.internal += service.internal
    service_name(d, service, c if how == OPENED_NAMED else NONE)
    service.workerless_since = now
    service.reserved = service.wait_at = service.unmatched_at = NONE
    service.turn = PRIORITIES - 1
    lru_init(&service.idle)
    lru_init(&service.busy)
    for p in range(PRIORITIES):
        service.turns[p] = NONE
    d.counters.services += 1
    return s


cdef inline uint32_t offered_more(
    dispatcher_t *d, const uint32_t *services, uint32_t n_services
) noexcept nogil:
    """offered_more counts those of some services that are not offered yet."""
    cdef uint32_t more = 0
    cdef uint32_t i
    cdef service_t *service
    d.stamp += 1
    for i in range(n_services):
        service = &d.services[services[i]]
        if service.mark != d.stamp and service.workers == 0 and not service.pinned:
            more += 1
        service.mark = d.stamp
    return more


# --- clients ---

cdef inline uint32_t client_make(dispatcher_t *d, uint8_t is_guide, bint full) noexcept nogil:
    """client_make returns a new client, of the reserve if all else is full, or NONE: no memory."""
    cdef uint32_t c = pool_take(&d.client_pool, <void **> &d.clients, sizeof(client_t))
    cdef client_t *client
    if c == NONE:
        return NONE
    client = &d.clients[c]
    client.used = 1
    client.is_guide = is_guide
    client.reserve = full
    d.shares.reserve += full
    if not full:
        client.window = d.limits.foreign_window if is_guide else d.limits.requests_max
    d.client_stamp += 1
    client.stamp = d.client_stamp
    client.ids.salt = mix(c ^ d.hash_seed)
    client.grace_at = client.flow = client.stakes = NONE
    client.owner = owner_alone(c)
    queue_init(&client.requests)
    d.counters.clients += 1
    return c


cdef inline bint client_joins(dispatcher_t *d, client_t *client) noexcept nogil:
    """client_joins takes a client of the reserve in among the others, if there is room by now."""
    if not client.reserve or d.client_pool.used - d.shares.reserve >= d.limits.clients_max:
        return False
    d.shares.reserve -= 1
    client.reserve = 0
    client.window = d.limits.foreign_window if client.is_guide else d.limits.requests_max
    return True


# --- requests ---

cdef inline bint window_full(const limits_t *limits, const client_t *client) noexcept nogil:
    """window_full returns whether the last quarter of a client's window is begun."""
    return (client.open >= client.window - (client.window >> 2) and not client.is_guide
            and shared(limits, client.window))


cdef inline int workerless_refusal(
    const dispatcher_t *d, const client_t *client, uint32_t bytes, bint held
) noexcept nogil:
    """workerless_refusal returns why no request for a service without workers may come in."""
    cdef const limits_t *limits = &d.limits
    cdef uint64_t most_bytes = limits.waiting_bytes_max
    if limits.unknown_reject and not held:
        return REQ_NO_SERVICE
    if window_full(limits, client):
        return REQ_BUSY_WINDOW
    if shared(limits, limits.waiting_max) and d.shares.workerless >= limits.waiting_max // 2:
        return REQ_BUSY_WORKERLESS
    if (shared_bytes(limits, most_bytes) and d.shares.workerless > 0
            and d.shares.workerless_bytes + bytes > most_bytes // 2):
        return REQ_BUSY_WORKERLESS
    return REQ_ACCEPTED


cdef inline int bytes_refusal(
    const dispatcher_t *d, const client_t *client, uint64_t total, uint32_t bytes
) noexcept nogil:
    """bytes_refusal returns why `bytes` more, `total` with all that is open, may not come in."""
    cdef uint64_t most = d.limits.waiting_bytes_max
    if d.counters.waiting + d.counters.running == 0:
        return REQ_ACCEPTED
    if total > most:
        return REQ_BUSY_BYTES
    if (shared_bytes(&d.limits, most) and client.open > 0
            and client.open_bytes + bytes > OPEN_TO_FREE * (most - total)):
        return REQ_BUSY_SHARE
    return REQ_ACCEPTED
