# The broker's part in the flow control of streams: it forwards CREDIT from clients to workers.
#
# A client's CREDIT bounds the partials of a run; it goes to the worker that has the run's task.
# Some clients can't send one, so the broker grants for them: when libzmq has taken the partial of
# an MDP 0.2 client, and at once for partials that are dropped, since their client is sent none.
#
# Holds:     a stream_t for each slot that ever had a CREDIT (b.streams, by slot): the last credit
#            of one run, how many partials its client has, and its place in the list of its worker
#            (peer.credits). Only the last one is kept, so a client that sends CREDIT endlessly
#            costs its worker one record a turn. That of a run of another epoch may come before its
#            task is adopted.
# Invariant: a stream is on a list exactly while `holder` is set. Its task may have ended meanwhile:
#            that is checked when it is sent. A credit may be lost with the worker's connection;
#            READY has it sent again.
# Cost:      O(1) a CREDIT; READY costs O(tokens) once there was a CREDIT.
# Memory:    b.streams grows to the highest slot that streamed and is kept.

from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pound._wire.packets cimport record_t
from .state cimport broker_t, peer_t, stored_t

# credit_heard acts on a client's CREDIT.
cdef void credit_heard(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil
# credit_grant counts partials of a request whose client knows no CREDIT as read, given run and
# cost; credit_grant_stored one; credit_grant_all all that may come: its stream has a gap and none
# of it will be sent on, so that its worker may go on without end.
cdef void credit_grant(broker_t *b, uint32_t slot, uint64_t run, uint64_t cost) noexcept nogil
cdef void credit_grant_stored(broker_t *b, uint32_t slot, const stored_t *partial) noexcept nogil
cdef void credit_grant_all(broker_t *b, uint32_t slot) noexcept nogil
# credit_adopted has the worker of an adopted task sent what was said of its run already.
cdef void credit_adopted(broker_t *b, peer_t *peer, uint32_t slot, uint64_t run) noexcept nogil
# credits_again has the credit of its tasks sent to a worker again; for its READY.
cdef void credits_again(
    broker_t *b, peer_t *peer, const uint64_t *tokens, uint32_t n) noexcept nogil
# credits_put appends what a worker is to be sent to the packet, which has `records` already, as far
# as it fits: how many records. *looked grows by as many of its list as were looked at; *starved:
# there was no memory for more.
cdef uint32_t credits_put(
    broker_t *b, peer_t *peer, uint32_t records, uint32_t *looked, uint8_t *starved
) noexcept nogil
# credits_drop takes the first `n` off a worker's list; credits_clear all.
cdef void credits_drop(broker_t *b, peer_t *peer, uint32_t n) noexcept nogil
cdef void credits_clear(broker_t *b, peer_t *peer) noexcept nogil
