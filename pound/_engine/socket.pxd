# The socket of a link: one DEALER and its monitor.
#
# A thin shell: it turns what libzmq does into events of the link (link.pxd) and carries out the
# link's actions. Only the engine's thread touches it.
#
# Invariant: at most one socket is open; it has no routing id, and proves the key, if there is one.
# Memory:    the frames of the message being read are owned until the next one is read.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint8_t

from pound._wire.packets cimport packet_t
from pound._zmq.libzmq cimport zmq_msg_t
from .curve cimport DENIAL_ROOM, curve_t
from .link cimport link_state_t
from .mailbox cimport mailbox_t
from .outbox cimport outbox_t

cdef struct link_socket_t:
    link_state_t *link           # not owned, nor the three below
    outbox_t *outbox
    mailbox_t *main              # log lines go here
    curve_t key                  # owned
    char said[DENIAL_ROOM]       # the last ERROR about ourselves: its words and its code
    uint16_t said_code
    char denial[DENIAL_ROOM]     # why the last endpoint that denied us did
    void *context                # libzmq's
    void *socket                 # NULL: there is none
    void *monitor
    int fd                       # the socket's ZMQ_FD; -1: there is no socket
    int monitor_fd               # the monitor's; -1: none
    uint8_t readable             # the socket may have something to read
    uint8_t monitor_readable     # so may the monitor
    zmq_msg_t *heard             # the message being read: the packet, then its frames
    uint32_t heard_count
    uint32_t heard_room

cdef void socket_init(
    link_socket_t *s, link_state_t *link, outbox_t *outbox, mailbox_t *main) noexcept nogil
cdef void socket_free(link_socket_t *s) noexcept nogil
# socket_act carries out the link's actions.
cdef void socket_act(link_socket_t *s, int64_t now) noexcept nogil
# socket_close closes the socket, if one is open; what libzmq holds is sent for `linger_ms` more.
cdef void socket_close(link_socket_t *s, int linger_ms) noexcept nogil
# socket_watch reads the monitor: a broken, a renewed, a refused and a denied connection.
cdef void socket_watch(link_socket_t *s, int64_t now) noexcept nogil
# socket_read reads one message into `heard` and opens its packet: 1; -1: it was malformed and is
# logged; 0: there is none.
cdef int socket_read(link_socket_t *s, packet_t *packet) noexcept nogil
# socket_ready_now: whether the sockets may have something to read, or one takes what waits for it.
# ZMQ_FD is edge-triggered, says nothing of what was there before the first read, and every call on
# the socket may clear it: so this is asked before a sleep.
cdef int socket_ready_now(link_socket_t *s) noexcept nogil
