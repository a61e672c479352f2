# Young connections: those that have not said who they are. A peer can have any number of them.
#
# libzmq ends a handshake that takes longer than `handshake_timeout`. Until then at most
# `handshakes_max` are open, on both sides together. When there is one more, or when descriptors
# are few, the oldest is cut: of those from other machines or of those from this one, whichever are
# more. So neither crowd cuts the other's handshakes, and an operator comes in beside a flood.
# Guests (descriptors.pxd) are not cut: they have a time of their own, and a shorter one.
#
# libzmq does not say which connection has shaken hands, so a list has all that are open and sent no
# message yet; whoever is at its head, and may be cut, is looked at: how many bytes it took says how
# far its handshake came. One that has shaken hands leaves the list.
#
# Invariant: a connection in a list is open, has no route, and is in no other list.
# Cost:      O(1) a connection, amortised; a connection is looked at once at most.
# Memory:    links in connection_t.

from libc.stdint cimport uint8_t

from .state cimport broker_t

# young_opened puts a connection that was accepted into the list, and cuts what is too much.
cdef void young_opened(broker_t *b, uint8_t side, int fd) noexcept nogil

# young_over takes a connection from the list: it sent a message, or was closed.
cdef void young_over(broker_t *b, uint8_t side, int fd) noexcept nogil

# young_has_proved returns whether a connection that has sent no message has proved a key for sure.
cdef bint young_has_proved(const broker_t *b, uint8_t side, int fd) noexcept nogil

# young_sweep takes those from the list that have shaken hands for sure: libzmq would have closed
# them.
cdef void young_sweep(broker_t *b) noexcept nogil

# young_relieve cuts an old one: descriptors are few.
cdef void young_relieve(broker_t *b) noexcept nogil
