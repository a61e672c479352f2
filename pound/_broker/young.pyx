"""Connections that have not said who they are (see young.pxd for the rules)."""

from libc.stdint cimport int64_t, uint8_t

from pound._wire.dialects cimport BACKEND, FRONTEND
from .descriptors cimport descriptors_cut, descriptors_guest
from .kinds cimport C_HANDSHAKES, C_HANDSHAKES_CUT, LOG_HANDSHAKES_CUT
from .log_events cimport log_event
from .state cimport broker_t, connection_t, socket_t, young_t

cdef extern from *:
    """
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/socket.h>

    /* sent_to returns how many bytes a TCP connection has sent, each counted once; -1: no one can
     * say. Many a libc's tcp_info lacks these fields. What was acknowledged would come late. */
    static int64_t sent_to(int fd) {
    #ifdef __linux__
        enum { SENT = 200, AGAIN = 208 };  /* tcpi_bytes_sent, tcpi_bytes_retrans; Linux 4.19 */
        uint64_t sent, again;
        char info[AGAIN + sizeof(again)];
        socklen_t size = sizeof(info);

        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0 && size == sizeof(info)) {
            memcpy(&sent, info + SENT, sizeof(sent));
            memcpy(&again, info + AGAIN, sizeof(again));
            return (int64_t)(sent - again);
        }
    #endif
        (void)fd;
        return -1;
    }
    """
    int64_t sent_to(int fd) nogil

cdef enum:                   # bytes that libzmq has sent, by ZMTP 3
    GREETING = 64
    CURVE_WELCOME = 234      # the greeting and WELCOME: it has not seen INITIATE, which has the key
    CURVE_ERROR = 246        # ERROR besides: the key was refused. READY would be 288 or more

cdef enum cut_t:
    CUT_ONE
    CUT_NOT                  # it has shaken hands
    CUT_NOBODY               # there is none to be cut


# has_shaken returns whether a connection may have come to the end of its handshake. By the CURVE
# mechanism no peer is sent more than WELCOME before, or ERROR after it: libzmq leaves it to a peer
# that was refused to go, for as long as a handshake may take. By NULL it is sent the broker's
# READY, fewer bytes, when it has sent its greeting. Where no one can say, a connection is not cut:
# the peers of ipc are on this machine, and libzmq's own time is what they have.
cdef bint has_shaken(int fd) noexcept nogil:
    cdef int64_t sent = sent_to(fd)
    return sent < 0 or (sent > GREETING and sent not in (CURVE_WELCOME, CURVE_ERROR))


cdef bint young_has_proved(const broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef int64_t sent = sent_to(fd)
    return sent > CURVE_ERROR or (sent < 0 and is_old(b, &b.sides[side], fd))


cdef void young_opened(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef socket_t *s = &b.sides[side]
    cdef connection_t *connection
    cdef young_t *young
    if fd >= s.connections_room or not s.connections[fd].open or s.connections[fd].young:
        return
    connection = &s.connections[fd]
    young = &s.young[connection.near]
    connection.young = 1
    connection.younger = -1
    connection.older = young.youngest if young.count else -1
    if young.count:
        s.connections[young.youngest].younger = fd
    else:
        young.oldest = fd
    young.youngest = fd
    young.count += 1
    b.counters[C_HANDSHAKES] += 1
    grown(b, side)
    while b.counters[C_HANDSHAKES] > b.settings.handshakes_max:
        if cut_oldest(b) == CUT_NOBODY:
            return


cdef void young_over(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef socket_t *s = &b.sides[side]
    cdef connection_t *connection
    cdef young_t *young
    if fd >= s.connections_room or not s.connections[fd].young:
        return
    connection = &s.connections[fd]
    young = &s.young[connection.near]
    connection.young = 0
    if connection.older >= 0:
        s.connections[connection.older].younger = connection.younger
    else:
        young.oldest = connection.younger
    if connection.younger >= 0:
        s.connections[connection.younger].older = connection.older
    else:
        young.youngest = connection.older
    young.count -= 1
    b.counters[C_HANDSHAKES] -= 1


# is_old says whether libzmq would have closed a connection that has not shaken hands.
cdef bint is_old(const broker_t *b, const socket_t *s, int fd) noexcept nogil:
    return b.now - s.connections[fd].opened_at > s.handshake_ns + s.handshake_ns // 6


# grown takes those from the lists that are so old that libzmq would have closed them.
cdef void grown(broker_t *b, uint8_t side) noexcept nogil:
    cdef socket_t *s = &b.sides[side]
    cdef int near
    for near in range(2):
        while s.young[near].count and is_old(b, s, s.young[near].oldest):
            young_over(b, side, s.young[near].oldest)


# cut_oldest takes the oldest of the larger crowd from its list, and cuts it unless it has shaken
# hands.
cdef cut_t cut_oldest(broker_t *b) noexcept nogil:
    cdef bint near = near_are_more(b)
    cdef uint8_t side = older_side(b, near)
    cdef int fd = b.sides[side].young[near].oldest
    if b.sides[side].young[near].count == 0 or descriptors_guest(b, fd):
        return CUT_NOBODY  # whoever came after a guest has not been here for long
    young_over(b, side, fd)
    if has_shaken(fd):
        return CUT_NOT
    b.counters[C_HANDSHAKES_CUT] += 1
    log_event(b, LOG_HANDSHAKES_CUT, NULL, NULL, 0, b.settings.handshakes_max, 0)
    descriptors_cut(b, side, fd)
    return CUT_ONE


cdef bint near_are_more(const broker_t *b) noexcept nogil:
    cdef const socket_t *front = &b.sides[FRONTEND]
    cdef const socket_t *back = &b.sides[BACKEND]
    return (front.young[1].count + back.young[1].count
            > front.young[0].count + back.young[0].count)


# older_side returns the side with the older head.
cdef uint8_t older_side(const broker_t *b, bint near) noexcept nogil:
    cdef const socket_t *front = &b.sides[FRONTEND]
    cdef const socket_t *back = &b.sides[BACKEND]
    if front.young[near].count == 0:
        return BACKEND
    if back.young[near].count == 0:
        return FRONTEND
    return (FRONTEND if front.connections[front.young[near].oldest].order
            < back.connections[back.young[near].oldest].order else BACKEND)


cdef void young_sweep(broker_t *b) noexcept nogil:
    grown(b, FRONTEND)
    grown(b, BACKEND)


cdef void young_relieve(broker_t *b) noexcept nogil:
    while cut_oldest(b) == CUT_NOT:
        pass
