# What a connection proved, and what its peer may do. Without keys nothing of this is called.
#
# libzmq gives each message the User-Id that our ZAP reply gave its connection: the proof, which
# names the listener and the key's serial. A route has the proof of its first message, a peer the
# rights of the route that it was attached to last. What came by inproc has no proof, and all
# rights: it is of this process. (Where ZAP is asked, libzmq lets no peer of ZMTP 1.0 or 2.0 in,
# whose messages would look the same.)
#
# Invariant: `denied` of a route is why nothing that comes by it acts, or 0. `connections` of an
#            identity counts the living routes that its keys proved. A peer keeps its identity.
# Cost:      a message: libzmq's look-up of the User-Id, and 16 bytes compared. A request or a
#            READY: a byte for each service; of a name that is not known, the key's patterns.
# Memory:    `rights` of a service: owned by it, a byte for each grant. No name is made here.

from libc.stdint cimport uint32_t, uint8_t

from .state cimport broker_t, peer_t, route_t

# proof_of returns the proof of the message in b.incoming: PROOF_SIZE digits, or "" of one that came
# by inproc. NULL: it has none, and must not count.
cdef const char *proof_of(broker_t *b, uint8_t side) noexcept nogil

# proof_serial returns the serial of the key that a proof names; 0: none.
cdef uint32_t proof_serial(const char *proof) noexcept nogil

# route_proves returns whether a message with this proof is of the route's own peer.
cdef bint route_proves(const route_t *route, const char *proof) noexcept nogil

# rights_route gives a new route the proof of its first message. rights_count counts a living route
# for its identity, rights_uncount a route that dies no more.
cdef void rights_route(broker_t *b, route_t *route, const char *proof) noexcept nogil
cdef void rights_count(broker_t *b, route_t *route) noexcept nogil
cdef void rights_uncount(broker_t *b, route_t *route) noexcept nogil

# rights_connections adds to the connections of a key's identity; 0 is no key.
cdef void rights_connections(broker_t *b, uint32_t serial, int by) noexcept nogil

# rights_why returns why a key may not use a listener, a refusal_t, or 0.
cdef int rights_why(const broker_t *b, uint32_t serial, uint8_t listener) noexcept nogil

# rights_judge judges a route's proof anew: `denied`.
cdef void rights_judge(broker_t *b, route_t *route) noexcept nogil

# rights_peer gives a peer the rights of a route that reaches it, which is not denied.
cdef void rights_peer(broker_t *b, peer_t *peer, const route_t *route) noexcept nogil

# rights_again gives a peer the rights that its key has by the present table: 0, or the refusal_t if
# it has none.
cdef int rights_again(broker_t *b, peer_t *peer) noexcept nogil

# rights_session returns whether a route's messages may speak for the session of a peer.
cdef bint rights_session(broker_t *b, const route_t *route, const peer_t *peer) noexcept nogil

# denied counts something that is refused for its sender's rights, and returns the refusal_t.
cdef int denied(broker_t *b, int why) noexcept nogil

# These return REQ_ACCEPTED, or the refusal_t, which they have counted. A greeting is that of a
# client.
cdef int rights_greet(broker_t *b, const peer_t *peer) noexcept nogil
cdef int rights_request(
    broker_t *b, const peer_t *peer, uint8_t page, const uint8_t *name, uint32_t size
) noexcept nogil
cdef int rights_offer(
    broker_t *b, const peer_t *peer, const uint8_t *name, uint32_t size) noexcept nogil

# rights_sees returns whether a peer may use or offer a service.
cdef bint rights_sees(
    broker_t *b, const peer_t *peer, const uint8_t *name, uint32_t size) noexcept nogil

# rights_knows returns whether a peer may hear of a service: operators may of all.
cdef bint rights_knows(
    broker_t *b, const peer_t *peer, const uint8_t *name, uint32_t size) noexcept nogil

# rights_forget drops what is known of each service's rights: the grants have other numbers.
cdef void rights_forget(broker_t *b) noexcept nogil
