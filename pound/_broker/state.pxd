# The broker's data: who is connected, what is stored, what waits to be sent. Structs only.
#
# Numbers and owners
#   slot    a request's number in the dispatcher; `slots[slot]` owns its stored record
#   client, worker, service   the dispatcher's numbers; `client_peer`, `worker_peer` and `services`
#           map them back
#   peer    a program at the other end: one PND session, or one foreign routing id. Freed at the end
#           of the turn in which it has neither route, client nor worker any more
#   route   a ZeroMQ routing id on one socket; belongs to one peer; owned by its side's table
#   item    one thing to be sent to a client, in order: an answer (kept in its slot) or a partial
#           (owned by the item); in a ring of its peer's
#
# Everything is allocated by malloc (peers by posix_memalign) and owned by the struct that lists it,
# except where a comment says otherwise. Only the loop's thread touches any of it; `published` and
# `logs` are the exceptions.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from pound._base.buffer cimport buffer_t
from pound._base.freelist cimport spares_t
from pound._base.links cimport link_t, queue_t
from pound._base.table cimport names_t
from pound._dispatch.model cimport dispatcher_t
from pound._wire.dialects cimport frame_t
from pound._zmq.libzmq cimport zmq_msg_t
from pound._zmq.pipes cimport pipe_t, pipes_t
from .log_queue cimport logs_t
from .outgoing cimport outgoing_t

cdef enum:
    LABEL_MAX = 64           # bytes of a label, as PROTOCOL allows; longer ones are cut
    STRIKES_MAX = 100        # malformed messages; then a route is not listened to for a while
    ANSWER_BYTES = 256       # what a kept or queued answer costs beside its record: bounded with it
    RESERVE_MAX = 32         # descriptors kept for those on this machine
    COUNTERS = 64            # room in the published statistics
    LOST_MAX = 64            # REQ workers that are looked for
    ROUTE_ID_MAX = 255       # bytes of a routing id by ZMTP; libzmq lets raw peers claim more
    DIALECTS_MAX = 8         # room for the numbers of dialects

cdef struct peer_t           # defined below

cdef struct stored_t:        # a record and what is attached to it
    uint8_t *image           # the record as PND has it (header, head, inline parts); owned
    uint32_t size            # bytes of the image
    uint16_t attached        # messages behind it, in the same block: its attached parts; owned
    uint16_t releases        # of a request: how often its workers gave it back

cdef struct envelope_t:      # what goes before the answer, as inline parts
    uint32_t size
    uint8_t parts[1]         # `size` bytes of them

cdef struct slot_t:          # 32 bytes: two in a cache line
    stored_t record          # the request until its final answer, then that answer
    envelope_t *envelope     # foreign client; owned; NULL: see below. PND: see releases.pxd
    uint32_t partials        # sequence of the next partial from a worker that does not number them
    uint8_t partial_attempt  # the attempt that `partials` counts in
    uint8_t dialect          # the client's
    uint8_t form             # FORM_*, of a foreign client
    uint8_t hole             # HOLE_*: a partial is missing, so it ends with an error

cdef enum form_t:            # bits: how a foreign client is answered
    FORM_DELIMITED = 1       # without envelope: behind one empty frame
    FORM_WORKER_NUMBERS = 2  # MDP 0.2: see message_t

cdef enum hole_t:            # why a partial was dropped
    HOLE_UNREAD = 1          # the client did not read those before
    HOLE_MEMORY
    HOLE_BAD                 # the worker sent one of a bad form or size
    HOLE_LOST                # it never came

cdef struct stream_t:        # how far the partials of a task may go (credits.pxd)
    uint64_t seq             # of the request
    uint64_t credit          # what they may cost in all; 0: nothing was said yet
    uint64_t taken           # what the client took, if it knows no CREDIT
    peer_t *teller           # the worker in whose `credits` it is; NULL: none
    link_t link
    uint8_t attempt

cdef struct item_t:
    stored_t *partial        # owned, a spare; NULL: an answer, whose record is in the slot
    uint64_t seq             # of its request: the slot may be another one's by now
    uint32_t slot
    uint32_t size            # bytes that it counts for

cdef struct service_name_t:
    uint8_t *name            # owned
    uint32_t size
    uint8_t internal         # answered by the broker itself: PAGE_*
    uint8_t one_part         # its workers take bodies of one part only
    uint8_t open
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
    uint16_t strikes
    int64_t heard_at         # liveness ns of its last message; only while it has no connection
    int64_t struck_at        # when the last strike was; each second since then forgives one
    uint64_t struck_for      # hash of the last strike's reason
    uint8_t struck           # it was struck off once: said in the log, and counted
    uint8_t deaf             # it sent a message that no dialect has: never listened to again
    uint8_t hop              # it carries the messages of several peers: never struck off
    uint8_t side
    uint8_t alive            # its connection has not been seen to close
    uint8_t closing          # on the side's closing list
    uint8_t welcomed         # its session was told WELCOME here, and need not be told again
    int64_t welcomed_at      # when that was tried last
    uint8_t ready            # PND worker: READY was read on this route
    uint8_t native           # a worker or a PND peer spoke here: it counts among `natives`
    uint8_t explicit_id      # chosen by the peer: it may come back under it
    uint8_t size
    uint8_t id[ROUTE_ID_MAX]

cdef enum owed_t:            # small things a peer is told at the next flush
    OWE_HEARTBEAT = 1
    OWE_DISCONNECT = 2

cdef enum lost_t:            # an idle REQ worker with an explicit id whose connection was cut
    LOST_CUT = 1             # it may come back, and would not say so
    LOST_TRIED = 2           # taken for ready again, not heard of yet

cdef struct unsent_t:        # a task that a worker is to be sent
    uint64_t token
    uint32_t slot

cdef struct peer_t:          # its first cache line is what queueing a task or an answer touches
    route_t *route           # where it is reached now; NULL: nowhere
    peer_t *next_dirty
    unsent_t *tasks          # what it is to be sent at the next flush, in order; owned
    uint32_t tasks_count
    uint32_t tasks_room
    item_t *items            # what waits to be sent to the client: a ring; owned
    uint64_t items_bytes     # of the items; while it is blocked, those in libzmq's pipe, too
    uint32_t items_first     # its place in the ring
    uint32_t items_count
    uint32_t items_room      # of the ring: 0 or a power of two
    uint8_t dirty            # on the list of peers with something to send
    uint8_t dead             # to be freed at the end of the turn
    uint8_t deferred         # on the list of peers with answers that may wait
    uint8_t dialect          # of the worker; PND for both roles
    uint8_t session[16]      # PND; secret
    route_t *routes
    peer_t *next_dead
    peer_t *next_blocked
    peer_t *next_deferred
    peer_t *beat_prev        # list of its dialect's workers by next heartbeat
    peer_t *beat_next
    int64_t beat_due         # monotonic ns: when its heartbeat is looked at
    int64_t retry_at         # a refused send is tried again then
    int64_t deferred_until   # when its deferred answers are sent
    int64_t blocked_since    # when its first refused send was; 0: not blocked
    int64_t progress_at      # while it is blocked: when it was last seen to read
    int64_t looked_at        # and when that was looked for last
    int64_t taken_seen       # what was seen then: taken_mark of its connection
    uint64_t left_seen       # and bytes that had left its pipe
    uint64_t pipe_noted      # of `items_bytes`, those in libzmq's pipe
    pipe_t *pipe             # bytes that libzmq holds for it; NULL: never any that count
    uint64_t piped           # bytes that were ever counted there
    uint64_t paged_turn      # the turn in which it was last sent a page with rows
    int64_t refused_at       # when it was last logged that its requests are refused
    int64_t overdue_told     # when it was last logged that it holds a task for long
    uint64_t overdue         # which task
    int64_t disconnect_sent  # MDP: DISCONNECT is said at most once a second
    int64_t cut_at           # client, lost worker: when its last route was seen to be gone
    int64_t tried_at         # REQ, LOST_TRIED: when it was taken for ready again
    uint64_t tried_order     # and the last connection that was open when it was sent a task
    int64_t not_before       # REQ, LOST_CUT: it is not tried before: its connection may be closing
    uint64_t next_request    # foreign clients: the number of their next request
    buffer_t control         # PND records for it that carry no body, without packet header
    size_t control_sent      # bytes of them that are with libzmq already
    uint32_t control_records  # how many are not
    queue_t credits          # slots whose credit it is to be told, as a worker
    uint64_t control_counted  # bytes of them in C_CONTROL_BYTES
    uint32_t client          # NONE
    uint32_t worker          # NONE
    uint32_t number          # in the table of peers
    uint32_t worker_service  # foreign worker: its one service; NONE
    uint32_t capacity
    uint8_t delimited        # MDP worker: it uses the empty frame
    uint8_t text             # PPP worker: it says READY and HEARTBEAT as words
    uint8_t owed             # OWE_*
    uint8_t waits            # on the list of blocked peers
    uint8_t sent_to          # since its heartbeat was looked at last
    uint8_t beating          # on its dialect's list of heartbeats
    uint8_t lost             # LOST_*
    uint8_t forgotten        # PND: it was told BYE 0, and waits for WELCOME
    uint8_t refused          # foreign worker: its READY was; another DISCONNECT won't help
    uint8_t label_size
    uint8_t label[LABEL_MAX]

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
    uint8_t reported         # as silent
    uint8_t open

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
    uint8_t readable         # perhaps: it has a notice, was not read to EAGAIN, or was sent by
    uint8_t monitor_readable
    uint32_t natives         # living routes of workers and PND peers: with any, it is never unread
    uint8_t near             # bound for inproc: a route without a connection may be of this process
    uint8_t cutting          # in the midst of a message whose rest is dropped
    uint64_t cut             # frames of it that were read
    route_t *cut_route       # its sender, to be struck off; NULL: gone, or a proxy

cdef struct settings_t:
    int64_t heartbeat_ns
    int64_t ppp_heartbeat_ns
    int64_t mdp_heartbeat_ns
    int64_t client_grace_ns
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
    uint64_t undelivered_bytes_max
    uint64_t memory_max
    uint64_t unread_bytes    # waiting bytes from which on a frontend is left unread, if
    uint8_t overflow_blocks

cdef enum:         # what the loop itself counts; the dispatcher has its own
    C_MESSAGES_IN
    C_MESSAGES_OUT
    C_RECORDS_IN
    C_BYTES_IN
    C_BYTES_OUT
    C_BAD_MESSAGES           # dropped whole: broken framing or form, of any dialect
    C_BAD_PND                # of them, as far as the dialect was recognised
    C_BAD_PLAIN
    C_BAD_PPP
    C_BAD_MDP1
    C_BAD_MDP2
    C_BAD_RECORDS            # sound records with a wrong value
    C_UNKNOWN_RECORDS        # records of a kind that does not exist, skipped
    C_UNKNOWN_VERSIONS       # packets of another version
    C_STRUCK_MESSAGES        # dropped unread, since their route was struck off
    C_STRUCK_ROUTES
    C_RESERVED_SERVICES      # READYs and requests that named a service of the broker's own
    C_ONE_PART_REFUSED
    C_REFUSED_FOREIGN        # by a limit; their dialect has no way to be told
    C_FAILED_FOREIGN         # errors that the client's dialect has no answer for
    C_REFUSED_DRAINING
    C_STALE_REQUESTS         # sent again by a client that had said it was done with them
    C_ANSWERS_UNKNOWN        # from sessions that are no workers (any more)
    C_PARTIALS
    C_PARTIALS_DROPPED       # for clients whose dialect has none
    C_CREDITS_LATE           # CREDITs of attempts that were over, or never were
    C_UNDELIVERABLE          # answers dropped: their client did not read, or was gone
    C_DEFERRED               # answers that might wait, so that more leave together
    C_BLOCKED                # sends refused because the peer's pipe was full
    C_UNREACHABLE            # sends refused because the peer's connection was closed
    C_CLOSED_CONNECTIONS
    C_UNROUTED_CONNECTIONS   # of them, those that never sent a message by a route of their own
    C_DISCONNECTS            # MDP DISCONNECTs sent
    C_PAUSES                 # own pauses longer than a heartbeat, for which there was amnesty
    C_LOGS_DROPPED
    C_CONTROL_DROPPED        # small records for a peer that does not read
    C_SESSIONS_REFUSED       # requests and READYs of clients and workers above sessions_max
    C_HELD_LONG              # tasks that a worker has held for long, as far as they were told
    C_UNREAD_CLIENTS         # times that a client lost all that it had not read
    C_NO_MEMORY
    C_TURNS
    C_PEERS                  # how many there are now; so the three below
    C_ROUTES
    C_QUEUED                 # items in the queues of clients
    C_IMAGES                 # stored records
    C_TURNED_AWAY            # connections that were closed since descriptors were few
    C_UNDELIVERED_BYTES      # in the queues of clients
    C_PIPE_BYTES             # in libzmq's pipes, as far as they are counted
    C_CONTROL_BYTES          # of small records that wait for their peers
    C_HELD_BYTES             # of all that the budget is for: budget.pxd
    C_COUNT

cdef enum log_kind:
    LOG_WORKER_READY = 1
    LOG_WORKER_GONE
    LOG_WORKER_LEFT          # after its BYE
    LOG_WORKER_SILENT
    LOG_WORKER_LEAVES
    LOG_BAD_MESSAGE
    LOG_STRUCK
    LOG_REQUEST_FAILED
    LOG_REQUEST_UNANSWERABLE
    LOG_SERVICE_WAITING
    LOG_PAUSE
    LOG_DRAINING
    LOG_DRAINED
    LOG_WORKER_REFUSED
    LOG_SILENT_CONNECTION
    LOG_REQUESTS_REFUSED
    LOG_TASKS_RELEASED
    LOG_UNFINISHED           # LOG_DRAINED, with work left
    LOG_DESCRIPTORS_SHORT
    LOG_TASK_HELD
    LOG_CLIENT_UNREAD

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

cdef enum crowded_t:         # broker_t.crowded: a table was full
    CROWDED_CLIENTS = 1
    CROWDED_WORKERS = 2

cdef enum command_t:
    COMMAND_NONE = 0
    COMMAND_DRAIN
    COMMAND_STOP

cdef struct published_t:     # read by other threads: sequence is odd while it is being written
    uint64_t sequence
    uint64_t dispatcher[COUNTERS]
    uint64_t loop[COUNTERS]

cdef struct broker_t:
    dispatcher_t *d
    settings_t settings
    socket_t sides[2]          # FRONTEND, BACKEND
    uint8_t epoch[16]
    slot_t *slots            # by slot
    void *slots_block        # what they lie in; owned
    uint32_t slots_room
    stream_t *streams        # by slot, as far as there were any; owned
    uint32_t streams_room
    peer_t **client_peer     # by client; the array is owned
    uint32_t clients_room
    peer_t **worker_peer     # by worker; the array is owned
    uint32_t workers_room
    service_name_t *services      # by service; owned
    uint32_t services_room
    uint32_t services_count  # numbers ever used
    names_t service_names    # name → service
    uint32_t default_service
    names_t sessions         # session → number of its peer
    roster_t peers
    peer_t *dirty            # peers with something to send
    peer_t *dirty_tail
    peer_t *dead             # peers to be freed at the end of the turn
    peer_t *beats[DIALECTS_MAX]  # by dialect: the worker whose heartbeat is due first
    peer_t *beats_tail[DIALECTS_MAX]
    peer_t *blocked          # peers whose send was refused, by time of the next try
    peer_t *blocked_tail
    peer_t *deferred         # peers with deferred answers, by when they are due
    peer_t *deferred_tail
    peer_t *lost[LOST_MAX]   # REQ workers that may be reachable again, if a task waits
    uint32_t lost_count
    uint64_t routes_seen
    uint64_t connections_seen
    zmq_msg_t *frames        # of the message being read; frames_count of them, owned
    frame_t *views           # where their bytes are; as many, owned
    uint32_t frames_count    # frames_max and the routing id
    uint64_t frames_read     # of all messages
    buffer_t packet          # scratch of the flush
    zmq_msg_t **attach       # likewise: what goes behind the packet; frames_count of them, owned
    outgoing_t outgoing      # likewise: the message that is being put together
    spares_t spares          # images of stored records, and partials
    buffer_t scratch         # scratch of pages and images
    pipes_t *pipes           # bytes that libzmq holds for all peers
    uint64_t page_bytes      # of pages that this turn wrote
    uint64_t held_peak       # most bytes held since free memory was last given back
    uint8_t crowded          # CROWDED_*: somebody was refused since a table was full
    uint8_t over             # more is held than memory_max
    int64_t unread_at        # when it is looked again for clients that read nothing
    int64_t resumed_at       # when its last pause was over
    uint64_t crowd           # messages and records that the last turn read
    int64_t trimmed_at       # requests that waited when free memory was last given back
    int64_t beside_least     # least bytes of the process beside what is held; 0: never looked
    int64_t beside_at        # not before is free memory given back because there are more
    int64_t beside_pauses    # how many pauses there are until then
    uint64_t beside_ended    # connections and bad messages that had ended then
    int64_t yield_from       # no yields before: the core is shared with a computation
    int64_t yield_pause_ns   # how long there were none when that was noticed last
    int wake_in              # written to: a command waits
    int wake_out
    int64_t now              # monotonic ns, at the start of the turn
    int64_t paused           # ns of own pauses, which liveness does not count
    int64_t judge_from       # no closed route is judged before: peers come back after a pause
    int64_t started
    int64_t due              # when the next timer fires; -1: none is armed
    int64_t pulse_ns         # the shortest heartbeat: no turn waits longer
    int64_t drain_until      # 0: not draining
    uint32_t drain_at        # slot of a request that the drain waits for
    uint32_t unfinished      # requests that were left at its end
    uint8_t drain_over       # it came to its end, and was not stopped
    int64_t lost_tried_at
    uint8_t seek_lost        # a connection came, or a task waits: lost workers may be back
    int64_t report_at        # when services that wait without a worker are looked for again
    uint32_t report_from     # and from which number on
    uint32_t overdue_from    # likewise, workers that hold a task for long
    int silent_from[2]       # likewise, descriptors of connections that never sent a message
    uint32_t probe_from[2]   # likewise, routes without a connection that can be watched
    uint8_t crammed          # a peer that reads is owed much: nothing is read before the flush
    uint8_t command          # COMMAND_*; written by other threads
    uint8_t draining
    uint8_t finished
    uint64_t counters[COUNTERS]
    descriptors_t descriptors
    logs_t *logs             # owned; the logging thread takes what the loop puts
    const char *counter_names[COUNTERS]  # of `counters`; owned by Python
    const char *version      # owned by Python
    const char *endpoints    # JSON object; owned by Python
    published_t published
