"""The shell: the poll loop, the clock, and the one seam where Python is entered.

`Core` owns the broker's data. Its thread calls `run`, which turns without the GIL until the loop
has ended. A turn reads what has come, lets the timers fire, and sends what follows; whatever it
touches is C. Another thread takes the events that are to be logged, by `events`.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.unistd cimport read

import os

from zmq import FD, HANDSHAKE_IVL

from pound._base.buffer cimport buffer_free
from pound._base.check cimport CHECK
from pound._base.freelist cimport spares_free
from pound._base.table cimport names_free, names_init
from pound._broker.actions cimport act, live_now, lost_seek, route_lost, service_named, worker_beats
from pound._broker.budget cimport budget, trim, trim_beside
from pound._broker.descriptors cimport (
    descriptors_close, descriptors_limit, descriptors_open, descriptors_tick)
from pound._broker.drain cimport drain_begin, drain_check, farewell
from pound._broker.flush cimport flush, flush_blocked, flush_deferred
from pound._broker.inbound cimport monitor_drain, receive
from pound._broker.log_queue cimport (
    log_t, logs_close, logs_dropped, logs_free, logs_lost, logs_open, logs_sweep, logs_take, logs_t,
    logs_wait)
from pound._broker.outgoing cimport outgoing_free
from pound._broker.overdue cimport overdue_report
from pound._broker.peers cimport (
    log_event, peer_free, peer_touch, peers_bury, roster_free, route_free)
from pound._broker.reasons cimport reason_of
from pound._broker.records cimport slot_clear
from pound._broker.state cimport (
    COMMAND_DRAIN, COMMAND_STOP, COUNTERS, C_BYTES_IN, C_COUNT, C_MESSAGES_IN, C_PAUSES,
    C_RECORDS_IN, C_LOGS_DROPPED, C_TURNS, LOG_PAUSE, LOG_SERVICE_WAITING, LOG_SILENT_CONNECTION,
    LOST_TRIED, OWE_HEARTBEAT, WHY_DRAINING, WHY_ONE_PART, WHY_RESERVED, WHY_RESULT, broker_t,
    connection_t, peer_t, route_t, service_name_t, settings_t, socket_t)
from pound._broker.sweep cimport sweep
from pound._dispatch.admission cimport open_bytes
from pound._dispatch.dispatcher cimport (
    NONE, OPENED_PINNED, REQ_MANY_OWN_NAMES, disp_delete, disp_new, disp_next_due, disp_tick,
    service_t)
from pound._dispatch.limits cimport limits_default, limits_t
from pound._wire.codes cimport DIALECT_END, dialect_name
from pound._wire.dialects cimport BACKEND, DIALECT_MDP2, DIALECT_PND, FRONTEND, frame_t
from pound._zmq.libzmq cimport zmq, zmq_msg_t
from pound._zmq.pipes cimport pipes_new, pipes_release

cdef extern from "pound/_base/clock.h" nogil:
    int64_t clock_ns()

cdef extern from "poll.h" nogil:
    ctypedef struct pollfd_t "struct pollfd":
        int fd
        short events
        short revents
    int poll(pollfd_t *fds, unsigned long count, int timeout_ms)
    short POLLIN

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "pound/_base/seqlock.h" nogil:
    void seqlock_begin(uint64_t *sequence)
    void seqlock_end(uint64_t *sequence)
    int seqlock_read(uint64_t *sequence, void *to, const void *source, size_t size)
    void command_give(uint8_t *command, uint8_t value)
    uint8_t command_take(uint8_t *command)

cdef enum:
    BATCH_MESSAGES = 256     # of one socket in a turn: the other one and the timers get theirs
    BATCH_BYTES = 4 << 20
    BATCH_FRAMES = 16384
    WORTH_A_YIELD = 4        # messages and records of the last turn: their work is dearer by far
    YIELDS_MAX = 16
    YIELDS_NS = 5_000_000    # longer than libzmq's thread and a few others need to go on
    YIELD_PAUSE_MIN_NS = 2_000_000
    YIELD_PAUSE_MAX_NS = 1_000_000_000
    JUDGE_NS = 200_000_000   # a closed route is judged after this, even when much is unread
    LOGS_AT_ONCE = 64        # taken for the logging thread
    REPORT_NS = 1_000_000_000
    REPORT_ROWS = 256        # services, connections or routes looked at in one report
    SIDES = 2
    UNSHARED = 1 << 30       # no limit is so large
    BESIDE_BODY = 1 << 20    # bytes of a request's record and envelope, at most
    REPORT_AFTER_NS = 5_000_000_000
    REPORT_AGAIN_NS = 30_000_000_000

LOG_KINDS = (
    "held_back", "worker_ready", "worker_gone", "worker_left", "worker_silent", "worker_leaves",
    "bad_message", "route_struck", "request_failed", "request_unanswerable", "service_waiting",
    "pause", "draining", "drained", "worker_refused", "silent_connection", "requests_refused",
    "tasks_released", "unfinished", "descriptors_short", "task_held",
    "client_unread",
)
WHY_REFUSED = {
    <int> WHY_ONE_PART: "the service takes bodies of one part",
    <int> WHY_DRAINING: "the broker is draining",
    <int> WHY_RESERVED: "the name is reserved for the broker",
} | {WHY_RESULT + result: reason_of(result).decode() for result in range(REQ_MANY_OWN_NAMES + 1)}
WHY_WORKER_REFUSED = (
    "the name is reserved for the broker",
    "workers offer as many services as may be, or no memory (services_max)",
    "there are as many workers as may be, or no memory (sessions_max)",
)
DIALECTS = tuple([dialect_name(number).decode() for number in range(DIALECT_END)])
LOOP_COUNTERS = (
    "messages_in", "messages_out", "records_in", "bytes_in", "bytes_out", "bad_messages",
    "bad_pnd", "bad_plain", "bad_ppp", "bad_mdp1", "bad_mdp2", "bad_records", "unknown_records",
    "unknown_versions", "struck_messages", "struck_routes", "reserved_services",
    "one_part_refused", "refused_foreign", "failed_foreign", "refused_draining", "stale_requests",
    "answers_unknown", "partials", "partials_dropped", "credits_late", "undeliverable",
    "answers_deferred",
    "sends_blocked", "sends_unreachable", "closed_connections", "unrouted_connections",
    "disconnects", "pauses", "logs_dropped", "control_dropped", "sessions_refused",
    "tasks_held_long", "unread_clients", "no_memory", "turns", "peers", "routes", "queued",
    "images", "turned_away", "undelivered_bytes", "pipe_bytes", "control_bytes", "held_bytes",
)
DISPATCHER_COUNTERS = (
    "accepted", "waiting", "running", "answered", "failed", "cancelled", "expired", "refused",
    "losses", "released", "redelivered", "answers_late", "answers_dropped", "answers_evicted",
    "partials_late", "expired_workers", "waiting_bytes", "running_bytes", "kept", "kept_bytes",
    "clients", "workers", "services", "delayed",
)


# -- one turn ---------------------------------------------------------------------------------

cdef void run_turns(broker_t *b) noexcept nogil:
    while not b.finished:
        turn(b)


cdef void turn(broker_t *b) noexcept nogil:
    cdef uint64_t read_before = read_so_far(b)
    wait(b)
    gather(b)
    clock_read(b)
    command(b)
    monitor_read(b, BACKEND)
    monitor_read(b, FRONTEND)
    read_batch(b, BACKEND)
    read_batch(b, FRONTEND)
    b.crowd = read_so_far(b) - read_before
    judge(b, BACKEND)
    judge(b, FRONTEND)
    tick(b)
    budget(b)
    publish(b)  # before a peer hears of it: who was answered finds that counted
    flush(b)
    b.crammed = 0
    if b.lost_tried_at == b.now:
        lost_tried(b)
    b.due = next_due(b)
    peers_bury(b)
    drain_check(b)
    publish(b)


cdef void wait(broker_t *b) noexcept nogil:
    """Wait for input, for a command, or until the next timer is due; note what can be read.

    What is polled are libzmq's own descriptors. One is readable when a notice came in that
    libzmq has not taken in: so a socket is read to EAGAIN once it is, and looked at once more after
    sending by it, which may take the notice in.
    """
    cdef pollfd_t fds[5]
    cdef uint8_t wakes[64]
    cdef int64_t wait_ns = waiting_time(b)
    cdef socket_t *s
    cdef int side
    for side in range(SIDES):
        s = &b.sides[side]
        fds[side].fd = s.fd
        fds[SIDES + side].fd = s.monitor_fd
        if side == FRONTEND and unread(b):
            fds[side].fd = -1
        elif s.readable:
            wait_ns = 0
    fds[4].fd = b.wake_fd
    for i in range(5):
        fds[i].events = POLLIN
        fds[i].revents = 0
    # One more millisecond: poll rounds down, and a timer must not be early.
    poll(fds, 5, <int> (wait_ns // 1_000_000) + 1 if wait_ns > 0 else 0)
    for side in range(SIDES):
        b.sides[side].readable |= fds[side].revents != 0
        b.sides[side].monitor_readable |= fds[SIDES + side].revents != 0
    if fds[4].revents:
        read(b.wake_fd, wakes, sizeof(wakes))


cdef uint64_t read_so_far(const broker_t *b) noexcept nogil:
    """Count messages and records: what has come, and what it asks for."""
    return b.counters[C_MESSAGES_IN] + b.counters[C_RECORDS_IN]


cdef void gather(broker_t *b) noexcept nogil:
    """Under load, let libzmq's thread hand over all that it is reading before a batch is read.

    It wakes the loop for the first of many messages; what is read together leaves together, in
    a fraction of the packets. Yields that take longer than clients and workers on the same cores
    need gave the core to somebody else's computation: then there are none for a while, which
    doubles each time, and falls by an eighth each time that they are in time.
    """
    cdef uint64_t yields = min(YIELDS_MAX, b.crowd // WORTH_A_YIELD)
    cdef int64_t begun = clock_ns()
    cdef int64_t now = begun
    if yields == 0 or begun < b.yield_from:
        return
    while yields and now - begun <= YIELDS_NS:
        yields -= 1
        sched_yield()
        now = clock_ns()
    if now - begun > YIELDS_NS:
        b.yield_pause_ns = min(max(2 * b.yield_pause_ns, YIELD_PAUSE_MIN_NS), YIELD_PAUSE_MAX_NS)
        b.yield_from = now + b.yield_pause_ns
    else:
        b.yield_pause_ns -= b.yield_pause_ns // 8


# waiting_time returns for how long, in ns, nothing need be done unless something comes.
cdef int64_t waiting_time(broker_t *b) noexcept nogil:
    cdef int64_t wait_ns = b.pulse_ns // 2
    if b.due >= 0 and b.due - b.now < wait_ns:
        wait_ns = b.due - clock_ns()
    return wait_ns


# unread says whether the frontend is left unread: too much waits, clients can't be told, and the
# configuration would rather have them wait in their own queues.
cdef int unread(broker_t *b) noexcept nogil:
    return (b.settings.overflow_blocks and b.sides[FRONTEND].natives == 0
            and (b.d.counters.waiting >= b.d.limits.waiting_max
                 or open_bytes(b.d) >= b.settings.unread_bytes or b.d.full))


cdef void clock_read(broker_t *b) noexcept nogil:
    """Read the clock; a turn that took longer than a heartbeat was a pause of the broker's own."""
    cdef int64_t now = clock_ns()
    cdef int64_t pause = now - b.now - b.pulse_ns
    if pause > 0:
        b.paused += pause
        b.resumed_at = now
        if 2 * pause >= b.settings.heartbeat_ns * b.settings.liveness:
            b.judge_from = now + b.settings.heartbeat_ns
        b.counters[C_PAUSES] += 1
        log_event(b, LOG_PAUSE, NULL, NULL, 0, (pause + b.pulse_ns) // 1_000_000, 0)
    b.now = now
    b.counters[C_TURNS] += 1


cdef void command(broker_t *b) noexcept nogil:
    cdef uint8_t given = command_take(&b.command)
    if given == COMMAND_STOP:
        b.finished = 1
    elif given == COMMAND_DRAIN and not b.draining:
        drain_begin(b)


cdef void monitor_read(broker_t *b, uint8_t side) noexcept nogil:
    """Read what happened to connections; what a closed one had sent is to be read after it."""
    if b.sides[side].monitor_readable:
        b.sides[side].monitor_readable = 0
        b.sides[side].readable = 1
        monitor_drain(b, side)


cdef void read_batch(broker_t *b, uint8_t side) noexcept nogil:
    """Read a bounded batch; the socket stays `readable` when it was not read to EAGAIN."""
    cdef socket_t *s = &b.sides[side]
    cdef uint64_t enough = b.counters[C_BYTES_IN] + BATCH_BYTES
    cdef uint64_t enough_frames = b.frames_read + BATCH_FRAMES
    cdef int result
    if not s.readable:
        return
    for _ in range(BATCH_MESSAGES):
        if b.crammed or (side == FRONTEND and unread(b)):
            return
        result = receive(b, side)
        if result <= 0:
            s.readable = 0
            b.finished |= result < 0
            return
        if b.counters[C_BYTES_IN] > enough or b.frames_read > enough_frames:
            return


cdef void judge(broker_t *b, uint8_t side) noexcept nogil:
    """Give up the closed routes of a side, once their last messages are read.

    After a long pause of the broker's own, peers that took it for gone come back by other routes:
    these are waited for, so that what they hold is not taken for lost.
    """
    cdef socket_t *s = &b.sides[side]
    if s.closing != NULL and b.now >= b.judge_from and not (
            s.readable and b.now - s.closing_since < JUDGE_NS):
        while s.closing != NULL:
            route_lost(b, s.closing)
    if side == BACKEND and b.seek_lost:
        lost_seek(b)


# lost_tried notes which connections may be those of the workers that were just tried: libzmq tells
# of a connection before it takes a message for it, so all of them are known now.
cdef void lost_tried(broker_t *b) noexcept nogil:
    cdef uint32_t i
    monitor_drain(b, BACKEND)
    b.sides[BACKEND].readable = 1
    for i in range(b.lost_count):
        if b.lost[i].lost == LOST_TRIED and b.lost[i].tried_at == b.now:
            b.lost[i].tried_order = b.connections_seen


# -- timers -----------------------------------------------------------------------------------

cdef void tick(broker_t *b) noexcept nogil:
    """Fire what is due."""
    cdef uint8_t dialect
    descriptors_tick(b)
    flush_blocked(b)
    flush_deferred(b, b.now)
    disp_tick(b.d, b.now, live_now(b))
    act(b)
    for dialect in range(DIALECT_PND, DIALECT_MDP2 + 1):
        beat(b, dialect)
    if b.report_at <= b.now:
        report(b)
        b.report_at = b.now + REPORT_NS


# next_due returns when the next timer fires, those included that the flush armed; -1: none is.
cdef int64_t next_due(broker_t *b) noexcept nogil:
    cdef int64_t due = disp_next_due(b.d)
    cdef uint8_t dialect
    for dialect in range(DIALECT_PND, DIALECT_MDP2 + 1):
        if b.beats[dialect] != NULL:
            due = sooner(due, b.beats[dialect].beat_due)
    if b.blocked != NULL:
        due = sooner(due, b.blocked.retry_at)
    if b.descriptors.guests_count:
        due = sooner(due, b.descriptors.look_at)
    if b.deferred != NULL:
        due = sooner(due, b.deferred.deferred_until)
    if b.draining:
        due = sooner(due, b.drain_until)
    return due


cdef int64_t sooner(int64_t due, int64_t other) noexcept nogil:
    return other if due < 0 or other < due else due


cdef void beat(broker_t *b, uint8_t dialect) noexcept nogil:
    """Owe a heartbeat to each worker of the dialect that was sent nothing since the last look."""
    cdef peer_t *peer = b.beats[dialect]
    while peer != NULL and peer.beat_due <= b.now:
        if peer.sent_to:
            peer.sent_to = 0
        elif dialect == DIALECT_PND or (peer.worker != NONE and (
                b.d.workers[peer.worker].held == 0 or peer.route.fd < 0)):
            peer.owed |= OWE_HEARTBEAT
            peer_touch(b, peer)
        worker_beats(b, peer)
        peer = b.beats[dialect]


cdef void report(broker_t *b) noexcept nogil:
    """Look for services whose requests wait without any worker, some in each round."""
    cdef service_name_t *name
    cdef service_t *s
    cdef uint32_t _
    logs_sweep(b.logs, b.now, 0)
    descriptors_limit(b)
    if b.lost_count:
        lost_seek(b)
    trim(b)
    trim_beside(b)
    overdue_report(b)
    report_silent(b, FRONTEND)
    report_silent(b, BACKEND)
    sweep(b)
    for _ in range(REPORT_ROWS if REPORT_ROWS < b.services_count else b.services_count):
        b.report_from = (b.report_from + 1) % b.services_count
        name = &b.services[b.report_from]
        s = &b.d.services[b.report_from]
        if (name.open and s.workers == 0 and s.waiting
                and b.now - s.workerless_since >= REPORT_AFTER_NS
                and b.now - name.reported >= REPORT_AGAIN_NS):
            name.reported = b.now
            log_event(b, LOG_SERVICE_WAITING, NULL, name.name, name.size, <int64_t> s.waiting,
                      (b.now - s.workerless_since) // 1_000_000)


cdef void report_silent(broker_t *b, uint8_t side) noexcept nogil:
    """Look for connections that never sent a message, some in each round.

    libzmq ignores a connection whose routing id another one uses, for ever and without a word. It
    does not say which one has shaken hands, but closes those that don't within `handshake_ns`.
    """
    cdef socket_t *s = &b.sides[side]
    cdef connection_t *connection
    cdef int _
    for _ in range(REPORT_ROWS if REPORT_ROWS < s.connections_room
                   else s.connections_room):
        b.silent_from[side] = (b.silent_from[side] + 1) % s.connections_room
        connection = &s.connections[b.silent_from[side]]
        if (connection.open and connection.route == NULL and not connection.reported
                and b.now - connection.opened_at > s.handshake_ns + s.handshake_ns // 6):
            connection.reported = 1
            log_event(b, LOG_SILENT_CONNECTION, NULL, NULL, 0, side, 0)


# -- for other threads ------------------------------------------------------------------------

cdef void publish(broker_t *b) noexcept nogil:
    """Let other threads see the counters as they are now."""
    b.counters[C_LOGS_DROPPED] = logs_dropped(b.logs)
    seqlock_begin(&b.published.sequence)
    CHECK(sizeof(b.d.counters) <= sizeof(b.published.dispatcher), "COUNTERS is too small")
    memcpy(b.published.dispatcher, &b.d.counters, sizeof(b.d.counters))
    memcpy(b.published.loop, b.counters, sizeof(b.counters))
    seqlock_end(&b.published.sequence)


# -- making and freeing -----------------------------------------------------------------------

cdef void side_free(broker_t *b, uint8_t side) noexcept nogil:
    cdef socket_t *s = &b.sides[side]
    cdef uint32_t i
    for i in range(s.routes.count):
        if s.routes.at[i] != NULL:
            route_free(b, <route_t *> s.routes.at[i])
    roster_free(&s.routes)
    names_free(&s.ids)
    free(s.connections)


cdef void broker_free(broker_t *b) noexcept nogil:
    cdef peer_t *peer
    cdef uint32_t i
    side_free(b, FRONTEND)
    side_free(b, BACKEND)
    for i in range(b.peers.count):
        peer = <peer_t *> b.peers.at[i]
        if peer != NULL:
            peer_free(b, peer)
    roster_free(&b.peers)
    for i in range(b.slots_room):
        slot_clear(b, &b.slots[i])
    for i in range(b.services_count):
        free(b.services[i].name)
    for i in range(b.frames_count):
        zmq.msg_close(&b.frames[i])
    names_free(&b.sessions)
    names_free(&b.service_names)
    buffer_free(&b.packet)
    buffer_free(&b.scratch)
    spares_free(&b.spares)
    if b.pipes != NULL:
        pipes_release(b.pipes)
    free(b.slots_block)
    free(b.streams)
    free(b.client_peer)
    free(b.worker_peer)
    free(b.services)
    free(b.frames)
    free(b.views)
    free(b.attach)
    outgoing_free(&b.outgoing)
    descriptors_close(b)
    if b.logs != NULL:
        logs_free(b.logs)
    free(b.logs)
    if b.d != NULL:
        disp_delete(b.d)
    free(b)


# --- the handle ------------------------------------------------------------------------------

cdef int64_t ns(object seconds):
    return <int64_t> (seconds * 1e9)


cdef uint64_t seed():
    return int.from_bytes(os.urandom(8), "little")


cdef class Core:
    """The broker's data and its loop: a thin handle.

    One thread makes it, attaches the sockets and calls `run`; any thread may call `command` and
    `stats`.

    Parameters
    ----------
    config : Config
        The settings; they are copied.
    version : str
        Shown by ``pound.status``.
    wake_fd : int
        The loop looks for a command when this descriptor is readable.
    """

    cdef broker_t *b
    cdef bytes version
    cdef bytes endpoints
    cdef list names

    def __cinit__(self, object config, str version, int wake_fd):
        cdef limits_t limits
        self.b = <broker_t *> calloc(1, sizeof(broker_t))
        if self.b == NULL:
            raise MemoryError
        descriptors_open(self.b, any(
            endpoint.startswith("ipc:") for endpoint in config.frontend + config.backend))
        self._open_logs()
        self.version = version.encode()
        self.endpoints = b"{}"
        self.b.version = self.version
        self.b.endpoints = self.endpoints
        self.b.wake_fd = wake_fd
        self.names = [name.encode() for name in LOOP_COUNTERS]
        CHECK(<int> len(self.names) == <int> C_COUNT and <int> C_COUNT <= <int> COUNTERS,
              "the names of the counters")
        for i, name in enumerate(self.names):
            self.b.counter_names[i] = name
        self.b.now = self.b.started = clock_ns()
        self._take_settings(config)
        self._take_limits(config, &limits)
        self.b.d = disp_new(&limits, seed())
        if self.b.d == NULL:
            raise MemoryError
        self._make_tables(config)
        self._open_services(config)

    cdef _open_logs(self):
        self.b.logs = <logs_t *> calloc(1, sizeof(logs_t))
        if self.b.logs == NULL:
            raise MemoryError
        if logs_open(self.b.logs, seed(), clock_ns()):
            raise OSError(errno, "no descriptor for the bell of the logging thread")

    cdef _take_settings(self, object config):
        cdef settings_t *s = &self.b.settings
        s.heartbeat_ns = ns(config.heartbeat)
        s.ppp_heartbeat_ns = ns(config.ppp_heartbeat)
        s.mdp_heartbeat_ns = ns(config.mdp_heartbeat)
        s.client_grace_ns = ns(config.client_grace)
        s.drain_timeout_ns = ns(config.drain_timeout)
        s.lease_ns = ns(config.lease)
        s.held_long_ms = <int64_t> (config.held_long * 1000)
        s.liveness = config.liveness
        s.ppp_liveness = config.ppp_liveness
        s.mdp_liveness = config.mdp_liveness
        s.body_bytes_max = config.body_bytes_max
        s.packet_bytes_max = config.packet_bytes_max
        s.frames_max = config.frames_max
        s.requests_max = config.requests_max
        s.undelivered_bytes_max = config.undelivered_bytes_max
        s.memory_max = config.memory_bytes()
        s.overflow_blocks = config.foreign_overflow == "block"
        s.unread_bytes = config.waiting_bytes_max
        self.b.sides[FRONTEND].near = "inproc://" in " ".join(config.frontend)
        self.b.sides[BACKEND].near = "inproc://" in " ".join(config.backend)
        self.b.pulse_ns = min(s.heartbeat_ns, s.ppp_heartbeat_ns, s.mdp_heartbeat_ns)

    cdef _take_limits(self, object config, limits_t *limits):
        limits[0] = limits_default()
        limits.attempts_max = config.attempts_max
        limits.clients_max = limits.workers_max = config.sessions_max
        limits.services_max = config.services_max
        limits.waiting_max = config.waiting_max
        limits.service_waiting_max = config.service_waiting_max
        limits.waiting_bytes_max = config.waiting_bytes_max
        limits.service_waiting_bytes_max = config.service_waiting_bytes_max
        if config.foreign_overflow == "block":
            limits.shares_from = UNSHARED
            # A frontend is left unread from the bound on: what crosses it was read already.
            limits.waiting_bytes_max += config.body_bytes_max + BESIDE_BODY
            if config.service_waiting_bytes_max >= config.waiting_bytes_max:
                limits.service_waiting_bytes_max += config.body_bytes_max + BESIDE_BODY
        limits.requests_max = config.requests_max
        limits.foreign_window = config.foreign_window
        limits.answers_bytes_max = config.answers_bytes_max
        limits.service_wait_ns = ns(config.service_wait)
        limits.unknown_reject = config.unknown_service == "reject"

    cdef _make_tables(self, object config):
        cdef broker_t *b = self.b
        cdef bytes epoch = os.urandom(16)
        memcpy(b.epoch, <const uint8_t *> epoch, 16)
        b.pipes = pipes_new()
        names_init(&b.sides[FRONTEND].ids, seed(), seed())
        names_init(&b.sides[BACKEND].ids, seed(), seed())
        names_init(&b.sessions, seed(), seed())
        names_init(&b.service_names, seed(), seed())
        b.frames_count = config.frames_max + 1
        b.frames = <zmq_msg_t *> calloc(b.frames_count, sizeof(zmq_msg_t))
        b.views = <frame_t *> calloc(b.frames_count, sizeof(frame_t))
        b.attach = <zmq_msg_t **> calloc(b.frames_count, sizeof(zmq_msg_t *))
        if b.frames == NULL or b.views == NULL or b.attach == NULL or b.pipes == NULL:
            b.frames_count = 0
            raise MemoryError
        for i in range(b.frames_count):
            zmq.msg_init(&b.frames[i])

    cdef _open_services(self, object config):
        """Open the default service and the configured ones: they stay."""
        cdef bytes name = config.default_service.encode()
        self.b.default_service = NONE
        self.b.default_service = self._open_service(name, config.services.get(name.decode()))
        for text, service in config.services.items():
            self._open_service(text.encode(), service)

    cdef uint32_t _open_service(self, bytes name, object service) except? 0:
        cdef int64_t lease = self.b.settings.lease_ns
        cdef uint32_t number
        if service is not None and service.lease is not None:
            lease = ns(service.lease)
        number = service_named(self.b, <const uint8_t *> <const char *> name, len(name), lease,
                               OPENED_PINNED, NONE)
        if number == NONE:
            raise ValueError(
                f"service {name!r} cannot be opened: services_max is too small")
        self.b.services[number].one_part = service is not None and service.one_part
        return number

    def __dealloc__(self):
        if self.b != NULL:
            broker_free(self.b)

    def attach(self, frontend, frontend_monitor, backend, backend_monitor, str endpoints):
        """Give the loop its sockets, and the endpoints they are bound to (JSON)."""
        self._take_sockets(FRONTEND, frontend, frontend_monitor)
        self._take_sockets(BACKEND, backend, backend_monitor)
        self.endpoints = endpoints.encode()
        self.b.endpoints = self.endpoints

    cdef _take_sockets(self, uint8_t side, socket, monitor):
        cdef socket_t *s = &self.b.sides[side]
        s.socket = <void *> <size_t> socket.underlying
        s.monitor = <void *> <size_t> monitor.underlying
        s.fd = socket.getsockopt(FD)
        s.monitor_fd = monitor.getsockopt(FD)
        s.handshake_ns = socket.getsockopt(HANDSHAKE_IVL) * <int64_t> 1_000_000
        s.readable = s.monitor_readable = 1

    def run(self):
        """Turn until the loop has ended."""
        with nogil:
            run_turns(self.b)

    def farewell(self):
        """Tell every peer that the broker goes away. Only after `run` has returned."""
        with nogil:
            farewell(self.b)

    @property
    def draining(self):
        """Whether the loop drains, or ended by draining."""
        return bool(self.b.draining)

    @property
    def drained(self):
        """Whether the drain came to its end, with nothing left."""
        return bool(self.b.drain_over and self.b.unfinished == 0)

    @property
    def drain_left(self):
        """Seconds of the drain's time that are left; 0 if it was stopped."""
        return max(0.0, (self.b.drain_until - clock_ns()) / 1e9) if self.b.drain_over else 0.0

    def drain(self, double timeout):
        """Have the loop take no requests, finish what it can in `timeout` seconds and end."""
        self.b.settings.drain_timeout_ns = ns(timeout)
        command_give(&self.b.command, COMMAND_DRAIN)

    def stop(self):
        """Have the loop end after its present turn; from any thread."""
        command_give(&self.b.command, COMMAND_STOP)

    def close_logs(self):
        """Put the last events; `events` ends when they are taken. The loop's thread, at its end."""
        logs_close(self.b.logs, clock_ns())

    def events(self):
        """Wait for events: (kind, peer, text, number, other, repeated, ago_ms). None: the end.

        For one thread, the one that logs. The GIL is not held while it waits.
        """
        cdef log_t log
        cdef int more
        events = []
        with nogil:
            more = logs_wait(self.b.logs)
        while len(events) < LOGS_AT_ONCE and logs_take(self.b.logs, &log):
            events.append((
                LOG_KINDS[log.kind], (<const char *> log.label)[:log.label_size],
                (<const char *> log.text)[:log.text_size], log.number, log.other,
                log.repeated, log.ago_ms))
        return events if more else None

    def lost(self, uint64_t count):
        """Count events that were taken and could not be logged."""
        logs_lost(self.b.logs, count)

    @property
    def logs_dropped(self):
        """How many events have no line: there was no room, or they could not be logged."""
        return logs_dropped(self.b.logs)

    def stats(self):
        """Return the counters as they were after the last turn; from any thread."""
        cdef uint64_t copy[2][COUNTERS]
        while not seqlock_read(&self.b.published.sequence, copy, self.b.published.dispatcher,
                               sizeof(copy)):
            pass
        stats = {name: copy[0][i] for i, name in enumerate(DISPATCHER_COUNTERS)}
        stats |= {name: copy[1][i] for i, name in enumerate(LOOP_COUNTERS)}
        stats["answers_late"] += stats["answers_unknown"]
        stats["memory_max"] = self.b.settings.memory_max
        stats["draining"] = int(self.b.draining)
        return stats
