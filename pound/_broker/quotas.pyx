"""The turns and quotas of the broker's keys (see quotas.pxd for the rules)."""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from pound._dispatch.dispatcher cimport disp_client_owner, disp_owner_set
from pound._dispatch.model cimport owner_limits_t
from pound.security.table cimport identity_known, identity_limits_t, keytable_t
from .kinds cimport C_NO_MEMORY
from .state cimport NO_IDENTITY, broker_t, peer_t


cdef int quotas_take(broker_t *b) noexcept nogil:
    cdef const keytable_t *table = b.guard.table
    cdef owner_limits_t limits
    cdef uint32_t i
    cdef int result = 0
    for i in range(table.identities_room):
        if identity_known(table, i):
            limits = limits_of(&table.identities[i].limits)
            if disp_owner_set(b.d, i, &limits, b.now) < 0:
                b.counters[C_NO_MEMORY] += 1
                result = -1
    return result


cdef owner_limits_t limits_of(const identity_limits_t *own) noexcept nogil:
    cdef owner_limits_t limits
    memset(&limits, 0, sizeof(limits))
    limits.weight = own.weight
    limits.quota.open_max = own.open_max
    limits.quota.bytes_max = own.bytes_max
    limits.quota.interval_ns = own.interval_ns
    limits.quota.burst_ns = own.burst_ns
    return limits


cdef void owner_of_client(broker_t *b, const peer_t *peer, uint32_t client) noexcept nogil:
    if peer.rights.identity != NO_IDENTITY and disp_client_owner(
            b.d, client, peer.rights.identity) < 0:
        b.counters[C_NO_MEMORY] += 1
