"""The broker's Python handle: `Core` owns the broker's data, and is how Python enters the loop.

Its thread calls `run`, which turns without the GIL until the loop has ended; whatever the loop
touches is C (pound/_broker). Another thread takes the events that are to be logged, by `events`.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy

import os

from zmq import FD, HANDSHAKE_IVL

from pound._broker import names

from pound._base.check cimport CHECK
from pound._base.clock cimport clock_ns
from pound._base.pool cimport NONE
from pound._base.seqlock cimport command_give, seqlock_read
from pound._base.wake cimport signals_leave, wake_open, wake_ring
from pound._broker.descriptors cimport descriptors_open
from pound._broker.drain cimport farewell
from pound._broker.guard cimport guard_give, guard_listener, guard_new, guard_test
from pound._broker.inbound cimport monitor_drain
from pound._broker.kinds cimport (
    C_CLOSED_CONNECTIONS, C_COUNT, C_HANDSHAKES_CUT, C_TURNED_AWAY, C_UNROUTED_CONNECTIONS)
from pound._broker.lifetime cimport SEEDS, broker_free, broker_new, broker_tables
from pound._broker.log_queue cimport (
    log_t, logs_close, logs_dropped, logs_lost, logs_open, logs_t, logs_take, logs_wait)
from pound._broker.loop cimport loop_run
from pound._broker.quotas cimport quotas_take
from pound._broker.services cimport service_named
from pound._broker.state cimport (
    COMMAND_DRAIN, COMMAND_STOP, COUNTERS, broker_t, settings_t, socket_t)
from pound._dispatch.dispatcher cimport disp_service_quota
from pound._dispatch.limits cimport limits_default, limits_t
from pound._dispatch.model cimport OPENED_PINNED, counters_t, quota_t
from pound._wire.dialects cimport BACKEND, FRONTEND
from pound._wire.packets cimport FEATURE_ADOPTION
from pound.security.keytable cimport Keytable, keytable_taken
from pound.security.table cimport keytable_delete, keytable_t

cdef enum:
    LOGS_AT_ONCE = 64        # taken for the logging thread
    UNSHARED = 1 << 30       # no limit is so large
    BESIDE_BODY = 1 << 20    # bytes of a request's record and envelope, at most


# --- with the GIL ----------------------------------------------------------------------------

cdef int64_t ns(object seconds):
    return <int64_t> (seconds * 1e9)


cdef quota_t quota(uint32_t open_max, uint64_t bytes_max, double per_second, double burst):
    """What one may have open, and ask; 0: no limit."""
    cdef quota_t values
    values.open_max = open_max
    values.bytes_max = bytes_max
    values.interval_ns = max(1, <int64_t> (1e9 / per_second)) if per_second else 0
    values.burst_ns = <int64_t> ((burst - 1) * values.interval_ns)
    return values


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
    """

    cdef broker_t *b
    cdef bytes version
    cdef bytes endpoints
    cdef list names

    def __cinit__(self, object config, str version):
        cdef limits_t limits
        self.b = broker_new()
        if self.b == NULL:
            raise MemoryError
        descriptors_open(self.b, any(
            listener.endpoint.startswith("ipc:") for listener in config.listeners()))
        if wake_open(&self.b.loop.wake_in, &self.b.loop.wake_out):
            raise OSError(errno, "no descriptor to wake the broker with")
        self._open_logs()
        self.version = version.encode()
        self.endpoints = b"{}"
        self.b.about.version = self.version
        self.b.about.endpoints = self.endpoints
        self._name_counters()
        self.b.now = self.b.loop.started = clock_ns()
        self._take_settings(config)
        self._take_limits(config, &limits)
        self._make_tables(config, &limits)
        self._open_services(config)

    cdef _name_counters(self):
        self.names = [name.encode() for name in (*names.LOOP_COUNTERS, *names.DISPATCHER_COUNTERS)]
        CHECK(<int> len(names.LOOP_COUNTERS) == <int> C_COUNT and <int> C_COUNT <= <int> COUNTERS
              and sizeof(counters_t) <= COUNTERS * sizeof(uint64_t), "COUNTERS is too small")
        for i, name in enumerate(self.names):
            if i < C_COUNT:
                self.b.about.counter_names[i] = name
            else:
                self.b.about.dispatcher_names[i - C_COUNT] = name

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
        s.adopt_wait_ns = ns(config.adopt_wait)
        s.features = FEATURE_ADOPTION if s.adopt_wait_ns else 0
        s.drain_timeout_ns = ns(config.drain_timeout)
        s.lease_ns = ns(config.lease)
        s.held_long_ms = <int64_t> (config.held_long * 1000)
        s.liveness = config.liveness
        s.ppp_liveness = config.ppp_liveness
        s.mdp_liveness = config.mdp_liveness
        s.body_bytes_max = config.body_bytes_max
        s.packet_bytes_max = config.packet_bytes_max
        s.frames_max = config.frames_max
        s.handshakes_max = config.handshakes_max
        s.requests_max = config.requests_max
        s.undelivered_bytes_max = config.undelivered_bytes_max
        s.memory_max = config.memory_bytes()
        s.overflow_blocks = config.foreign_overflow == "block"
        s.unread_bytes = config.waiting_bytes_max
        for listener in config.listeners():
            if listener.endpoint.startswith("inproc:"):
                side = FRONTEND if listener.side == "frontend" else BACKEND
                self.b.sides[side].is_inproc = True
        self.b.loop.pulse_ns = min(s.heartbeat_ns, s.ppp_heartbeat_ns, s.mdp_heartbeat_ns)

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

    cdef _make_tables(self, object config, const limits_t *limits):
        cdef uint64_t[SEEDS] seeds
        cdef bytes epoch = os.urandom(16)
        memcpy(self.b.epoch, <const uint8_t *> epoch, 16)
        for i in range(SEEDS):
            seeds[i] = seed()
        if broker_tables(self.b, limits, seeds, config.frames_max):
            raise MemoryError

    cdef _open_services(self, object config):
        """Open the default service and the configured ones: they stay."""
        cdef bytes name = config.default_service.encode()
        self.b.services.unnamed = self._open_service(name, config.services.get(name.decode()))
        for text, service in config.services.items():
            self._open_service(text.encode(), service)

    cdef uint32_t _open_service(self, bytes name, object service) except? 0:
        cdef int64_t lease = self.b.settings.lease_ns
        cdef uint32_t number
        cdef quota_t quota_each
        if service is not None and service.lease is not None:
            lease = ns(service.lease)
        number = service_named(self.b, <const uint8_t *> <const char *> name, len(name), lease,
                               OPENED_PINNED, NONE)
        if number == NONE:
            raise ValueError(
                f"service {name!r} cannot be opened: services_max is too small")
        if service is not None:
            self.b.services.at[number].one_part = service.one_part
            quota_each = quota(
                service.client_open_max, service.client_bytes_max, service.client_rate_per_second,
                service.client_burst)
            disp_service_quota(self.b.d, number, &quota_each)
        return number

    def __dealloc__(self):
        if self.b != NULL:
            broker_free(self.b)

    def attach(self, frontend, frontend_monitor, backend, backend_monitor, str endpoints):
        """Give the loop its sockets, and the endpoints they are bound to (JSON)."""
        self._take_sockets(FRONTEND, frontend, frontend_monitor)
        self._take_sockets(BACKEND, backend, backend_monitor)
        self.endpoints = endpoints.encode()
        self.b.about.endpoints = self.endpoints

    cdef _take_sockets(self, uint8_t side, socket, monitor):
        cdef socket_t *s = &self.b.sides[side]
        s.socket = <void *> <size_t> socket.underlying
        s.monitor = <void *> <size_t> monitor.underlying
        s.fd = socket.getsockopt(FD)
        s.monitor_fd = monitor.getsockopt(FD)
        s.handshake_ns = socket.getsockopt(HANDSHAKE_IVL) * <int64_t> 1_000_000
        s.readable = s.monitor_readable = 1

    def guard(self, Keytable table not None, listeners, uint32_t salt):
        """Let in only whom the table knows. Before `attach_zap` and `run`.

        Parameters
        ----------
        table : Keytable
            It is taken.
        listeners : iterable of tuple
            (curve, roles, dialects) of each, by number; the last two are bits.
        salt : int
            Random: makes a forged proof useless.
        """
        cdef keytable_t *taken = keytable_taken(table)
        if self.b.guard != NULL:
            keytable_delete(taken)
            raise ValueError("this broker has a guard already")
        self.b.guard = guard_new(taken, salt)
        if self.b.guard == NULL:
            keytable_delete(taken)
            raise MemoryError
        if quotas_take(self.b) < 0:
            raise MemoryError
        for curve, roles, dialects in listeners:
            if guard_listener(self.b.guard, curve, roles, dialects) < 0:
                raise ValueError("too many listeners")

    def attach_zap(self, socket):
        """Give the loop the REP that libzmq asks."""
        if self.b.guard == NULL:
            raise ValueError("this broker has no keys")
        self.b.guard.zap = <void *> <size_t> socket.underlying
        self.b.guard.zap_fd = socket.getsockopt(FD)
        self.b.guard.zap_readable = 1

    def test_door(self, int wait_ms):
        """Answer libzmq on this thread, before `run`, for a moment. Nothing is logged.

        Returns
        -------
        int
            How many connections were seen to close since the first call.
        """
        with nogil:
            guard_test(self.b, wait_ms)
            monitor_drain(self.b, BACKEND)
            monitor_drain(self.b, FRONTEND)
        return self.b.counters[C_CLOSED_CONNECTIONS]

    def end_test(self):
        """Forget what `test_door` has counted."""
        self.b.guard.testing = 0
        self.b.counters[C_CLOSED_CONNECTIONS] = self.b.counters[C_UNROUTED_CONNECTIONS] = 0
        self.b.counters[C_HANDSHAKES_CUT] = self.b.counters[C_TURNED_AWAY] = 0

    def take_table(self, Keytable table not None):
        """Have the loop use another table; from any thread."""
        if self.b.guard == NULL:
            raise ValueError("this broker has no keys")
        guard_give(self.b.guard, keytable_taken(table))
        wake_ring(self.b.loop.wake_in)

    def run(self):
        """Turn until the loop has ended; no signal is handled on this thread any more."""
        with nogil:
            signals_leave()
            loop_run(self.b)

    def farewell(self):
        """Notify every peer that the broker goes away. Only after `run` has returned."""
        with nogil:
            farewell(self.b)

    @property
    def draining(self):
        """Whether the loop drains, or ended by draining."""
        return bool(self.b.drain.draining)

    @property
    def drained(self):
        """Whether the drain came to its end, with nothing left."""
        return bool(self.b.drain.over and self.b.drain.unfinished == 0)

    @property
    def drain_left(self):
        """Seconds of the drain's time that are left; 0 if it was stopped."""
        return max(0.0, (self.b.drain.until - clock_ns()) / 1e9) if self.b.drain.over else 0.0

    def drain(self, double timeout):
        """Have the loop take no requests, finish what it can in `timeout` seconds and end."""
        self.b.settings.drain_timeout_ns = ns(timeout)
        self._give(COMMAND_DRAIN)

    def stop(self):
        """Have the loop end after its present turn; from any thread."""
        self._give(COMMAND_STOP)

    cdef _give(self, uint8_t command):
        command_give(&self.b.loop.command, command)
        wake_ring(self.b.loop.wake_in)

    def close_logs(self):
        """Put the last events; `events` ends when they are taken. The loop's thread, at its end."""
        logs_close(self.b.logs, clock_ns())

    def events(self):
        """Wait for events, the arguments of `events.write`. None: the end.

        For one thread, the one that logs. The GIL is not held while it waits.
        """
        cdef log_t log
        cdef int more
        events = []
        with nogil:
            more = logs_wait(self.b.logs)
        while len(events) < LOGS_AT_ONCE and logs_take(self.b.logs, &log):
            events.append((
                log.kind, (<const char *> log.label)[:log.label_size],
                (<const char *> log.identity)[:log.identity_size],
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
        stats = {name: copy[0][i] for i, name in enumerate(names.DISPATCHER_COUNTERS)}
        stats |= {name: copy[1][i] for i, name in enumerate(names.LOOP_COUNTERS)}
        stats["answers_late"] += stats["answers_unknown"]
        stats["memory_max"] = self.b.settings.memory_max
        stats["draining"] = int(self.b.drain.draining)
        return stats
