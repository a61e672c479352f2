# What the broker does when the process runs out of descriptors for connections.
#
# The kernel gives the lowest free number. A connection with a number within `reserve` of the limit
# means that no more than that many are left. It is closed at once, unless its peer is on this
# machine: then it is a *guest*, and may stay for RESERVE_NS, long enough for an operator's
# question, and for longer only if there is room again. Guests take half of the reserve. When
# another one comes, the oldest makes room, after STAYS_NS: peers that come again and again, each
# after the same time, would else keep the same one away. The other half is for those that are
# being closed: with no number left libzmq could not accept, and would retry in a busy loop.
#
# A peer is on this machine if its address is a loopback one, or the one that it connected to: TCP
# brings answers to such an address to nobody else.
#
# When accept fails nevertheless, the spare descriptor is given up, the connection is accepted and
# closed, and the spare is opened again. That empties the kernel's queue without a busy loop.
#
# Invariant: `fd` of a guest is a connection that was accepted under it and not seen to close.
# Cost:      nothing while there is room; O(RESERVE_MAX) a turn with guests.
# Memory:    fixed; one descriptor.

from libc.stdint cimport uint8_t

from .state cimport broker_t

cdef enum accepted_t:
    ACCEPTED_LASTS           # there is room
    ACCEPTED_GUEST           # for a moment: descriptors are few
    ACCEPTED_NOT             # they are fewer: it is cut

# descriptors_open reads the limit and takes the spare; `ipc`: the broker listens there, too.
cdef void descriptors_open(broker_t *b, bint ipc) noexcept nogil
cdef void descriptors_close(broker_t *b) noexcept nogil
# descriptors_limit reads the limit again: somebody may have changed it.
cdef void descriptors_limit(broker_t *b) noexcept nogil
# descriptors_accepted decides whether a connection that was just accepted may stay.
cdef accepted_t descriptors_accepted(broker_t *b, uint8_t side, int fd) noexcept nogil
# descriptors_guest says whether a connection has a time of its own here.
cdef bint descriptors_guest(const broker_t *b, int fd) noexcept nogil
cdef void descriptors_closed(broker_t *b, int fd) noexcept nogil
# descriptors_cut has libzmq find a connection closed: with it goes what was not sent by it yet.
# libzmq's thread may have closed it, and its number be another's by now: nothing happens then.
cdef void descriptors_cut(broker_t *b, uint8_t side, int fd) noexcept nogil
# descriptors_failed has libzmq accept and lose the connection for which it had no descriptor.
cdef void descriptors_failed(broker_t *b, int error) noexcept nogil
# descriptors_tick lets the guests go whose time is over; the monitors have been read.
cdef void descriptors_tick(broker_t *b) noexcept nogil
