"""What requests wait for, as sentences for a person (rules: waits.pxd)."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, strlen

from pound._base.check cimport CHECK
from pound._base.pool cimport NONE
from .client_state cimport client_state_t, long_wait_t
from .endpoints cimport endpoint_name
from .engine cimport TROUBLE, engine_log, engine_t, engine_trouble
from .link cimport FAR, link_resting, link_state_t
from .mailbox cimport LOG_REQUEST_WAITING
from .pace cimport PACE_ROWS
from .requests cimport (
    BUSY, PARKED, PLACES, client_request_t, request_stop_wait_log, requests_t, shared_name_t)

cdef enum:
    NS = 1000000000                # in a second
    MS = 1000000                   # ns in a millisecond


# no_broker writes why there is none.
cdef void no_broker(char *to, size_t room, engine_t *e) noexcept nogil:
    cdef const char *at = endpoint_name(&e.link.endpoints)
    cdef char trouble[TROUBLE]
    if engine_trouble(e, trouble, sizeof(trouble)) == 0:
        snprintf(trouble, sizeof(trouble), b"no broker answers at %s", at)
    if e.link.lost != NULL:
        snprintf(to, room, b"the broker was lost (%s); %s", e.link.lost, trouble)
    else:
        snprintf(to, room, b"%s", trouble)


# waits_for writes what the request waits for, as a sentence for a person.
cdef void waits_for(
    char *to, size_t room, engine_t *e, const client_request_t *request, int64_t now
) noexcept nogil:
    cdef const link_state_t *link = &e.link
    cdef requests_t *q = &(<client_state_t *> e.rules.state).requests
    cdef const char *at = endpoint_name(&link.endpoints)
    if request.place == BUSY:
        snprintf(
            to, room, b"the broker at %s is busy, it was asked %u times and said: %s", at,
            <unsigned int> request.busy, (<client_state_t *> e.rules.state).refusal)
    elif request.place >= PARKED:
        snprintf(
            to, room, b"the broker at %s takes no more for this service now, it said: %s", at,
            (<client_state_t *> e.rules.state).refusal)
    elif not link.welcomed:
        no_broker(to, room, e)
    elif link_resting(link, now):
        snprintf(to, room, b"the broker at %s goes away and takes no requests", at)
    elif now - link.heard_at > 2 * link.rates.heartbeat:
        snprintf(
            to, room, b"the broker at %s has said nothing for %.1f s: is it stopped?", at,
            <double> (now - link.heard_at) / NS)
    elif request.id == 0 and q.open >= link.limits.requests_max:
        snprintf(
            to, room, b"the window of %u open requests is full (requests_max of the broker at %s)",
            <unsigned int> link.limits.requests_max, at)
    elif request.id == 0 and link.wants_out:
        snprintf(to, room, b"the broker at %s does not read, the request was not sent", at)
    elif request.id == 0:
        snprintf(to, room, b"the time was over before the request was sent to %s", at)
    elif request.accepted:
        snprintf(to, room, b"the broker at %s holds the request, no worker has answered it", at)
    else:
        snprintf(to, room, b"the request was sent to %s, no answer has come", at)


# note_long has a line written for the service of a request that has begun to wait long.
cdef void note_long(client_state_t *a, const client_request_t *request) noexcept nogil:
    cdef const shared_name_t *service = request.service
    cdef long_wait_t *row = &a.long_waits[request.row]
    CHECK(service.size < sizeof(row.name), "a service's name of %u bytes", <unsigned> service.size)
    row.owed = 1
    row.size = service.size
    memcpy(row.name, service.name, service.size)


# is_long says whether a request is one of those that a service's line counts.
cdef bint is_long(
    const client_state_t *a, const long_wait_t *row, const client_request_t *q, int64_t now
) noexcept nogil:
    return (q.deadline == FAR and now - q.since >= a.log_after and q.service.size == row.size
            and memcmp(q.service.name, row.name, row.size) == 0)


# log_service logs a line for all requests of a service that wait long, if one still does.
cdef void log_service(
    client_state_t *a, engine_t *e, const long_wait_t *row, int64_t now
) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef const client_request_t *oldest = NULL
    cdef char text[SENTENCE]
    cdef int64_t long_ones = 0
    cdef uint32_t place, r
    for place in range(PLACES):
        r = q.places[place].head
        while r != NONE:
            if is_long(a, row, &q.all[r], now):
                long_ones += 1
                if oldest == NULL or q.all[r].since < oldest.since:
                    oldest = &q.all[r]
            r = q.all[r].link.next
    if oldest == NULL:
        return
    memcpy(text, row.name, row.size)
    text[row.size] = 0
    waits_for(text + row.size + 1, SENTENCE - row.size - 1, e, oldest, now)
    engine_log(
        e, LOG_REQUEST_WAITING, (now - oldest.since) // MS, long_ones, text,
        <uint32_t> (row.size + 1 + strlen(text + row.size + 1)))


# waits_log logs for which services requests have begun to wait long: of each a line in log_after.
cdef void waits_log(client_state_t *a, engine_t *e, int64_t now) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef uint32_t r = q.silent.head
    cdef long_wait_t *row
    cdef int i
    if now < a.long_at and (r == NONE or now - q.all[r].since < a.log_after):
        return
    while r != NONE and now - q.all[r].since >= a.log_after:
        request_stop_wait_log(q, r)
        note_long(a, &q.all[r])
        r = q.silent.head
    a.long_at = FAR
    for i in range(PACE_ROWS):
        row = &a.long_waits[i]
        if row.owed and now >= row.until:
            row.owed = 0
            row.until = now + a.log_after
            log_service(a, e, row, now)
        elif row.owed and row.until < a.long_at:
            a.long_at = row.until
