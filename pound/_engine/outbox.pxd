# Packets on their way out: the one that is written, and those that libzmq refused.
#
# Only the engine's thread writes, between outbox_begin and outbox_end. Each writer starts another
# packet where the broker's limits ask for it.
#
# Invariant: nothing is given to libzmq while there is no connection, so that nothing stale is sent
#            after a reconnect; refused packets go first.
# Memory:    packets that libzmq took are its own (attached bodies are shared, not copied); those it
#            refused stay here, at most one turn's worth.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from pound._base.buffer cimport buffer_t
from pound._wire.packets cimport holds_entry_t
from pound._zmq.libzmq cimport zmq_msg_t
from .link cimport broker_limits_t, link_state_t
from .mailbox cimport body_t, mailbox_t

cdef struct refused_t            # a message that libzmq refused; private to outbox.pyx

cdef struct outbox_t:
    link_state_t *link           # not owned, nor the two below
    void *socket                 # NULL: there is none
    mailbox_t *main              # log lines go here
    const char *over             # why nothing can follow, a static sentence; NULL: well
    uint8_t touched              # the socket was used since it was asked: see socket_ready_now
    uint8_t said                 # something was written since outbox_begin
    buffer_t packet              # the one that is written
    uint32_t records
    uint64_t done
    zmq_msg_t *frames            # its attached frames
    uint32_t frames_count
    uint32_t frames_room
    refused_t *refused           # messages in order
    refused_t *refused_last

cdef void outbox_init(outbox_t *o, link_state_t *link, mailbox_t *main) noexcept nogil
cdef void outbox_free(outbox_t *o) noexcept nogil
# outbox_connect drops everything; what follows goes to this socket. NULL: there is none.
cdef void outbox_connect(outbox_t *o, void *socket) noexcept nogil
# outbox_failed notes, if so, that the call of libzmq that failed can't be followed by another: its
# context has ended.
cdef void outbox_failed(outbox_t *o) noexcept nogil
# outbox_starve ends the engine: a record that can't be written would be lost without a word.
cdef void outbox_starve(outbox_t *o) noexcept nogil
# frames_reserve makes room for `count` messages; they may be moved, being plain bytes to libzmq.
cdef int frames_reserve(zmq_msg_t **frames, uint32_t *room, uint32_t count) noexcept nogil

# --- a packet

# outbox_push offers the refused packets again: whether a connection takes another one.
cdef int outbox_push(outbox_t *o) noexcept nogil
cdef void outbox_drop(outbox_t *o) noexcept nogil            # forgets the refused ones
cdef void outbox_begin(outbox_t *o, uint64_t done) noexcept nogil
cdef void outbox_end(outbox_t *o, int64_t now) noexcept nogil


# outbox_flushed says whether libzmq took every packet.
cdef inline bint outbox_flushed(const outbox_t *o) noexcept nogil:
    return o.refused == NULL


# --- its records

cdef void outbox_request(
    outbox_t *o, uint64_t id, uint8_t flags, uint32_t timeout_ms, uint8_t priority,
    const uint8_t *key, uint64_t run, const uint8_t *service, uint16_t service_size,
    const body_t *body,
) noexcept nogil
cdef void outbox_reply(outbox_t *o, uint64_t token, const body_t *body) noexcept nogil
cdef void outbox_partial(
    outbox_t *o, uint64_t token, uint32_t sequence, uint8_t attempt, const body_t *body
) noexcept nogil
cdef void outbox_error(
    outbox_t *o, uint64_t token, uint16_t code, uint32_t retry_after_ms, const body_t *sentence
) noexcept nogil
cdef void outbox_simple(outbox_t *o, uint8_t kind, uint64_t id) noexcept nogil   # CANCEL, HEARTBEAT
cdef void outbox_bye(outbox_t *o, uint16_t reason) noexcept nogil
cdef void outbox_credit(
    outbox_t *o, uint64_t id, uint64_t run, uint64_t credit, uint32_t sequence) noexcept nogil
cdef void outbox_holds(
    outbox_t *o, const holds_entry_t *entries, uint32_t count) noexcept nogil
cdef void outbox_hello(outbox_t *o, uint32_t features, const body_t *label) noexcept nogil
# outbox_ready: the tokens are those of `epoch`, and `names` are label and services as inline parts
# in one body_t.
cdef void outbox_ready(
    outbox_t *o, uint32_t capacity, uint32_t features, const uint8_t *epoch,
    const uint64_t *tokens, uint32_t count, const body_t *names,
) noexcept nogil

# --- limits

# limits_excess writes a sentence about the limit that a body exceeds: its size; 0: none.
cdef uint32_t limits_excess(
    const broker_limits_t *limits, const body_t *body, char *sentence, uint32_t room
) noexcept nogil
