"""What is checked once a second (see housekeeping.pxd)."""

from libc.stdint cimport int64_t, uint32_t, uint8_t

from pound._dispatch.model cimport service_t
from pound._wire.dialects cimport BACKEND, FRONTEND
from .adoption cimport adoption_sweep
from .budget cimport trim, trim_beside
from .departures cimport lost_seek
from .descriptors cimport descriptors_limit
from .kinds cimport LOG_SERVICE_WAITING, LOG_SILENT_CONNECTION
from .log_events cimport log_event
from .log_queue cimport logs_sweep
from .overdue cimport overdue_report
from .state cimport broker_t, connection_t, service_name_t, socket_t
from .sweep cimport sweep
from .young cimport young_sweep

cdef enum:
    REPORT_ROWS = 256        # services or connections looked at in one round
    REPORT_AFTER_NS = 5_000_000_000
    REPORT_AGAIN_NS = 30_000_000_000


cdef void housekeeping(broker_t *b) noexcept nogil:
    logs_sweep(b.logs, b.now, 0)
    descriptors_limit(b)
    if b.lost.count:
        lost_seek(b)
    trim(b)
    trim_beside(b)
    overdue_report(b)
    report_silent(b, FRONTEND)
    report_silent(b, BACKEND)
    sweep(b)
    young_sweep(b)
    report_waiting(b)
    adoption_sweep(b)


cdef void report_silent(broker_t *b, uint8_t side) noexcept nogil:
    """Look for connections that never sent a message, some in each round.

    libzmq ignores a connection whose routing id another one uses, forever and silently. It
    does not say which one has shaken hands, but closes those that don't within `handshake_ns`.
    """
    cdef socket_t *s = &b.sides[side]
    cdef connection_t *connection
    cdef int _
    for _ in range(REPORT_ROWS if REPORT_ROWS < s.connections_room
                   else s.connections_room):
        b.rounds.connections[side] = (b.rounds.connections[side] + 1) % s.connections_room
        connection = &s.connections[b.rounds.connections[side]]
        if (connection.open and connection.route == NULL and not connection.reported
                and b.now - connection.opened_at > s.handshake_ns + s.handshake_ns // 6):
            connection.reported = 1
            log_event(b, LOG_SILENT_CONNECTION, NULL, NULL, 0, side, 0)


cdef void report_waiting(broker_t *b) noexcept nogil:
    """Look for services whose requests wait without any worker, some in each round."""
    cdef service_name_t *name
    cdef service_t *s
    cdef uint32_t _
    for _ in range(REPORT_ROWS if REPORT_ROWS < b.services.count else b.services.count):
        b.rounds.services = (b.rounds.services + 1) % b.services.count
        name = &b.services.at[b.rounds.services]
        s = &b.d.services[b.rounds.services]
        if (name.open and s.workers == 0 and s.waiting
                and b.now - s.workerless_since >= REPORT_AFTER_NS
                and b.now - name.reported >= REPORT_AGAIN_NS):
            name.reported = b.now
            log_event(b, LOG_SERVICE_WAITING, NULL, name.name, name.size, <int64_t> s.waiting,
                      (b.now - s.workerless_since) // 1_000_000)
