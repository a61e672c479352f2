"""Messages that are refused whole, and connections that end (see denials.pxd for the rules)."""

from libc.stdint cimport INT64_MAX, uint16_t, uint32_t, uint8_t
from libc.string cimport memset, strlen

from pound._wire.dialects cimport (
    BACKEND, DIALECT_BARE, DIALECT_PLAIN, DIALECT_PND, FRONTEND, SAID_BAD, SAID_PACKET, frame_t,
    message_t)
from pound._wire.packets cimport (
    KIND_REQUEST, WIRE_OK, packet_begin, packet_end, packet_next, packet_open, packet_t, put_error,
    record_t)
from pound.security.zap cimport NO_LISTENER
from .descriptors cimport descriptors_cut
from .flush cimport send_packet
from .kinds cimport LOG_DENIED
from .log_events cimport log_event
from .peers cimport peer_address
from .reasons cimport REFUSED_DIALECT, REFUSED_UNPROVEN, denial_code, reason_of
from .rights cimport denied, rights_peer
from .state cimport broker_t, peer_t, roster_t, route_t

cdef enum:
    ERRORS_BYTES = 1 << 18   # of one answer: a client sends so many requests only if it wants to
    CUT_NS = 500_000_000     # long enough to read why


cdef bint denial(
        broker_t *b, route_t *route, const message_t *m, uint32_t frames) noexcept nogil:
    cdef int why = route.denied
    if why == 0 and (m.said == SAID_BAD or allowed(b, route, m.dialect)):
        return False
    if why == 0:
        why = REFUSED_DIALECT
    if m.said == SAID_PACKET:
        deny_packet(b, route, frames - 2, why)
    else:
        deny(b, route, m.dialect, why)
    return True


cdef bint allowed(const broker_t *b, const route_t *route, uint8_t dialect) noexcept nogil:
    if route.listener == NO_LISTENER:
        return True
    if dialect == DIALECT_BARE:
        dialect = DIALECT_PLAIN
    return b.guard.dialects[route.listener] >> dialect & 1


cdef void deny(broker_t *b, route_t *route, uint8_t dialect, int why) noexcept nogil:
    """Count and log it; a route that has no peer yet is known by its address and its key."""
    cdef peer_t stranger
    cdef peer_t *peer = route.peer
    if peer == NULL:
        memset(&stranger, 0, sizeof(peer_t))
        peer = &stranger
        peer_address(b, peer)
        rights_peer(b, peer, route)
    log_event(b, LOG_DENIED, peer, NULL, 0, denied(b, why), dialect)
    if route.denied:
        denials_cut_soon(b)


cdef void denial_unproven(broker_t *b) noexcept nogil:
    cdef peer_t stranger
    memset(&stranger, 0, sizeof(peer_t))
    peer_address(b, &stranger)
    log_event(b, LOG_DENIED, &stranger, NULL, 0, denied(b, REFUSED_UNPROVEN), 0)


# -- PND --------------------------------------------------------------------------------------

cdef void deny_packet(
        broker_t *b, route_t *route, uint32_t attached, int why) noexcept nogil:
    cdef const frame_t *frame = &b.incoming.frame_views[1]
    cdef packet_t packet
    cdef uint32_t records
    deny(b, route, DIALECT_PND, why)
    if (packet_open(frame.data, frame.size, attached, &packet) != WIRE_OK
            or packet_begin(&b.outbound.packet, b.epoch, 0)):
        return
    records = put_errors(b, &packet, denial_code(why), reason_of(why))
    if records:
        packet_end(&b.outbound.packet, records)
        send_packet(b, route, 0)


cdef uint32_t put_errors(
        broker_t *b, packet_t *packet, uint16_t code, const char *text) noexcept nogil:
    """Answer the requests of a packet, and the rest of it once: how many ERRORs these are."""
    cdef uint32_t size = <uint32_t> strlen(text)
    cdef uint32_t records = 0
    cdef bint once = False
    cdef record_t record
    while packet_next(packet, &record) and b.outbound.packet.size < ERRORS_BYTES:
        if record.kind != KIND_REQUEST and once:
            continue
        once |= record.kind != KIND_REQUEST
        if put_error(&b.outbound.packet, record.id if record.kind == KIND_REQUEST else 0, code, 0,
                     text, size):
            break
        records += 1
    return records


# -- connections that end ---------------------------------------------------------------------

cdef void denials_cut_soon(broker_t *b) noexcept nogil:
    b.guard.cut_at = min(b.guard.cut_at, b.now + CUT_NS)


cdef void denials_tick(broker_t *b) noexcept nogil:
    if b.now >= b.guard.cut_at:
        b.guard.cut_at = INT64_MAX
        cut_side(b, BACKEND)
        cut_side(b, FRONTEND)


cdef void cut_side(broker_t *b, uint8_t side) noexcept nogil:
    cdef roster_t *routes = &b.sides[side].routes
    cdef const route_t *route
    cdef uint32_t i
    for i in range(routes.count):
        route = <const route_t *> routes.at[i]
        if route != NULL and route.denied and route.alive and route.fd >= 0:
            descriptors_cut(b, side, route.fd)
