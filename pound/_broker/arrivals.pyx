"""Connections that were let in and say nothing (see arrivals.pxd for the rules)."""

from libc.stddef cimport size_t
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memset, strlen

from pound._base.array cimport array_room
from pound._dispatch.model cimport REQ_ACCEPTED
from pound._wire.dialects cimport BACKEND, DIALECT_NONE, FRONTEND
from pound.security.table cimport key_t
from .descriptors cimport descriptors_cut
from .ip cimport IP_SIZE, IP_TEXT_ROOM, ip_read, ip_text
from .kinds cimport LOG_RIGHTS_LOST
from .log_events cimport log_event
from .peers cimport peer_label
from .rights cimport rights_connections, rights_why
from .state cimport arrivals_t, broker_t, connection_t, keyed_arrival_t, peer_t, socket_t
from .young cimport young_has_proved, young_over

cdef enum found_t:           # of an arrival, in a look
    FOUND_NONE = 0           # no connection can be its own
    FOUND_PERHAPS            # one may be that has not shaken hands, or can't be asked
    FOUND

cdef enum:
    SIDES = 2
    LOOK_NS = 50_000_000     # most peers have said something by then


cdef void arrivals_init(arrivals_t *arrivals) noexcept nogil:
    memset(arrivals, 0, sizeof(arrivals_t))
    arrivals.look_at = INT64_MAX


cdef void arrivals_free(arrivals_t *arrivals) noexcept nogil:
    free(arrivals.at)
    arrivals_init(arrivals)


cdef void arrivals_add(
    broker_t *b, const key_t *key, uint8_t listener, const uint8_t *address, size_t size
) noexcept nogil:
    cdef arrivals_t *all = &b.guard.arrivals
    cdef keyed_arrival_t *arrival
    if array_room(<void **> &all.at, &all.room, all.count, sizeof(keyed_arrival_t)):
        return
    arrival = &all.at[all.count]
    arrival.serial = key.serial
    arrival.identity = key.identity
    arrival.listener = listener
    arrival.family = ip_read(address, size, arrival.address)
    arrival.at = b.now
    all.count += 1
    rights_connections(b, key.serial, 1)
    all.look_at = min(all.look_at, b.now + LOOK_NS)
    # Its connection was accepted before: so that is read in this turn, and is no younger.
    b.sides[FRONTEND].monitor_readable = b.sides[BACKEND].monitor_readable = 1


cdef void remove(arrivals_t *all, uint32_t i) noexcept nogil:
    all.count -= 1
    for i in range(i, all.count):
        all.at[i] = all.at[i + 1]


# -- connections ------------------------------------------------------------------------------

cdef bint is_silent(const connection_t *connection) noexcept nogil:
    return connection.open and connection.route == NULL


cdef bint is_from(const keyed_arrival_t *arrival, const connection_t *connection) noexcept nogil:
    return (arrival.family == connection.family and arrival.at >= connection.opened_at
            and memcmp(arrival.address, connection.address, IP_SIZE) == 0)


cdef bint are_near(const connection_t *one, const connection_t *other) noexcept nogil:
    return one.family == other.family and memcmp(one.address, other.address, IP_SIZE) == 0


# of_key finds an arrival of a key that may be that of a connection, of any if it is NULL: its
# place, or -1.
cdef int64_t of_key(
    const arrivals_t *all, uint32_t serial, const connection_t *connection
) noexcept nogil:
    cdef uint32_t i
    for i in range(all.count):
        if all.at[i].serial == serial and (
                connection == NULL or is_from(&all.at[i], connection)):
            return i
    return -1


# taken_for finds a connection beside this one that was taken for one of a key, or NULL.
cdef connection_t *taken_for(
    broker_t *b, uint32_t serial, const connection_t *beside
) noexcept nogil:
    cdef connection_t *connection
    cdef socket_t *s
    cdef int side, fd
    for side in range(SIDES):
        s = &b.sides[side]
        for fd in range(s.connections_room):
            connection = &s.connections[fd]
            if connection.serial == serial and are_near(connection, beside):
                return connection
    return NULL


cdef void arrivals_spoke(broker_t *b, uint8_t side, int fd, uint32_t serial) noexcept nogil:
    cdef arrivals_t *all = &b.guard.arrivals
    cdef socket_t *s = &b.sides[side]
    cdef connection_t *connection = NULL
    cdef connection_t *other
    cdef uint32_t had = 0
    cdef int64_t i
    if fd < s.connections_room and s.connections[fd].open:
        connection = &s.connections[fd]
        had = connection.serial
        connection.serial = 0
    if had == serial:
        rights_connections(b, had, -1)
        return
    i = of_key(all, serial, connection) if serial else -1
    if i >= 0:
        rights_connections(b, serial, -1)
        if had:              # what was taken for its own is still to come
            all.at[i].serial = had
            all.at[i].identity = connection.identity
            all.at[i].listener = connection.listener
        else:
            remove(all, <uint32_t> i)
        return
    other = taken_for(b, serial, connection) if serial and connection != NULL else NULL
    if other != NULL:        # they were taken for one another
        rights_connections(b, serial, -1)
        other.serial = had
        other.identity = connection.identity
        other.listener = connection.listener
    else:
        rights_connections(b, had, -1)


# -- the look ---------------------------------------------------------------------------------

cdef void arrivals_tick(broker_t *b) noexcept nogil:
    cdef arrivals_t *all = &b.guard.arrivals
    cdef uint32_t i
    if b.now < all.look_at:
        return
    for i in range(all.count):
        all.at[i].found = FOUND_NONE
    for i in range(SIDES):
        look(b, <uint8_t> i, 1)
    for i in range(SIDES):
        look(b, <uint8_t> i, 0)
    keep(b)
    all.look_at = b.now + LOOK_NS if all.count else INT64_MAX


# look finds an arrival for each silent connection that has proved a key, or leaves one to each that
# may yet.
cdef void look(broker_t *b, uint8_t side, bint proved) noexcept nogil:
    cdef socket_t *s = &b.sides[side]
    cdef connection_t *connection
    cdef keyed_arrival_t *arrival
    cdef int fd
    for fd in range(s.connections_room if b.guard.arrivals.count else 0):
        connection = &s.connections[fd]
        if not is_silent(connection) or connection.serial:
            continue
        arrival = not_found(&b.guard.arrivals, connection)
        if arrival == NULL:
            continue
        if not proved:
            arrival.found = FOUND_PERHAPS
        elif young_has_proved(b, side, fd):
            arrival.found = FOUND
            connection.serial = arrival.serial
            connection.identity = arrival.identity
            connection.listener = arrival.listener
            connection.unsure = are_mixed(&b.guard.arrivals, connection)
            young_over(b, side, fd)
            judge(b, side, fd)


cdef keyed_arrival_t *not_found(arrivals_t *all, const connection_t *connection) noexcept nogil:
    cdef uint32_t i
    for i in range(all.count):
        if all.at[i].found == FOUND_NONE and is_from(&all.at[i], connection):
            return &all.at[i]
    return NULL


# are_mixed returns whether a connection may as well be that of another key.
cdef bint are_mixed(const arrivals_t *all, const connection_t *connection) noexcept nogil:
    cdef uint32_t i
    for i in range(all.count):
        if all.at[i].serial != connection.serial and is_from(&all.at[i], connection):
            return 1
    return 0


# keep keeps the arrivals whose connection may be there, and is not known.
cdef void keep(broker_t *b) noexcept nogil:
    cdef arrivals_t *all = &b.guard.arrivals
    cdef uint32_t kept = 0
    cdef uint32_t i
    for i in range(all.count):
        if all.at[i].found == FOUND_PERHAPS:
            all.at[kept] = all.at[i]
            kept += 1
        elif all.at[i].found == FOUND_NONE:
            rights_connections(b, all.at[i].serial, -1)
    all.count = kept


# -- keys that end ----------------------------------------------------------------------------

cdef void arrivals_judge(broker_t *b) noexcept nogil:
    cdef arrivals_t *all = &b.guard.arrivals
    cdef socket_t *s
    cdef uint32_t i
    cdef int side, fd
    for i in range(all.count):
        rights_connections(b, all.at[i].serial, 1)
    for side in range(SIDES):
        s = &b.sides[side]
        for fd in range(s.connections_room):
            if s.connections[fd].serial:
                rights_connections(b, s.connections[fd].serial, 1)
                judge(b, <uint8_t> side, fd)


# judge closes a silent connection whose key has ended, and with it those that may be meant: who may
# stay comes back. It waits for nothing that they could be sent.
cdef void judge(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef const connection_t *connection = &b.sides[side].connections[fd]
    cdef int why = rights_why(b, connection.serial, connection.listener)
    if why == REQ_ACCEPTED:
        return
    log_lost(b, connection, why)
    descriptors_cut(b, side, fd)
    if connection.unsure:
        cut_unsure(b, connection)


cdef void cut_unsure(broker_t *b, const connection_t *beside) noexcept nogil:
    cdef const connection_t *connection
    cdef int side, fd
    for side in range(SIDES):
        for fd in range(b.sides[side].connections_room):
            connection = &b.sides[side].connections[fd]
            if connection.serial and connection.unsure and are_near(connection, beside):
                descriptors_cut(b, <uint8_t> side, fd)


cdef void log_lost(broker_t *b, const connection_t *connection, int why) noexcept nogil:
    cdef char text[IP_TEXT_ROOM]
    cdef peer_t stranger
    memset(&stranger, 0, sizeof(peer_t))
    ip_text(connection.family, connection.address, text)
    peer_label(&stranger, <const uint8_t *> text, strlen(text))
    stranger.rights.identity = connection.identity
    log_event(b, LOG_RIGHTS_LOST, &stranger, NULL, 0, why, DIALECT_NONE)
