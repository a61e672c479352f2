# The end of a broker: what it waits for, its last words, and what is left undone.
#
# While it drains it takes no new requests. READY counts as ever, since a worker that comes, or is
# back, helps to finish. It waits, for the whole timeout if need be, while something is left that
# would be lost: a request that runs, that was sent to a worker before, that has a worker, or whose
# answer is not handed over, unless its client has been away for a liveness; and any that waits of a
# Guide client, which would never be notified. Requests of PND clients that no worker was sent and
# none could be do not hold it: BYE sends them elsewhere.
#
# Cost: O(1) a turn while something is left, at a cursor that goes round all requests and moves on
# when what it stands at has ended.
# The sockets stay bound until they are closed. zmq_unbind closes the accepted connections, too, and
# drops what libzmq has not sent by them, whatever ZMQ_LINGER says (4.3.5); zmq_close sends it
# first. Whoever connects in between is not read. DISCONNECT goes last, since MDP workers answer it
# by a new connection.

from .state cimport broker_t

cdef void drain_begin(broker_t *b) noexcept nogil
# drain_check ends the loop when nothing is left, or the time is over: then it is said what is left.
cdef void drain_check(broker_t *b) noexcept nogil
# farewell sends what is deferred, and says to all peers whose dialect can that the broker goes.
cdef void farewell(broker_t *b) noexcept nogil
