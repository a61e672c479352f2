# The end of a broker: what it waits for, what it sends last, and what is left undone.
#
# While it drains it takes no new requests. READY is accepted, since a worker helps to finish. The
# broker waits, for the whole timeout if need be, while anything would be lost:
#   - a request that runs, that was sent to a worker before, or that has a worker
#   - an answer that is not handed over, unless its client has been away for a liveness
#   - any waiting request of a Guide client, which could never be notified
#
# It does not wait for requests of PND clients that have no worker and never had one: BYE makes
# their clients send them to another broker.
#
# The sockets stay bound until they are closed. zmq_unbind also closes the accepted connections, and
# drops what libzmq has not sent by them, whatever ZMQ_LINGER is (4.3.5); zmq_close sends it first.
# Those that connect in between are not read. DISCONNECT is sent last, since MDP workers answer it
# with a new connection.
#
# Cost: O(1) a turn while something is left: a cursor goes round the requests, and moves on when the
# one it points at has ended.

from .state cimport broker_t

cdef void drain_begin(broker_t *b) noexcept nogil
# drain_check ends the loop when nothing is left, or the time is over: then it is said what is left.
cdef void drain_check(broker_t *b) noexcept nogil
# farewell sends what is deferred, and says to all peers whose dialect can that the broker goes.
cdef void farewell(broker_t *b) noexcept nogil
