# One budget of bytes for all that the broker holds: memory_max.
#
# Parts:   open requests; answers and partials that wait for their clients; kept answers; what
#          libzmq holds of sent messages (_zmq/pipes.pxd); small records. An attached body counts
#          twice while it is sent to a worker, or sent and kept.
# Rules:   the last one of RESERVED_PARTS is for the answers to requests that run. When it is
#          reached, kept answers are evicted, oldest first: they are a cache. If that is not enough,
#          new requests are refused. Above the whole, clients that don't read lose their answers and
#          are notified. Clients that have read nothing for long lose theirs from half of it on
#          (unread.pxd).
# Cost:    O(1) a turn, and what is evicted.
# Not in:  structs and tables, which have limits of their own; what libzmq has read and the loop has
#          not.

from .state cimport broker_t

cdef enum:
    RESERVED_PARTS = 4       # the last one of so many parts is kept for answers

# budget adds up what is held now, and draws the conclusions; once a turn.
cdef void budget(broker_t *b) noexcept nogil

# trim gives free memory back to the system after a burst has come or gone: once a second at most.
cdef void trim(broker_t *b) noexcept nogil

# trim_beside does that for what the budget does not see, such as the frames that libzmq had read of
# a message that never ended: when a connection or a bad message has ended since, and the process
# has BESIDE_BYTES more than it ever needed beside what is held. At most every BESIDE_PAUSE_NS, and
# ever more seldom when that gives little.
cdef void trim_beside(broker_t *b) noexcept nogil
