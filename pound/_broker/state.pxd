# The broker's data: who is connected, what is stored, what waits to be sent. Structs only.
#
# Numbers and owners
#   slot    a request's number in the dispatcher; `slots[slot]` owns its stored record
#   client, worker, service   the dispatcher's numbers; `peers.of_client`, `peers.of_worker` and
#           `services.at` map them back
#   peer    a program at the other end: one PND session, or one routing id of a Guide peer. It is
#           freed at the end of the turn in which it has no route, client or worker left
#   route   a ZeroMQ routing id on one socket; belongs to one peer; owned by its side's table
#   item    one thing to be sent to a client, in order: an answer (kept in its slot) or a partial
#           (owned by the item); in a ring of its peer's
#
# All memory is allocated by malloc (peers by posix_memalign) and owned by the struct that lists it,
# except where a comment says otherwise. Only the loop's thread touches it, except `published`,
# `logs`, `loop.command`, `loop.wake_in` and `guard.next`.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

from pound._base.buffer cimport buffer_t
from pound._base.freelist cimport freelist_t
from pound._base.links cimport link_t, queue_t
from pound._base.pool cimport pool_t
from pound._base.table cimport names_t
from pound._dispatch.model cimport dispatcher_t
from pound._wire.dialects cimport frame_t
from pound._zmq.libzmq cimport zmq_msg_t
from pound._zmq.pipes cimport pipe_t, pipes_t
from pound.security.table cimport keytable_t
from pound.security.zap cimport LISTENERS_MAX, PROOF_SIZE, zap_rules_t
from .log_queue cimport logs_t
from .outgoing cimport outgoing_t

cdef enum:
    LABEL_MAX = 64           # bytes of a label, as PROTOCOL allows; longer ones are cut
    VIOLATIONS_MAX = 100        # malformed messages; then a route is ignored for a while
    ANSWER_BYTES = 256       # what a kept or queued answer costs beside its record: bounded with it
    RESERVE_MAX = 32         # descriptors kept for those on this machine
    COUNTERS = 64            # room in the published statistics
    LOST_MAX = 64            # REQ workers that are looked for
    ROUTE_ID_MAX = 255       # bytes of a routing id by ZMTP; libzmq lets raw peers claim more
    DIALECTS_MAX = 8         # room for the numbers of dialects
    NO_IDENTITY = 0xFFFFFFFF

cdef struct peer_t           # defined below

cdef struct stored_t:        # a record and what is attached to it
    uint8_t *bytes           # the record as PND has it (header, head, inline parts); owned
    uint32_t size            # how many these are
    uint16_t attached        # messages behind it, in the same block: its attached parts; owned
    uint16_t releases        # of a request: how often its workers gave it back

cdef struct envelope_t:      # what goes before the answer, as inline parts
    uint32_t size
    uint8_t parts[1]         # `size` bytes of them

cdef struct slot_t:          # 32 bytes: two in a cache line
    stored_t record          # the request until its final answer, then that answer
    envelope_t *envelope     # Guide client; owned; NULL: see below. PND: see releases.pxd
    uint32_t partials        # sequence of the next partial from a worker that does not number them
    uint8_t partial_attempt  # the attempt that `partials` counts in, as on the wire
    uint8_t dialect          # the client's
    uint8_t form             # FORM_*, of a Guide client
    uint8_t gap             # GAP_*: a partial is missing, so it ends with an error

cdef enum form_t:            # bits: how a Guide client is answered
    FORM_DELIMITED = 1       # without envelope: behind one empty frame
    FORM_WORKER_NUMBERS = 2  # MDP 0.2: see message_t

cdef enum gap_t:            # why a partial was dropped
    GAP_UNREAD = 1          # the client did not read those before
    GAP_MEMORY
    GAP_BAD                 # the worker sent one of a bad form or size
    GAP_LOST                # it never came

cdef struct stream_t:        # how far the partials of a task may go (credits.pxd)
    uint64_t seq             # of the request
    uint64_t run             # the token of its task
    uint64_t credit          # what they may cost in all; 0: nothing was said yet
    uint64_t taken           # what the client took, if it knows no CREDIT
    peer_t *holder           # the worker in whose `credits` it is; NULL: none
    link_t link
    uint32_t sequence        # the next partial that the client wants, as its last CREDIT said

cdef struct streams_t:       # by slot, as far as there were any
    stream_t *at             # owned
    uint32_t room

cdef struct item_t:
    stored_t *partial        # owned, of the free list; NULL: an answer, whose record is in the slot
    uint64_t seq             # of its request: the slot may be another one's by now
    uint32_t slot
    uint32_t size            # bytes that it counts for

cdef struct service_name_t:
    uint8_t *name            # owned
    uint32_t size
    uint8_t internal         # answered by the broker itself: PAGE_*
    uint8_t one_part         # its workers take bodies of one part only
    uint8_t open
    uint8_t *rights          # by grant: RIGHT_*; NULL until one is known; owned
    int64_t reported         # when it was last reported as waiting without a worker
    int64_t released_logged  # when it was last logged that its tasks are given back; 0: never
    uint32_t released        # how many were since

cdef struct route_t:
    peer_t *peer             # NULL for a PND route that has no session (any more)
    route_t *next            # of the peer's routes, latest first seen first
    route_t *next_closing
    uint64_t seen            # its order among all routes by first message
    uint32_t number          # in its side's table
    int fd                   # of its connection; -1 when it has none that is known
    uint16_t violations
    int64_t heard_at         # liveness ns of its last message; only while it has no connection
    int64_t violated_at      # when the last violation was; each second since then forgives one
    uint64_t violation_reason  # hash of the last one's reason
    uint8_t ignored          # it was ignored once: logged, and counted
    uint8_t deaf             # it sent a message that no dialect has: never listened to again
    uint8_t hop              # it carries the messages of several peers: never ignored
    uint8_t side
    uint8_t alive            # its connection has not been seen to close
    uint8_t closing          # on the side's closing list
    uint8_t welcomed         # its session was sent WELCOME here, and needs no other
    int64_t welcomed_at      # when that was tried last
    uint8_t ready            # PND worker: READY was read on this route
    uint8_t native           # a worker or a PND peer spoke here: it counts among `natives`
    uint8_t explicit_id      # chosen by the peer: it may come back under it
    uint8_t listener         # by which its connection came; NO_LISTENER: not known, or inproc
    uint32_t serial          # of the key that its connection proved; 0: none
    uint8_t denied           # refusal_t: why nothing that comes by it acts; 0: it does
    uint8_t counted          # among the connections of its key's identity
    uint8_t judged           # its proof was read
    uint8_t proof[PROOF_SIZE]  # the User-Id of its messages; all 0: inproc
    uint8_t size
    uint8_t id[ROUTE_ID_MAX]

cdef enum owed_t:            # small things a peer is sent at the next flush
    OWE_HEARTBEAT = 1
    OWE_DISCONNECT = 2

cdef enum lost_state_t:            # an idle REQ worker with an explicit id whose connection was cut
    LOST_CUT = 1             # it may come back, and would not say so
    LOST_TRIED = 2           # taken for ready again, not heard of yet

cdef struct unsent_t:        # a task that a worker is to be sent
    uint64_t token
    uint32_t slot

cdef struct unsent_tasks_t:  # what a worker is to be sent at the next flush, in order
    unsent_t *at             # owned
    uint32_t count
    uint32_t room

cdef struct blocked_t:       # its last send was refused
    peer_t *next             # on the list of blocked peers
    int64_t retry_at         # it is tried again then
    int64_t since            # when its first refused send was; 0: not blocked
    uint8_t waits            # on the list

cdef struct reading_t:       # whether a peer reads what it is sent
    pipe_t *pipe             # bytes that libzmq holds for it; NULL: never any that count
    uint64_t piped           # bytes that were ever counted there
    uint64_t pipe_noted      # of `items_bytes`, those in libzmq's pipe
    int64_t progress_at      # while it is blocked: when it was last seen to read
    int64_t looked_at        # and when that was looked for last
    int64_t taken_seen       # what was seen then: taken_mark of its connection
    uint64_t left_seen       # and bytes that had left its pipe

cdef struct deferral_t:      # its answers may wait
    peer_t *next             # on the list of such peers
    int64_t until

cdef struct heartbeat_t:     # of a worker
    peer_t *prev             # on its dialect's list, by `due`
    peer_t *next
    int64_t due              # monotonic ns: when it is looked at
    uint8_t scheduled        # on the list
    uint8_t sent_to          # since it was looked at last

cdef struct lost_worker_t:   # a REQ worker whose connection was cut
    int64_t cut_at           # also of clients: when the last route was seen to be gone
    int64_t tried_at         # LOST_TRIED: when it was taken for ready again
    uint64_t tried_order     # and the last connection that was open when it was sent a task
    int64_t not_before       # LOST_CUT: it is not tried before: its connection may be closing
    uint8_t state            # LOST_*

cdef struct control_t:       # small records, which carry no body: control.pxd
    buffer_t records         # without packet header
    size_t sent              # bytes of them that are with libzmq already
    uint64_t counted         # bytes of them in C_CONTROL_BYTES
    uint32_t count           # how many records are not with libzmq
    uint8_t owed             # OWE_*

cdef struct logged_t:        # what is not said, or done, again so soon
    int64_t refused_at       # when it was last logged that its requests are refused
    int64_t overdue_at       # when it was last logged that it holds a task for long
    uint64_t overdue         # which task
    uint64_t paged_turn      # the turn in which it was last sent a page with rows

cdef struct pnd_peer_t:
    buffer_t holds           # what HOLDS said since READY: adoption.pxd
    uint8_t session[16]      # secret
    uint8_t forgotten        # it was sent BYE 0, and waits for WELCOME

cdef struct guide_peer_t:
    uint64_t next_request    # client: the number of its next request
    int64_t disconnect_sent  # MDP worker: DISCONNECT is said at most once a second
    uint32_t service         # worker: its one service; NONE
    uint8_t delimited        # MDP worker: it uses the empty frame
    uint8_t text             # PPP worker: it says READY and HEARTBEAT as words
    uint8_t refused          # worker: its READY was; another DISCONNECT won't help

cdef struct label_t:         # the name that a peer gives itself, or its address
    uint8_t size
    uint8_t bytes[LABEL_MAX]

cdef struct rights_t:        # what a peer may do; all zero but for the identity without a guard
    uint32_t identity        # NO_IDENTITY
    uint16_t grant           # of the table in use
    uint8_t roles            # role_t
    uint8_t listener         # of its route, or NO_LISTENER
    uint32_t serial          # of its route

cdef struct peer_t:          # its first cache line is what queueing a task or an answer touches
    route_t *route           # where it is reached now; NULL: nowhere
    peer_t *next_dirty
    unsent_tasks_t tasks
    item_t *items            # what waits to be sent to the client: a ring; owned
    uint64_t items_bytes     # of the items; while it is blocked, those in libzmq's pipe, too
    uint32_t items_first     # its place in the ring
    uint32_t items_count
    uint32_t items_room      # of the ring: 0 or a power of two
    uint8_t dirty            # on the list of peers with something to send
    uint8_t dead             # to be freed at the end of the turn
    uint8_t deferred         # on the list of peers with answers that may wait
    uint8_t dialect          # of the worker; PND for both roles
    route_t *routes
    peer_t *next_dead
    uint32_t client          # NONE
    uint32_t worker          # NONE
    uint32_t number          # in the table of peers
    uint32_t capacity
    blocked_t blocked
    reading_t reading
    deferral_t deferral
    heartbeat_t heartbeat
    lost_worker_t lost
    control_t control
    queue_t credits          # slots whose credit it is to be sent, as a worker
    logged_t logged
    pnd_peer_t pnd
    guide_peer_t guide
    label_t label
    rights_t rights

cdef struct roster_t:         # numbers for pointers; numbers are reused
    void **at                # NULL where free; owned
    uint32_t *free           # stack of free numbers; owned
    uint32_t count           # numbers ever used
    uint32_t room
    uint32_t free_count

cdef struct connection_t:    # by descriptor: at most one is open on it
    route_t *route           # the route that its messages came under; NULL until one came
    int64_t opened_at        # when it was accepted
    uint64_t order           # among all connections
    int older                # young connections beside it, by descriptor; -1: none
    int younger
    uint64_t mark            # of its socket (descriptors.pxd); 0: not known
    uint8_t reported         # as silent
    uint8_t open
    uint8_t near             # its peer is on this machine
    uint8_t young            # young.pxd
    uint8_t family           # of `address`: 4, 6; 0: it is not known
    uint8_t address[16]      # of its peer; only with a guard
    uint8_t listener         # with `serial`
    uint8_t unsure           # with `serial`: it may be that of another connection beside it
    uint32_t serial          # of its key, while it is silent; 0: none that is known (arrivals.pxd)
    uint32_t identity        # with `serial`

cdef struct young_t:         # a list of connections, by age
    uint32_t count
    int oldest               # descriptors; if there are any
    int youngest

cdef struct socket_t:
    void *socket             # the ROUTER; owned by Python
    void *monitor            # the PAIR of its events; owned by Python
    names_t ids              # routing id → route number
    roster_t routes
    connection_t *connections  # by descriptor; owned
    int connections_room
    uint32_t unrecorded      # connections that opened when there was no memory for their record
    route_t *closing         # closed routes whose last messages may still be unread
    int64_t closing_since
    int fd                   # libzmq's descriptors: readable when a notice came in
    int monitor_fd
    int64_t handshake_ns     # libzmq closes a connection whose handshake takes longer
    young_t young[2]         # of other machines, of this one
    uint8_t readable         # perhaps: it has a notice, was not read to EAGAIN, or was sent by
    uint8_t monitor_readable
    uint32_t natives         # living routes of workers and PND peers: with any, it is never unread
    uint8_t is_inproc        # bound for inproc: a route without a connection may be of this process
    uint8_t cutting          # in the midst of a message whose rest is dropped
    uint64_t cut             # frames of it that were read
    route_t *cut_route       # its sender, to be ignored; NULL: gone, or a proxy

cdef struct settings_t:
    int64_t heartbeat_ns
    int64_t ppp_heartbeat_ns
    int64_t mdp_heartbeat_ns
    int64_t client_grace_ns
    int64_t adopt_wait_ns    # 0: no task is adopted
    int64_t drain_timeout_ns
    int64_t lease_ns
    int64_t held_long_ms     # 0: no task is logged for how long it was held
    uint32_t liveness
    uint32_t ppp_liveness
    uint32_t mdp_liveness
    uint32_t body_bytes_max
    uint32_t packet_bytes_max
    uint32_t frames_max
    uint32_t requests_max
    uint32_t features        # feature_t: what WELCOME says that this broker does
    uint32_t handshakes_max
    uint64_t undelivered_bytes_max
    uint64_t memory_max
    uint64_t unread_bytes    # waiting bytes from which on a frontend is left unread, if
    uint8_t overflow_blocks

cdef struct guest_t:         # a connection that may stay for a moment
    int64_t until
    int fd                   # -1: none
    uint8_t side

cdef struct descriptors_t:   # see descriptors.pxd
    int limit                # RLIMIT_NOFILE: every descriptor is below
    int reserve              # a connection within that of the limit is a guest
    int spare                # closed when accept fails; -1
    uint32_t guests_count
    int64_t look_at          # when the time of a guest is over
    guest_t guests[RESERVE_MAX]

cdef enum full_t:         # rounds_t.full: a table was full
    FULL_CLIENTS = 1
    FULL_WORKERS = 2

cdef enum command_t:
    COMMAND_NONE = 0
    COMMAND_DRAIN
    COMMAND_STOP

cdef struct published_t:     # read by other threads: sequence is odd while it is being written
    uint64_t sequence
    uint64_t dispatcher[COUNTERS]
    uint64_t loop[COUNTERS]

cdef struct services_t:      # services.pxd
    service_name_t *at       # by service; owned
    uint32_t room
    uint32_t count           # numbers ever used
    uint32_t unnamed         # the default service
    names_t names            # name → service

cdef struct peers_t:         # peers.pxd
    roster_t all
    peer_t **of_client       # by client; the array is owned
    peer_t **of_worker       # by worker; likewise
    uint32_t clients_room
    uint32_t workers_room
    names_t sessions         # session → number of its peer
    peer_t *dead             # to be freed at the end of the turn
    uint64_t routes_seen
    uint64_t connections_seen

cdef struct pending_t:       # queues.pxd: who is to be sent something
    peer_t *dirty            # in this turn
    peer_t *dirty_tail
    peer_t *blocked          # whose send was refused, by time of the next try
    peer_t *blocked_tail
    peer_t *deferred         # with deferred answers, by when they are due
    peer_t *deferred_tail

cdef struct heartbeats_t:    # by dialect: the workers, by whose heartbeat is due first
    peer_t *first[DIALECTS_MAX]
    peer_t *last[DIALECTS_MAX]

cdef struct lost_t:          # REQ workers that may be reachable again: departures.pxd
    peer_t *peers[LOST_MAX]
    uint32_t count
    int64_t tried_at
    uint8_t seek             # a connection came, or a task waits: they may be back

cdef struct incoming_t:      # the message being read
    zmq_msg_t *frames        # as many as there is room for; owned
    frame_t *frame_views     # where their bytes are; as many, owned
    uint32_t room            # frames_max and the routing id
    uint64_t frames_read     # of all messages

cdef struct outbound_t:      # scratch of the flush: the message that is being put together
    buffer_t packet
    zmq_msg_t **attached     # what goes behind the packet: as many as incoming.room, owned
    outgoing_t message

cdef struct budget_t:        # budget.pxd
    uint64_t held_peak       # most bytes held since free memory was last given back
    uint64_t page_bytes      # of pages that this turn wrote
    int64_t unread_at        # when it is looked again for clients that read nothing
    int64_t trimmed_at       # requests that waited when free memory was last given back
    int64_t beside_least     # least bytes of the process beside what is held; 0: never looked
    int64_t beside_at        # not before is free memory given back because there are more
    int64_t beside_pauses    # how many pauses there are until then
    uint64_t beside_ended    # connections and bad messages that had ended then
    uint8_t over             # more is held than memory_max

cdef struct loop_t:          # loop.pxd
    int64_t started
    int64_t due              # when the next timer fires; -1: none is armed
    int64_t pulse_ns         # the shortest heartbeat: no turn waits longer
    int64_t paused           # ns of own pauses, which liveness does not count
    int64_t resumed_at       # when its last pause was over
    int64_t reap_from        # no closed route is given up before: peers come back after a pause
    uint64_t backlog         # messages and records that the last turn read
    int64_t yield_from       # no yields before: the core is shared with a computation
    int64_t yield_pause_ns   # how long there were none when that was noticed last
    int wake_in              # written to: a command waits
    int wake_out
    uint8_t flush_first          # a peer that reads is owed much: nothing is read before the flush
    uint8_t command          # COMMAND_*; written by other threads
    uint8_t finished

cdef struct known_key_t:     # of a moved request, or of a claim
    link_t link              # by age
    uint8_t key[16]          # secret
    int64_t until
    uint64_t token           # of the claim; 0: it is a request's
    uint64_t seq             # of the request
    uint64_t run             # which its client has seen partials of; 0: of none
    uint32_t slot
    uint8_t attempt          # of the claim

cdef struct adoption_t:      # adoption.pxd
    known_key_t *known       # by number
    pool_t pool
    names_t keys             # key → number
    queue_t by_age
    uint64_t heard_bytes     # of what HOLDS said, in all peers

cdef struct drain_t:         # drain.pxd
    int64_t until            # 0: not draining
    uint32_t at              # slot of a request that the drain waits for
    uint32_t unfinished      # requests that were left at its end
    uint8_t draining
    uint8_t over             # it came to its end, and was not stopped

cdef struct rounds_t:        # housekeeping.pxd: where the next look begins
    int64_t at               # when that is
    uint32_t services        # that wait without a worker
    uint32_t workers         # that hold a task for long
    int connections[2]       # that never sent a message, of each side
    uint32_t routes[2]       # without a connection that can be watched
    uint8_t full             # FULL_*: somebody was refused since a table was full

cdef struct keyed_arrival_t:  # a key that was let in by a connection that is not known yet
    int64_t at
    uint32_t serial
    uint32_t identity
    uint8_t listener
    uint8_t found            # found_t
    uint8_t family
    uint8_t address[16]

cdef struct arrivals_t:      # arrivals.pxd
    keyed_arrival_t *at      # oldest first; owned
    uint32_t count
    uint32_t room
    int64_t look_at          # when connections are sought for them; INT64_MAX: there are none

cdef struct guard_t:         # guard.pxd: who is let in
    keytable_t *table        # in use; owned. `rules` has it, too
    keytable_t *next         # atomic: given by another thread, the loop takes it; owned
    zap_rules_t rules
    uint8_t dialects[LISTENERS_MAX]  # that may be spoken at a listener: 1 << DIALECT_*
    int64_t expires_at       # wall clock, ns: when the next key expires
    int64_t wall_at          # what the wall clock said last; it may be set back
    uint8_t timed            # the table has a key with an end, expired or not
    int64_t cut_at           # when the connections of denied routes are closed; INT64_MAX: none is
    arrivals_t arrivals
    void *zap                # the REP that libzmq asks; owned by Python
    int zap_fd               # libzmq's descriptor of it
    uint8_t zap_readable     # as socket_t.readable
    uint8_t failed[2]        # of each side: why a handshake failed whose connection is about to end
    uint8_t testing          # the self-test runs: nothing is logged or counted

cdef struct about_t:         # what pages say; owned by Python
    const char *counter_names[COUNTERS]
    const char *dispatcher_names[COUNTERS]
    const char *version
    const char *endpoints    # JSON object

cdef struct broker_t:        # each part is its module's; others read it
    dispatcher_t *d
    settings_t settings
    int64_t now              # monotonic ns, at the start of the turn
    socket_t sides[2]        # FRONTEND, BACKEND
    uint8_t epoch[16]
    slot_t *slots            # by slot
    void *slots_block        # what they lie in; owned
    uint32_t slots_room
    streams_t streams
    services_t services
    peers_t peers
    pending_t pending
    heartbeats_t heartbeats
    lost_t lost
    incoming_t incoming
    outbound_t outbound
    freelist_t freelist        # stored records, and partials
    buffer_t scratch         # of pages and records
    pipes_t *pipes           # bytes that libzmq holds for all peers
    budget_t budget
    loop_t loop
    drain_t drain
    adoption_t adoption
    rounds_t rounds
    descriptors_t descriptors
    uint64_t counters[COUNTERS]
    logs_t *logs             # owned; the logging thread takes what the loop puts
    about_t about
    published_t published
    guard_t *guard           # owned; NULL without keys
