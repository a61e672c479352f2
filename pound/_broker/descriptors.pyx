"""Descriptors that are few (see descriptors.pxd for the rules)."""

from libc.errno cimport EMFILE, ENFILE
from libc.stdint cimport INT64_MAX, uint8_t, uint32_t, uint64_t

from pound._zmq.accept cimport accept_survives
from .kinds cimport C_TURNED_AWAY, LOG_DESCRIPTORS_SHORT
from .log_events cimport log_event
from .state cimport RESERVE_MAX, broker_t, descriptors_t, guest_t

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <fcntl.h>
    #include <string.h>
    #include <sys/resource.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <unistd.h>

    static int limit_of_descriptors(void) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > INT32_MAX) {
            return INT32_MAX;
        }
        return (int)limit.rlim_cur;
    }

    static int spare_open(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

    /* mark_of distinguishes a connection from all others that have its number at another time; 0:
     * what has it is none. A listener that were shut down would abort libzmq. */
    static uint64_t mark_of(int fd) {
        struct stat status;
        int listens = 0;
        socklen_t size = sizeof(listens);
        if (fstat(fd, &status) || !S_ISSOCK(status.st_mode)
                || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) || listens) {
            return 0;
        }
        return status.st_ino ? (uint64_t)status.st_ino : 1;
    }

    static void cut(int fd) { shutdown(fd, SHUT_RDWR); }

    /* is_free says whether a descriptor below `below` is to be had, `like` being one. */
    static int is_free(int like, int below) {
        int fd = fcntl(like, F_DUPFD_CLOEXEC, 0);
        if (fd >= 0) {
            close(fd);
        }
        return fd >= 0 && fd < below;
    }

    /* is_near says whether a connection's peer is on this machine. */
    static int is_near(int fd) {
        struct sockaddr_storage peer, own;
        socklen_t size = sizeof(peer), own_size = sizeof(own);
        struct in6_addr *six = &((struct sockaddr_in6 *)&peer)->sin6_addr;
        if (getpeername(fd, (struct sockaddr *)&peer, &size)
                || getsockname(fd, (struct sockaddr *)&own, &own_size)
                || peer.ss_family != own.ss_family) {
            return 0;
        }
        if (peer.ss_family == AF_INET) {
            in_addr_t four = ((struct sockaddr_in *)&peer)->sin_addr.s_addr;
            return ntohl(four) >> 24 == 127
                || four == ((struct sockaddr_in *)&own)->sin_addr.s_addr;
        }
        if (peer.ss_family == AF_INET6) {
            return (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127)
                || IN6_IS_ADDR_LOOPBACK(six)
                || IN6_ARE_ADDR_EQUAL(six, &((struct sockaddr_in6 *)&own)->sin6_addr);
        }
        return peer.ss_family == AF_UNIX;
    }
    """
    int limit_of_descriptors() nogil
    int spare_open() nogil
    uint64_t mark_of(int fd) nogil
    void cut(int fd) nogil
    int is_free(int like, int below) nogil
    int is_near(int fd) nogil

cdef extern from "unistd.h" nogil:
    int close(int fd)

cdef enum:
    NONE_KEPT = 2              # of the last numbers
    RESERVE_NS = 150_000_000   # that a guest may stay: a few round trips
    STAYS_NS = 40_000_000      # the same while other guests come


cdef void descriptors_open(broker_t *b, bint ipc) noexcept nogil:
    cdef int i
    if ipc:
        accept_survives()
    descriptors_limit(b)
    b.descriptors.spare = spare_open()
    b.descriptors.look_at = INT64_MAX
    for i in range(RESERVE_MAX):
        b.descriptors.guests[i].fd = -1


cdef void descriptors_close(broker_t *b) noexcept nogil:
    if b.descriptors.spare >= 0:
        close(b.descriptors.spare)
    b.descriptors.spare = -1


cdef void descriptors_limit(broker_t *b) noexcept nogil:
    b.descriptors.limit = limit_of_descriptors()
    b.descriptors.reserve = min(RESERVE_MAX, b.descriptors.limit // 4)


cdef accepted_t descriptors_accepted(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef descriptors_t *d = &b.descriptors
    cdef bint near = is_near(fd)
    cdef guest_t *guest
    descriptors_closed(b, fd)
    if fd < b.sides[side].connections_room:
        b.sides[side].connections[fd].mark = mark_of(fd)
        b.sides[side].connections[fd].near = near
    if fd < d.limit - d.reserve:
        return ACCEPTED_LASTS
    log_event(b, LOG_DESCRIPTORS_SHORT, NULL, NULL, 0, fd, d.limit)
    guest = guest_place(b) if near and fd < d.limit - NONE_KEPT else NULL
    if guest == NULL:
        turn_away(b, side, fd)
        return ACCEPTED_NOT
    guest.fd = fd
    guest.side = side
    guest.until = b.now + RESERVE_NS
    d.guests_count += 1
    d.look_at = min(d.look_at, guest.until)
    return ACCEPTED_GUEST


# guest_place returns a free place, if need be that of the guest who has been here for longest.
cdef guest_t *guest_place(broker_t *b) noexcept nogil:
    cdef descriptors_t *d = &b.descriptors
    cdef guest_t *oldest = NULL
    cdef guest_t *guest
    cdef int i
    for i in range(RESERVE_MAX):
        guest = &d.guests[i]
        if guest.fd < 0 and d.guests_count < <uint32_t> (d.reserve // 2):
            return guest
        if guest.fd >= 0 and (oldest == NULL or guest.until < oldest.until):
            oldest = guest
    if oldest == NULL or b.now < oldest.until - RESERVE_NS + STAYS_NS:
        return NULL
    i = oldest.fd
    descriptors_closed(b, i)
    turn_away(b, oldest.side, i)
    return oldest


cdef bint descriptors_guest(const broker_t *b, int fd) noexcept nogil:
    cdef int i
    if b.descriptors.guests_count:
        for i in range(RESERVE_MAX):
            if b.descriptors.guests[i].fd == fd:
                return 1
    return 0


cdef void turn_away(broker_t *b, uint8_t side, int fd) noexcept nogil:
    b.counters[C_TURNED_AWAY] += 1
    descriptors_cut(b, side, fd)


cdef void descriptors_cut(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef uint64_t mark = 0
    if fd < b.sides[side].connections_room:
        mark = b.sides[side].connections[fd].mark
    if mark and mark_of(fd) == mark:
        cut(fd)


cdef void descriptors_closed(broker_t *b, int fd) noexcept nogil:
    cdef descriptors_t *d = &b.descriptors
    cdef int i
    if d.guests_count == 0:
        return
    for i in range(RESERVE_MAX):
        if d.guests[i].fd == fd:
            d.guests[i].fd = -1
            d.guests_count -= 1


cdef void descriptors_failed(broker_t *b, int error) noexcept nogil:
    if error != EMFILE and error != ENFILE:
        return
    log_event(b, LOG_DESCRIPTORS_SHORT, NULL, NULL, 0, b.descriptors.limit, b.descriptors.limit)
    descriptors_close(b)


cdef void descriptors_tick(broker_t *b) noexcept nogil:
    cdef descriptors_t *d = &b.descriptors
    cdef guest_t *guest
    cdef int i, fd
    if d.spare < 0:
        d.spare = spare_open()
    if d.guests_count == 0 or b.now < d.look_at:
        return
    d.look_at = INT64_MAX
    for i in range(RESERVE_MAX):
        guest = &d.guests[i]
        if guest.fd < 0 or b.now < guest.until:
            if guest.fd >= 0:
                d.look_at = min(d.look_at, guest.until)
            continue
        fd = guest.fd
        guest.fd = -1
        d.guests_count -= 1
        if not is_free(b.loop.wake_out, d.limit - d.reserve):
            turn_away(b, guest.side, fd)
