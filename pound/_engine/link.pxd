# The dealer: one DEALER towards one endpoint of a list; what is known of the broker behind it.
#
# Only the engine's thread touches it. It knows sockets, packets, silence and the list of endpoints;
# what records mean to a client or a worker it does not know.
#
# Invariants: at most one socket is open; it has no routing id; nothing is given to it while it has
# no connection, so that nothing stale is sent after a reconnect; `welcomed` holds from a WELCOME
# until the connection breaks, the broker forgets us (BYE 0, a new epoch) or the endpoint changes.
# Memory: packets that libzmq took are its own (attached bodies are shared, not copied); those it
# refused stay here, at most one turn's worth.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

from pound._base.buffer cimport buffer_t
from pound._wire.reader cimport packet_t, record_t
from pound._zmq.libzmq cimport zmq_msg_t
from .endpoints cimport endpoints_t
from .mailbox cimport body_t, mailbox_t

cdef struct broker_limits_t:         # what the broker allows; the protocol's defaults at first
    uint32_t body_bytes_max
    uint32_t packet_bytes_max
    uint32_t frames_max
    uint32_t requests_max

cdef struct refused_t                    # a message that libzmq refused; private to link.pyx

cdef struct dealer_t:
    void *context                        # libzmq's
    void *socket
    void *monitor
    endpoints_t endpoints                # the list, and which of it is in use
    uint8_t session[16]                  # a secret between the broker and us: never logged
    uint8_t epoch[16]
    uint8_t has_epoch
    uint8_t is_inproc                    # inproc: there is no connection that could be lost
    uint8_t up                           # a connection stands (inproc: always)
    uint8_t welcomed
    uint8_t brief                        # the last welcome did not last: the next may not either
    uint8_t leaving                      # we said BYE: to lose the broker is no news any more
    uint8_t wants_out                    # something is to be sent as soon as the socket takes it
    uint8_t follows
    uint8_t reopen
    uint32_t handshakes
    uint32_t lives                       # sockets that were closed
    broker_limits_t limits
    int64_t heartbeat                    # ns
    int64_t own_heartbeat
    uint32_t own_liveness
    int64_t silence                      # ns after which the broker counts as gone
    int64_t heard_at
    int64_t welcomed_at
    int64_t said_at
    int64_t resting_until
    int64_t greet_at
    int64_t opened_at
    const char *over                     # why nothing can follow, a static sentence; NULL: well
    const char *lost                     # why the broker was lost last, static; NULL: never found
    mailbox_t *main                      # log lines go here; not owned
    int fd                               # the socket's ZMQ_FD; -1: there is no socket
    int monitor_fd                       # the monitor's; -1: none
    uint8_t fd_speaks                    # `fd` is to be trusted: nothing else took its news since
    uint8_t readable                     # the socket may have something to read
    uint8_t monitor_readable             # so may the monitor
    # the packet being written (dealer_begin .. dealer_end) and what libzmq refused: private
    buffer_t packet
    uint32_t records
    uint8_t said                         # something was written since dealer_begin
    zmq_msg_t *frames                    # attached frames of that packet
    uint32_t frames_count
    uint32_t frames_room
    refused_t *refused                   # messages in order
    refused_t *refused_last
    uint64_t done
    zmq_msg_t *heard                     # the message being read: the packet, then its frames
    uint32_t heard_count
    uint32_t heard_room

# limits_excess writes a sentence about the limit that a body exceeds: its size; 0: none.
cdef uint32_t limits_excess(
    const broker_limits_t *limits, const body_t *body, char *sentence, uint32_t room
) noexcept nogil
cdef void limits_default(broker_limits_t *limits) noexcept nogil

# --- writing: only inside end.collect. Each writer splits packets by the broker's limits itself.

cdef void dealer_request(
    dealer_t *d, uint64_t id, uint8_t flags, uint32_t timeout_ms, uint8_t priority,
    const uint8_t *service, uint16_t service_size, const body_t *body,
) noexcept nogil
cdef void dealer_reply(dealer_t *d, uint64_t token, const body_t *body) noexcept nogil
cdef void dealer_partial(
    dealer_t *d, uint64_t token, uint32_t sequence, uint8_t attempt, const body_t *body
) noexcept nogil
cdef void dealer_error(
    dealer_t *d, uint64_t token, uint16_t code, uint32_t retry_after_ms, const body_t *sentence
) noexcept nogil
cdef void dealer_simple(dealer_t *d, uint8_t kind, uint64_t id) noexcept nogil   # CANCEL, HEARTBEAT
cdef void dealer_bye(dealer_t *d, uint16_t reason) noexcept nogil
cdef void dealer_credit(
    dealer_t *d, uint64_t id, uint8_t attempt, uint64_t credit) noexcept nogil
# dealer_greeting writes HELLO (capacity 0: label is the body) or READY. `names` are label and
# services as inline parts in one body_t.
cdef void dealer_hello(dealer_t *d, const body_t *label) noexcept nogil
cdef void dealer_ready(
    dealer_t *d, uint32_t capacity, const uint64_t *tokens, uint32_t count, const body_t *names
) noexcept nogil

# --- asking

# dealer_greets: whether HELLO or READY belongs into this turn's packet; it counts as said then.
cdef int dealer_greets(dealer_t *d, int64_t now) noexcept nogil
cdef void dealer_greet_again(dealer_t *d, int64_t now) noexcept nogil
cdef int dealer_resting(const dealer_t *d, int64_t now) noexcept nogil
cdef int dealer_flushed(const dealer_t *d) noexcept nogil    # libzmq took every packet
# jitter returns ns, a quarter more or less, so that many peers don't speak at once.
cdef int64_t jitter(int64_t ns) noexcept nogil

# --- for the engine

# dealer_init takes the rates (ns) and copies the endpoints: 0, or -1: no memory.
cdef int dealer_init(
    dealer_t *d, const char **endpoints, uint32_t count, int64_t heartbeat, uint32_t liveness,
    uint8_t follows, const uint8_t *session, mailbox_t *main,
) noexcept nogil
cdef void dealer_free(dealer_t *d) noexcept nogil
# dealer_open connects to the endpoint in use, by a new socket.
cdef void dealer_open(dealer_t *d, int64_t now) noexcept nogil
# dealer_close closes the socket, if one is open; what libzmq holds is sent for `linger_ms` more.
cdef void dealer_close(dealer_t *d, int linger_ms) noexcept nogil

# dealer_watch reads the monitor: a broken, a renewed and a refused connection.
cdef void dealer_watch(dealer_t *d, int64_t now) noexcept nogil
# dealer_read reads one message into `heard` and opens its packet: 1; -1: it was of broken form and
# is logged; 0: there is none.
cdef int dealer_read(dealer_t *d, packet_t *packet, int64_t now) noexcept nogil
cdef void dealer_welcome(dealer_t *d, const record_t *record, int64_t now) noexcept nogil
# dealer_forgotten greets anew: the broker does not know us, or not by this route.
cdef void dealer_forgotten(dealer_t *d, int64_t now, const char *reason) noexcept nogil
# dealer_told_bye turns to the next endpoint, or to this one again after a while.
cdef void dealer_told_bye(dealer_t *d, int64_t now, uint32_t retry_after_ms) noexcept nogil

# dealer_tick opens the socket anew when a rest is over, and leaves an endpoint that is silent;
# dealer_next_due is when it, or a greeting, has something to do.
cdef void dealer_tick(dealer_t *d, int64_t now) noexcept nogil
cdef int64_t dealer_next_due(const dealer_t *d) noexcept nogil

# dealer_writable: whether a connection takes another packet; the refused ones go first.
cdef int dealer_writable(dealer_t *d) noexcept nogil
cdef void dealer_begin(dealer_t *d, uint64_t done) noexcept nogil
cdef void dealer_end(dealer_t *d, int64_t now) noexcept nogil
# dealer_ready_now: whether the sockets may have something to read, or one takes what waits for it.
# ZMQ_FD is edge-triggered, tells nothing of what was there before the first read, and every call on
# the socket may take its news: so this is asked before a sleep.
cdef int dealer_ready_now(dealer_t *d) noexcept nogil
