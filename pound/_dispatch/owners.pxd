# Owners: in whose name clients ask. Clients of one owner share its turns and its quotas.
#
# An owner below OWNERS_MAX is an identity: a peer that the broker knows by its key, under the
# number that the caller gave it. A client without an identity is an owner by itself, under a number
# above.
#
# A quota bounds what an owner has open, in number and bytes, and how often it asks. An identity has
# one for all that it does; a service may have one, which counts for each owner by itself, in that
# owner's *stake* there. Whoever has nothing open may have one request open, whatever its size.
# A task that goes on when its request has ended (an orphan, which was cancelled or has expired)
# still takes a worker's credit, so it is *charged*: it counts as an open request of its owner until
# it ends. Who asks and cancels in turns holds no more workers than who waits.
# A rate is a token bucket, kept as one time (GCRA): each request moves it by the mean interval, and
# may come as much earlier than that time as the burst allows. A refused request moves nothing.
#
# Cost:   O(1); for who has no quota, in a service without one, two comparisons a request.
# Memory: identities are an array, as far as the highest number that was used; 72 bytes each. A
#         stake has 40 bytes, and 16 to 32 to find it; a client's own end with it, and those of
#         identities stay: there are no more than services with a quota for each. Charges are an
#         array, as far as the highest number of a task that was charged; 24 bytes each.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from pound._base.array cimport array_room
from pound._base.check cimport CHECK
from pound._base.hints cimport unlikely
from pound._base.pool cimport NONE, pool_give, pool_reserve, pool_take
from pound._base.table cimport (
    mix, table_first, table_next, table_put, table_remove, table_reserve)
from .model cimport (
    REQ_ACCEPTED, REQ_QUOTA_BYTES, REQ_QUOTA_OPEN, REQ_QUOTA_RATE, REQ_SERVICE_QUOTA_OPEN,
    account_t, charge_t, client_t, dispatcher_t, owner_t, quota_t, service_t, stake_t)

cdef enum:
    OWNERS_MAX = 65_535      # identities
    OWNERS_OWN = 65_536      # the owner that client 0 is by itself


cdef inline uint32_t owner_alone(uint32_t c) noexcept nogil:
    """owner_alone returns the owner that a client is by itself."""
    return OWNERS_OWN + c


cdef inline bint owner_known(const dispatcher_t *d, uint32_t owner) noexcept nogil:
    """owner_known returns whether an owner is an identity."""
    return owner < d.owners.room


cdef inline owner_t *owner_at(dispatcher_t *d, uint32_t owner) noexcept nogil:
    """owner_at returns an identity, made on first use; NULL: no memory, or no such number."""
    if owner >= OWNERS_MAX or array_room(
            <void **> &d.owners.at, &d.owners.room, owner, sizeof(owner_t)):
        return NULL
    return &d.owners.at[owner]


cdef inline uint32_t owner_weight(const dispatcher_t *d, uint32_t owner) noexcept nogil:
    """owner_weight returns how many tasks an owner is given in its turn; 0 counts as 1."""
    return d.owners.at[owner].limits.weight if owner_known(d, owner) else 1


# --- accounts ---

cdef inline int account_refusal(
    const account_t *a, const quota_t *q, uint32_t bytes, int64_t now
) noexcept nogil:
    """account_refusal returns why a request is over a quota, or REQ_ACCEPTED."""
    if q.open_max > 0 and a.open + a.orphans >= q.open_max:
        return REQ_QUOTA_OPEN
    if q.bytes_max > 0 and a.open > 0 and a.bytes + bytes > q.bytes_max:
        return REQ_QUOTA_BYTES
    if q.interval_ns > 0 and a.next_at - q.burst_ns > now:
        return REQ_QUOTA_RATE
    return REQ_ACCEPTED


cdef inline void account_enter(
    account_t *a, const quota_t *q, uint32_t bytes, int64_t now
) noexcept nogil:
    a.open += 1
    a.bytes += bytes
    a.next_at = max(a.next_at, now) + q.interval_ns


cdef inline void account_leave(account_t *a, uint32_t bytes) noexcept nogil:
    a.open -= 1
    a.bytes -= bytes


cdef inline void account_limit(account_t *a, const quota_t *q, int64_t now) noexcept nogil:
    """account_limit has nobody wait longer for a quota that is new than it asks for."""
    a.next_at = min(a.next_at, now + q.burst_ns + q.interval_ns)


# --- stakes ---

cdef inline uint32_t stake_hash(
    const dispatcher_t *d, uint32_t owner, uint32_t s
) noexcept nogil:
    return <uint32_t> mix((<uint64_t> owner << 32 | s) ^ d.hash_seed)


cdef inline uint32_t stake_cell(
    const dispatcher_t *d, uint32_t owner, uint32_t s
) noexcept nogil:
    """stake_cell returns the cell of an owner's stake in the table, or NONE."""
    cdef uint32_t hash = stake_hash(d, owner, s)
    cdef uint32_t at = table_first(&d.owners.found, hash)
    cdef const stake_t *stake
    while at != NONE:
        stake = &d.owners.stakes[d.owners.found.cells[at].item]
        if stake.owner == owner and stake.service == s:
            return at
        at = table_next(&d.owners.found, hash, at)
    return NONE


cdef inline stake_t *stake_find(
    const dispatcher_t *d, uint32_t owner, uint32_t s
) noexcept nogil:
    """stake_find returns an owner's stake in a service, or NULL."""
    cdef uint32_t at = stake_cell(d, owner, s)
    return NULL if at == NONE else &d.owners.stakes[d.owners.found.cells[at].item]


cdef inline int stake_reserve(dispatcher_t *d) noexcept nogil:
    """stake_reserve makes sure that the next stake_of finds memory: 0, or -1."""
    if pool_reserve(&d.owners.pool, <void **> &d.owners.stakes, sizeof(stake_t)) < 0:
        return -1
    return table_reserve(&d.owners.found)


cdef inline stake_t *stake_of(dispatcher_t *d, client_t *client, uint32_t s) noexcept nogil:
    """stake_of returns the stake of a client's owner in a service, made if there is none."""
    cdef stake_t *stake = stake_find(d, client.owner, s)
    cdef uint32_t number
    if stake != NULL:
        return stake
    number = pool_take(&d.owners.pool, <void **> &d.owners.stakes, sizeof(stake_t))
    CHECK(number != NONE
          and table_put(&d.owners.found, stake_hash(d, client.owner, s), number) == 0,
          "no memory for %u stakes", d.owners.pool.used)
    stake = &d.owners.stakes[number]
    stake.used = 1
    stake.owner = client.owner
    stake.service = s
    stake.next = NONE
    if not owner_known(d, client.owner):
        stake.next = client.stakes
        client.stakes = number
    return stake


cdef inline void stakes_end(dispatcher_t *d, client_t *client) noexcept nogil:
    """stakes_end frees the stakes that a client has by itself; it has nothing open."""
    cdef uint32_t number = client.stakes
    cdef uint32_t following
    client.stakes = NONE
    while number != NONE:
        following = d.owners.stakes[number].next
        table_remove(&d.owners.found, stake_cell(d, client.owner, d.owners.stakes[number].service))
        pool_give(&d.owners.pool, <void **> &d.owners.stakes, sizeof(stake_t), number)
        number = following


# --- requests ---

cdef inline bint counted(
    const dispatcher_t *d, const client_t *client, const service_t *service
) noexcept nogil:
    """counted returns whether a request of a client for a service counts for any quota."""
    return owner_known(d, client.owner) or service.has_quota


cdef inline int quota_refusal(
    const dispatcher_t *d, const client_t *client, uint32_t s, uint32_t bytes
) noexcept nogil:
    """quota_refusal returns which quota a request is over, or REQ_ACCEPTED."""
    cdef const owner_t *owner
    cdef const stake_t *stake = NULL
    cdef int result = REQ_ACCEPTED
    if owner_known(d, client.owner):
        owner = &d.owners.at[client.owner]
        result = account_refusal(&owner.account, &owner.limits.quota, bytes, d.now)
    if result != REQ_ACCEPTED:
        return result
    if unlikely(d.services[s].has_quota):
        stake = stake_find(d, client.owner, s)
    if stake == NULL:
        return REQ_ACCEPTED
    result = account_refusal(&stake.account, &d.services[s].quota, bytes, d.now)
    if result != REQ_ACCEPTED:
        result += REQ_SERVICE_QUOTA_OPEN - REQ_QUOTA_OPEN
    return result


cdef inline void quota_enter(
    dispatcher_t *d, client_t *client, uint32_t s, uint32_t bytes
) noexcept nogil:
    """quota_enter counts a request that is open now; stake_reserve was called, for a quota."""
    cdef owner_t *owner
    if owner_known(d, client.owner):
        owner = &d.owners.at[client.owner]
        account_enter(&owner.account, &owner.limits.quota, bytes, d.now)
    if unlikely(d.services[s].has_quota):
        account_enter(
            &stake_of(d, client, s).account, &d.services[s].quota, bytes, d.now)


cdef inline void charge_count(
    dispatcher_t *d, const charge_t *charge, int more
) noexcept nogil:
    """charge_count adds to what is left of a charge's accounts: a client's end with it."""
    cdef stake_t *stake
    if owner_known(d, charge.owner):
        d.owners.at[charge.owner].account.orphans += more
    elif d.clients[charge.owner - OWNERS_OWN].stamp != charge.stamp:
        return
    if d.services[charge.service].has_quota:
        stake = stake_find(d, charge.owner, charge.service)
        if stake != NULL:
            stake.account.orphans += more


cdef inline void charge_make(
    dispatcher_t *d, const client_t *client, uint32_t s, uint32_t t
) noexcept nogil:
    """charge_make lets a task that has become an orphan count for who asked for it."""
    cdef charge_t *charge
    if array_room(
            <void **> &d.owners.charges, &d.owners.charges_room, t, sizeof(charge_t)):
        return                   # no memory: its owner may have one more
    charge = &d.owners.charges[t]
    charge.used = 1
    charge.stamp = client.stamp
    charge.owner = client.owner
    charge.service = s
    charge_count(d, charge, 1)


cdef inline void charge_end(dispatcher_t *d, uint32_t t) noexcept nogil:
    """charge_end ends the charge of an orphan, if it has one."""
    if t < d.owners.charges_room and d.owners.charges[t].used:
        charge_count(d, &d.owners.charges[t], -1)
        memset(&d.owners.charges[t], 0, sizeof(charge_t))


cdef inline void quota_leave(
    dispatcher_t *d, const client_t *client, uint32_t s, uint32_t bytes, uint32_t orphan
) noexcept nogil:
    """quota_leave counts a request that is open no longer; its task may go on as an orphan."""
    if owner_known(d, client.owner):
        account_leave(&d.owners.at[client.owner].account, bytes)
    if unlikely(d.services[s].has_quota):
        account_leave(&stake_find(d, client.owner, s).account, bytes)
    if orphan != NONE:
        charge_make(d, client, s, orphan)


cdef inline int64_t account_wait(
    const account_t *a, const quota_t *q, int64_t now
) noexcept nogil:
    """account_wait returns for how long the rate of a quota allows no request, in ns."""
    return max(a.next_at - q.burst_ns - now, <int64_t> 0) if q.interval_ns > 0 else 0


cdef inline int64_t quota_wait(
    const dispatcher_t *d, uint32_t c, uint32_t s, int64_t now
) noexcept nogil:
    """quota_wait returns for how long no rate allows a client's request for a service, in ns.

    NONE is a service that nobody asks for any more.
    """
    cdef uint32_t owner = d.clients[c].owner
    cdef const stake_t *stake = NULL
    cdef int64_t wait = 0
    if s != NONE and d.services[s].has_quota:
        stake = stake_find(d, owner, s)
    if owner_known(d, owner):
        wait = account_wait(&d.owners.at[owner].account, &d.owners.at[owner].limits.quota, now)
    if stake != NULL:
        wait = max(wait, account_wait(&stake.account, &d.services[s].quota, now))
    return wait
