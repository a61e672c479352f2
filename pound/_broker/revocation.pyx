"""Rights that end while their peers are there (see revocation.pxd for the rules)."""

from libc.stdint cimport uint32_t, uint8_t

from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport disp_client_close
from pound._dispatch.model cimport REQ_ACCEPTED, worker_t
from pound._wire.dialects cimport BACKEND, DIALECT_MDP1, DIALECT_MDP2, DIALECT_PND, FRONTEND
from pound._wire.packets cimport BYE_GOING
from pound.security.table cimport ROLE_CLIENT, ROLE_WORKER
from .actions cimport act
from .arrivals cimport arrivals_judge
from .control cimport notify_bye, notify_error
from .denials cimport denials_cut_soon
from .departures cimport lost_forget, session_end, worker_void
from .kinds cimport LOG_RIGHTS_LOST
from .log_events cimport log_event
from .peers cimport peer_release
from .queues cimport peer_touch, peer_unblock
from .reasons cimport REFUSED_CLIENT, REFUSED_SERVICE, REFUSED_WORKER, denial_code, reason_of
from .rights cimport (
    rights_again, rights_count, rights_forget, rights_judge, rights_peer, rights_sees)
from .state cimport OWE_DISCONNECT, broker_t, peer_t, roster_t, route_t, service_name_t

cdef enum:
    RETRY_MS = 30_000        # a key does not come back in a moment


cdef void revocation_walk(broker_t *b) noexcept nogil:
    cdef peer_t *peer
    cdef uint32_t i
    rights_forget(b)
    for i in range(b.guard.table.identities_room):
        b.guard.table.identities[i].connections = 0
    routes_walk(b, FRONTEND)
    routes_walk(b, BACKEND)
    arrivals_judge(b)
    for i in range(b.peers.all.count):
        peer = <peer_t *> b.peers.all.at[i]
        if peer != NULL and not peer.dead:
            peer_judge(b, peer)


cdef void routes_walk(broker_t *b, uint8_t side) noexcept nogil:
    cdef roster_t *routes = &b.sides[side].routes
    cdef route_t *route
    cdef uint32_t i
    for i in range(routes.count):
        route = <route_t *> routes.at[i]
        if route == NULL:
            continue
        route.counted = 0
        rights_count(b, route)
        rights_judge(b, route)
        if route.denied:
            denials_cut_soon(b)


cdef void peer_judge(broker_t *b, peer_t *peer) noexcept nogil:
    cdef uint8_t had = peer.rights.roles
    cdef int why = rights_again(b, peer)
    if why != REQ_ACCEPTED and not goes_on(b, peer):
        if had or peer.client != NONE or peer.worker != NONE:
            peer_ends(b, peer, why)
        return
    if peer.client != NONE and had & ROLE_CLIENT and not peer.rights.roles & ROLE_CLIENT:
        lost(b, peer, REFUSED_CLIENT)
        disp_client_close(b.d, peer.client, b.now)
        act(b)
    if peer.worker != NONE:
        worker_judge(b, peer)


# goes_on returns whether another route of a peer whose rights have ended gives it some: by that one
# it is reached then. An identity that rotates has two keys.
cdef bint goes_on(broker_t *b, peer_t *peer) noexcept nogil:
    cdef route_t *route = peer.routes
    while route != NULL and (route.denied or not route.alive):
        route = route.next
    if route == NULL:
        return 0
    peer.route = route
    peer_unblock(peer)
    peer_touch(b, peer)
    rights_peer(b, peer, route)
    return 1


cdef void worker_judge(broker_t *b, peer_t *peer) noexcept nogil:
    """A worker that may not serve all that it offers or was sent is none any more."""
    cdef const worker_t *w = &b.d.workers[peer.worker]
    cdef int why = REQ_ACCEPTED
    cdef uint32_t i, r
    cdef uint32_t t = w.tasks.head
    if not peer.rights.roles & ROLE_WORKER:
        why = REFUSED_WORKER
    for i in range(w.n_offers):
        if why == REQ_ACCEPTED and not may_serve(b, peer, b.d.offers[w.offers[i]].service):
            why = REFUSED_SERVICE
    while t != NONE:  # one that is gone offers nothing, and what it was sent may still count
        r = b.d.tasks[t].request
        if why == REQ_ACCEPTED and r != NONE and not may_serve(b, peer, b.d.requests[r].service):
            why = REFUSED_SERVICE
        t = b.d.tasks[t].sibling.next
    if why == REQ_ACCEPTED:
        return
    lost(b, peer, why)
    worker_void(b, peer)


cdef bint may_serve(broker_t *b, peer_t *peer, uint32_t service) noexcept nogil:
    cdef const service_name_t *s = &b.services.at[service]
    return rights_sees(b, peer, s.name, s.size)


# lost says in the log, and to the peer, that it lost a right.
cdef void lost(broker_t *b, peer_t *peer, int why) noexcept nogil:
    log_event(b, LOG_RIGHTS_LOST, peer, NULL, 0, why, peer.dialect)
    if peer.route == NULL:
        return
    if peer.dialect == DIALECT_PND:
        notify_error(b, peer, 0, denial_code(why), 0, reason_of(why))
    elif peer.worker != NONE and (
            peer.dialect == DIALECT_MDP1 or peer.dialect == DIALECT_MDP2):
        peer.control.owed |= OWE_DISCONNECT
        peer_touch(b, peer)


cdef void peer_ends(broker_t *b, peer_t *peer, int why) noexcept nogil:
    """Its key has ended: so does its session, in both roles."""
    lost(b, peer, why)
    if peer.route != NULL and peer.dialect == DIALECT_PND:
        notify_bye(b, peer, BYE_GOING, RETRY_MS)
    if peer.lost.state:
        lost_forget(b, peer)
    if peer.worker != NONE:
        worker_void(b, peer)
    session_end(b, peer)
    peer_release(b, peer)
