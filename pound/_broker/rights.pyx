"""What a connection proved, and what its peer may do (see rights.pxd for the rules)."""

from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strlen, strncmp

from pound._base.clock cimport wall_ns
from pound._base.pool cimport NONE
from pound._dispatch.model cimport REQ_ACCEPTED
from pound._zmq.libzmq cimport ZMQ_SRCFD, zmq
from pound.security.table cimport (
    ROLE_CLIENT, ROLE_OPERATOR, ROLE_WORKER, key_expired, key_t, keytable_matches,
    keytable_of_serial, keytable_t)
from pound.security.zap cimport NO_LISTENER, PROOF_SIZE, proof_read, proof_t
from .internal_services cimport PAGE_NONE, page_is_mmi
from .kinds cimport C_DENIED
from .reasons cimport (
    REFUSED_CLIENT, REFUSED_GREETING, REFUSED_KEY_EXPIRED, REFUSED_KEY_GONE, REFUSED_LISTENER,
    REFUSED_OPERATOR, REFUSED_SERVICE, REFUSED_UNPROVEN, REFUSED_WORKER)
from .services cimport service_find
from .state cimport NO_IDENTITY, broker_t, peer_t, route_t, service_name_t

cdef enum:
    ALL_ROLES = ROLE_CLIENT | ROLE_WORKER | ROLE_OPERATOR
    GREETS = ROLE_CLIENT | ROLE_OPERATOR

cdef enum right_t:           # of a service and a grant
    RIGHT_UNKNOWN = 0
    RIGHT_YES
    RIGHT_NO

cdef struct standing_t:      # what a proof is worth now
    uint32_t identity
    uint16_t grant
    uint8_t roles
    int why                  # REQ_ACCEPTED, or the refusal_t


# -- proofs -----------------------------------------------------------------------------------

cdef const char *proof_of(broker_t *b, uint8_t side) noexcept nogil:
    cdef const char *proof = zmq.msg_gets(&b.incoming.frames[0], "User-Id")
    if proof != NULL:
        return proof
    if b.sides[side].is_inproc and zmq.msg_get(&b.incoming.frames[0], ZMQ_SRCFD) < 0:
        return b""
    return NULL


cdef uint32_t proof_serial(const char *proof) noexcept nogil:
    cdef proof_t read
    if not proof_read(<const uint8_t *> proof, strlen(proof), &read):
        return 0
    return read.serial


cdef bint route_proves(const route_t *route, const char *proof) noexcept nogil:
    return strncmp(<const char *> route.proof, proof, PROOF_SIZE) == 0


cdef void rights_route(broker_t *b, route_t *route, const char *proof) noexcept nogil:
    cdef proof_t read
    route.judged = 1
    route.listener = NO_LISTENER
    if proof[0] == 0:
        return
    memcpy(route.proof, proof, min(strlen(proof), <size_t> PROOF_SIZE))
    if not proof_read(<const uint8_t *> proof, strlen(proof), &read) or (
            read.salt != b.guard.rules.salt or read.listener >= b.guard.rules.n_listeners):
        route.denied = REFUSED_UNPROVEN
        return
    route.serial = read.serial
    route.listener = read.listener
    rights_count(b, route)
    rights_judge(b, route)


# stands says what a key's serial is worth at a listener.
cdef standing_t stands(const broker_t *b, uint32_t serial, uint8_t listener) noexcept nogil:
    cdef const keytable_t *table = b.guard.table
    cdef standing_t s
    cdef const key_t *key
    s.identity = NO_IDENTITY
    s.grant = 0
    s.roles = ALL_ROLES if listener == NO_LISTENER else b.guard.rules.listeners[listener].roles
    s.why = REQ_ACCEPTED
    if serial == 0:
        return s
    key = keytable_of_serial(table, serial)
    if key == NULL:
        s.why = REFUSED_KEY_GONE
        return s
    s.identity = key.identity
    s.grant = table.identities[key.identity].grant
    s.roles &= table.identities[key.identity].roles
    if key_expired(key, wall_ns()):
        s.why = REFUSED_KEY_EXPIRED
    elif s.roles == 0:
        s.why = REFUSED_LISTENER
    return s


cdef int rights_why(const broker_t *b, uint32_t serial, uint8_t listener) noexcept nogil:
    return stands(b, serial, listener).why


cdef void rights_judge(broker_t *b, route_t *route) noexcept nogil:
    if route.denied != REFUSED_UNPROVEN:
        route.denied = <uint8_t> stands(b, route.serial, route.listener).why


# -- connections of an identity ---------------------------------------------------------------

cdef void rights_connections(broker_t *b, uint32_t serial, int by) noexcept nogil:
    cdef const key_t *key = NULL
    if serial:
        key = keytable_of_serial(b.guard.table, serial)
    if key != NULL:
        b.guard.table.identities[key.identity].connections += by


cdef void rights_count(broker_t *b, route_t *route) noexcept nogil:
    if route.alive and not route.counted:
        route.counted = 1
        rights_connections(b, route.serial, 1)


cdef void rights_uncount(broker_t *b, route_t *route) noexcept nogil:
    if route.counted:
        route.counted = 0
        rights_connections(b, route.serial, -1)


# -- peers ------------------------------------------------------------------------------------

cdef void rights_peer(broker_t *b, peer_t *peer, const route_t *route) noexcept nogil:
    peer.rights.serial = route.serial
    peer.rights.listener = route.listener
    rights_again(b, peer)


cdef int rights_again(broker_t *b, peer_t *peer) noexcept nogil:
    cdef standing_t now = stands(b, peer.rights.serial, peer.rights.listener)
    if now.identity != NO_IDENTITY:
        peer.rights.identity = now.identity
    peer.rights.grant = now.grant
    peer.rights.roles = now.roles if now.why == REQ_ACCEPTED else 0
    return now.why


cdef bint rights_session(broker_t *b, const route_t *route, const peer_t *peer) noexcept nogil:
    return stands(b, route.serial, route.listener).identity == peer.rights.identity


# -- services ---------------------------------------------------------------------------------

cdef bint matches(
        broker_t *b, uint32_t grant, uint32_t service, const uint8_t *name, uint32_t size
        ) noexcept nogil:
    """Whether a grant holds a name; the default service may be called by none, too."""
    return keytable_matches(b.guard.table, grant, name, size) or (
        service == b.services.unnamed and keytable_matches(b.guard.table, grant, name, 0))


# right_of reads a known service's right, and works it out the first time.
cdef uint8_t right_of(broker_t *b, uint32_t service, uint32_t grant) noexcept nogil:
    cdef service_name_t *s = &b.services.at[service]
    cdef uint8_t right = RIGHT_UNKNOWN
    if s.rights == NULL:
        s.rights = <uint8_t *> calloc(b.guard.table.n_grants, 1)
    elif s.rights[grant] != RIGHT_UNKNOWN:
        return s.rights[grant]
    right = RIGHT_YES if matches(b, grant, service, s.name, s.size) else RIGHT_NO
    if s.rights != NULL:
        s.rights[grant] = right
    return right


cdef bint rights_sees(
        broker_t *b, const peer_t *peer, const uint8_t *name, uint32_t size) noexcept nogil:
    cdef uint32_t service
    if peer.rights.identity == NO_IDENTITY:
        return 1
    service = service_find(b, name, size)
    if service == NONE:
        return keytable_matches(b.guard.table, peer.rights.grant, name, size)
    return right_of(b, service, peer.rights.grant) == RIGHT_YES


cdef bint rights_knows(
        broker_t *b, const peer_t *peer, const uint8_t *name, uint32_t size) noexcept nogil:
    return peer.rights.roles & ROLE_OPERATOR or rights_sees(b, peer, name, size)


cdef void rights_forget(broker_t *b) noexcept nogil:
    cdef uint32_t i
    for i in range(b.services.count):
        free(b.services.at[i].rights)
        b.services.at[i].rights = NULL


# -- the door ---------------------------------------------------------------------------------

cdef int denied(broker_t *b, int why) noexcept nogil:
    b.counters[C_DENIED] += 1
    return why


cdef int operates(broker_t *b, const peer_t *peer) noexcept nogil:
    return <int> REQ_ACCEPTED if peer.rights.roles & ROLE_OPERATOR else denied(b, REFUSED_OPERATOR)


cdef int rights_greet(broker_t *b, const peer_t *peer) noexcept nogil:
    return <int> REQ_ACCEPTED if peer.rights.roles & GREETS else denied(b, REFUSED_GREETING)


cdef int rights_request(
        broker_t *b, const peer_t *peer, uint8_t page, const uint8_t *name, uint32_t size
        ) noexcept nogil:
    if page != PAGE_NONE and page_is_mmi(page):
        return rights_greet(b, peer)
    if page != PAGE_NONE:
        return operates(b, peer)
    if not peer.rights.roles & ROLE_CLIENT:
        return denied(b, REFUSED_CLIENT)
    return <int> REQ_ACCEPTED if rights_sees(b, peer, name, size) else denied(b, REFUSED_SERVICE)


cdef int rights_offer(
        broker_t *b, const peer_t *peer, const uint8_t *name, uint32_t size) noexcept nogil:
    if not peer.rights.roles & ROLE_WORKER:
        return denied(b, REFUSED_WORKER)
    return <int> REQ_ACCEPTED if rights_sees(b, peer, name, size) else denied(b, REFUSED_SERVICE)
