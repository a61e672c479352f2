"""The loop: one turn after another (see loop.pxd for the rules)."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pound._base.check cimport CHECK
from pound._base.clock cimport clock_ns
from pound._base.hints cimport unlikely
from pound._base.seqlock cimport command_take, seqlock_begin, seqlock_end
from pound._base.wake cimport POLLIN, pollfd, wait_for, wake_drain
from pound._dispatch.admission cimport open_bytes
from pound._dispatch.dispatcher cimport disp_next_due, disp_tick
from pound._wire.dialects cimport BACKEND, FRONTEND
from .actions cimport act, live_now
from .arrivals cimport arrivals_due
from .budget cimport budget
from .denials cimport denials_due
from .departures cimport lost_seek, route_lost
from .descriptors cimport descriptors_tick
from .drain cimport drain_begin, drain_check
from .flush cimport flush, flush_blocked, flush_deferred
from .guard cimport guard_turn, guard_wait
from .heartbeats cimport heartbeats_due, heartbeats_send
from .housekeeping cimport housekeeping
from .inbound cimport monitor_drain, receive
from .kinds cimport (
    C_BYTES_IN, C_LOGS_DROPPED, C_MESSAGES_IN, C_PAUSES, C_RECORDS_IN, C_TURNS, LOG_PAUSE)
from .log_events cimport log_event
from .log_queue cimport logs_dropped
from .peers cimport peers_free_dead
from .state cimport COMMAND_DRAIN, COMMAND_STOP, LOST_TRIED, broker_t, socket_t

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef enum:
    BATCH_MESSAGES = 256     # of one socket in a turn: the other one and the timers get theirs
    BATCH_BYTES = 4 << 20
    BATCH_FRAMES = 16384
    WORTH_A_YIELD = 4        # messages and records of the last turn: their work costs far more
    YIELDS_MAX = 16
    YIELDS_NS = 5_000_000    # longer than libzmq's thread and a few others need to go on
    YIELD_PAUSE_MIN_NS = 2_000_000
    YIELD_PAUSE_MAX_NS = 1_000_000_000
    REAP_NS = 200_000_000    # a closed route is given up after this, even when much is unread
    HOUSEKEEPING_NS = 1_000_000_000
    SIDES = 2


# -- one turn ---------------------------------------------------------------------------------

cdef void loop_run(broker_t *b) noexcept nogil:
    while not b.loop.finished:
        turn(b)


cdef void turn(broker_t *b) noexcept nogil:
    cdef uint64_t read_before = read_so_far(b)
    wait(b)
    yield_to_io(b)
    clock_read(b)
    command(b)
    if unlikely(b.guard != NULL):
        guard_turn(b)
    monitor_read(b, BACKEND)
    monitor_read(b, FRONTEND)
    read_batch(b, BACKEND)
    read_batch(b, FRONTEND)
    b.loop.backlog = read_so_far(b) - read_before
    reap_closed_routes(b, BACKEND)
    reap_closed_routes(b, FRONTEND)
    tick(b)
    budget(b)
    publish(b)  # before any peer is sent it: who was answered finds that counted
    flush(b)
    b.loop.flush_first = 0
    if b.lost.tried_at == b.now:
        lost_tried(b)
    b.loop.due = next_due(b)
    peers_free_dead(b)
    drain_check(b)
    publish(b)


cdef void wait(broker_t *b) noexcept nogil:
    """Wait for input, for a command, or until the next timer is due; note what can be read.

    What is polled are libzmq's own descriptors. One is readable when a notice came in that
    libzmq has not taken in: so a socket is read to EAGAIN once it is, and looked at once more after
    sending by it, which may take the notice in.
    """
    cdef pollfd fds[6]
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
    fds[4].fd = b.loop.wake_out
    fds[5].fd = b.guard.zap_fd if b.guard != NULL else -1
    for i in range(6):
        fds[i].events = POLLIN
        fds[i].revents = 0
    wait_for(fds, 6, max(wait_ns, <int64_t> 0))
    for side in range(SIDES):
        b.sides[side].readable |= fds[side].revents != 0
        b.sides[side].monitor_readable |= fds[SIDES + side].revents != 0
    if fds[4].revents:
        wake_drain(b.loop.wake_out)
    if fds[5].revents:
        b.guard.zap_readable = 1


cdef uint64_t read_so_far(const broker_t *b) noexcept nogil:
    """Count messages and records: what has come, and what it asks for."""
    return b.counters[C_MESSAGES_IN] + b.counters[C_RECORDS_IN]


cdef void yield_to_io(broker_t *b) noexcept nogil:
    """Under load, let libzmq's thread hand over all that it is reading before a batch is read.

    It wakes the loop for the first of many messages; what is read together leaves together, in
    a fraction of the packets. Yields that take longer than clients and workers on the same cores
    need gave the core to somebody else's computation: then there are none for a while, which
    doubles each time, and falls by an eighth each time that they are in time.
    """
    cdef uint64_t yields = min(YIELDS_MAX, b.loop.backlog // WORTH_A_YIELD)
    cdef int64_t begun = clock_ns()
    cdef int64_t now = begun
    if yields == 0 or begun < b.loop.yield_from:
        return
    while yields and now - begun <= YIELDS_NS:
        yields -= 1
        sched_yield()
        now = clock_ns()
    if now - begun > YIELDS_NS:
        b.loop.yield_pause_ns = min(
            max(2 * b.loop.yield_pause_ns, YIELD_PAUSE_MIN_NS), YIELD_PAUSE_MAX_NS)
        b.loop.yield_from = now + b.loop.yield_pause_ns
    else:
        b.loop.yield_pause_ns -= b.loop.yield_pause_ns // 8


# waiting_time returns for how long, in ns, nothing need be done unless something comes.
cdef int64_t waiting_time(broker_t *b) noexcept nogil:
    cdef int64_t wait_ns = b.loop.pulse_ns // 2
    if b.loop.due >= 0 and b.loop.due - b.now < wait_ns:
        wait_ns = b.loop.due - clock_ns()
    if unlikely(b.guard != NULL):
        wait_ns = min(wait_ns, guard_wait(b.guard))
    return wait_ns


# unread says whether the frontend is left unread: too much waits, its clients have no ERROR, and
# the configuration would rather have them wait in their own queues.
cdef int unread(broker_t *b) noexcept nogil:
    return (b.settings.overflow_blocks and b.sides[FRONTEND].natives == 0
            and (b.d.counters.waiting >= b.d.limits.waiting_max
                 or open_bytes(b.d) >= b.settings.unread_bytes or b.d.shares.full))


cdef void clock_read(broker_t *b) noexcept nogil:
    """Read the clock; a turn that took longer than a heartbeat was a pause of the broker's own."""
    cdef int64_t now = clock_ns()
    cdef int64_t pause = now - b.now - b.loop.pulse_ns
    if pause > 0:
        b.loop.paused += pause
        b.loop.resumed_at = now
        if 2 * pause >= b.settings.heartbeat_ns * b.settings.liveness:
            b.loop.reap_from = now + b.settings.heartbeat_ns
        b.counters[C_PAUSES] += 1
        log_event(b, LOG_PAUSE, NULL, NULL, 0, (pause + b.loop.pulse_ns) // 1_000_000, 0)
    b.now = now
    b.counters[C_TURNS] += 1


cdef void command(broker_t *b) noexcept nogil:
    cdef uint8_t given = command_take(&b.loop.command)
    if given == COMMAND_STOP:
        b.loop.finished = 1
    elif given == COMMAND_DRAIN and not b.drain.draining:
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
    cdef uint64_t enough_frames = b.incoming.frames_read + BATCH_FRAMES
    cdef int result
    if not s.readable:
        return
    for _ in range(BATCH_MESSAGES):
        if b.loop.flush_first or (side == FRONTEND and unread(b)):
            return
        result = receive(b, side)
        if result <= 0:
            s.readable = 0
            b.loop.finished |= result < 0
            return
        if b.counters[C_BYTES_IN] > enough or b.incoming.frames_read > enough_frames:
            return


cdef void reap_closed_routes(broker_t *b, uint8_t side) noexcept nogil:
    """Give up the closed routes of a side, once their last messages are read.

    After a long pause of the broker's own, peers that took it for gone come back by other routes:
    these are waited for, so that what they hold is not taken for lost.
    """
    cdef socket_t *s = &b.sides[side]
    if s.closing != NULL and b.now >= b.loop.reap_from and not (
            s.readable and b.now - s.closing_since < REAP_NS):
        while s.closing != NULL:
            route_lost(b, s.closing)
    if side == BACKEND and b.lost.seek:
        lost_seek(b)


# lost_tried notes which connections may be those of the workers that were just tried: libzmq
# reports a connection before it takes a message for it, so all of them are known now.
cdef void lost_tried(broker_t *b) noexcept nogil:
    cdef uint32_t i
    monitor_drain(b, BACKEND)
    b.sides[BACKEND].readable = 1
    for i in range(b.lost.count):
        if b.lost.peers[i].lost.state == LOST_TRIED and b.lost.peers[i].lost.tried_at == b.now:
            b.lost.peers[i].lost.tried_order = b.peers.connections_seen


# -- timers -----------------------------------------------------------------------------------

cdef void tick(broker_t *b) noexcept nogil:
    """Fire what is due."""
    descriptors_tick(b)
    flush_blocked(b)
    flush_deferred(b, b.now)
    disp_tick(b.d, b.now, live_now(b))
    act(b)
    heartbeats_send(b)
    if b.rounds.at <= b.now:
        housekeeping(b)
        b.rounds.at = b.now + HOUSEKEEPING_NS


# next_due returns when the next timer fires, those included that the flush armed; -1: none is.
cdef int64_t next_due(broker_t *b) noexcept nogil:
    cdef int64_t due = heartbeats_due(b)
    cdef int64_t decided = disp_next_due(b.d)
    if decided >= 0:
        due = min(due, decided)
    if b.pending.blocked != NULL:
        due = min(due, b.pending.blocked.blocked.retry_at)
    if b.descriptors.guests_count:
        due = min(due, b.descriptors.look_at)
    if b.pending.deferred != NULL:
        due = min(due, b.pending.deferred.deferral.until)
    if b.drain.draining:
        due = min(due, b.drain.until)
    if unlikely(b.guard != NULL):
        due = min(due, denials_due(b))
        due = min(due, arrivals_due(b))
    return due if due != INT64_MAX else -1


# -- for other threads ------------------------------------------------------------------------

cdef void publish(broker_t *b) noexcept nogil:
    """Let other threads see the counters as they are now."""
    b.counters[C_LOGS_DROPPED] = logs_dropped(b.logs)
    seqlock_begin(&b.published.sequence)
    CHECK(sizeof(b.d.counters) <= sizeof(b.published.dispatcher), "COUNTERS is too small")
    memcpy(b.published.dispatcher, &b.d.counters, sizeof(b.d.counters))
    memcpy(b.published.loop, b.counters, sizeof(b.counters))
    seqlock_end(&b.published.sequence)
