# A client's requests, and the place of each.
#
# A request is in exactly one place:
#   OWN       never sent, for a service of the broker's own: goes before all others, window or not
#   FRESH     never sent
#   RETURNED  refused as busy, and due again; alternates with FRESH
#   BUSY      refused as busy; its timer moves it to RETURNED
#   OPEN      sent; it has an id
#   PARKED    not sent, because the broker takes no more of its service (pace.pxd)
# Ids are assigned on sending, so they increase in sending order, and `done`, the lowest open id,
# never waits for a request that was not sent. A request refused as busy has ended for the broker:
# it comes back under a new id.
# Invariant: id != 0 exactly in OPEN; each queue is in order of entry, so OPEN is in order of id;
#            `again` is the first open request that may have to be sent again, or NONE; `parked` has
#            a bit for each row of PARKED that is not empty, `paced` for each with a bounded pace.
# Cost:      O(1) a request; O(log n) for its timer, which a request with a deadline and a busy one
#            have. Requests without a deadline queue by age for their line in the log.
# Memory:    a request owns its body, a share of its service's name and, from the start, its final
#            mail: reporting its end never needs memory.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memset

from pound._base.heap cimport (
    heap_free, heap_move, heap_push, heap_remove, heap_t, heap_top, places_of, places_t)
from pound._base.index cimport (
    index_find, index_free, index_put, index_remove, index_t, keys_of, keys_t)
from pound._base.links cimport (
    link_t, links_of, links_t, queue_append, queue_init, queue_remove, queue_t)
from pound._base.pool cimport NONE, pool_free, pool_give, pool_init, pool_t, pool_take
from pound._wire.packets cimport KEY_SIZE
from .link cimport FAR
from .mailbox cimport body_clear, body_t, mail_t, mailbox_t
from .pace cimport PACE_ROWS, pace_find, pace_more, pace_refused, pace_t, pace_takes

cdef enum:
    RECORD_BYTES = 64             # what a record costs beside its body, roughly
    GRACE_NS = 100000000          # past the deadline, in which the broker's ERROR 4 may still come

cdef enum:                     # places
    OWN
    FRESH
    RETURNED
    BUSY
    OPEN
    PARKED                     # and PACE_ROWS places from here on, by row
    PLACES = PARKED + PACE_ROWS


cdef struct shared_name_t:     # a service's name, shared by the requests of one call
    uint32_t refs
    uint16_t size              # bytes
    uint64_t hash              # of its name, for its pace
    uint8_t name[1]            # `size` of them


cdef struct stream_state_t:    # how far a stream is (streams.pxd); lives in its StreamState
    uint64_t read_bytes        # read by the caller: written by its thread, read by the engine's
    uint64_t due_at            # the engine is to look at read_bytes from so many on; it writes this
    uint32_t asked             # the engine was asked to look, and has not looked yet; both write it
    uint64_t put_bytes         # put into the caller's mailbox; this and what follows: the engine's
    uint64_t begun_at          # put_bytes before the first partial of this run
    uint32_t expected          # the next sequence of the run
    uint32_t again             # of a run that goes on for another one: the next that came before,
    uint32_t again_end         # and the first that did not
    uint64_t run               # the token of the task that they come from; 0: none came yet
    uint8_t attempt            # how many runs were seen to begin, for the caller; 255 at most
    uint8_t numbered           # the attempt of the run, as on the wire
    uint8_t started            # a partial was passed on: the request can't silently run again
    uint8_t resumed            # one came from the present epoch


cdef struct client_request_t:
    link_t link                # in the queue of its place
    link_t silence             # in `silent`, without a deadline and until its line is logged
    uint32_t timer             # its place among the timers, or NONE
    uint8_t place              # OWN .. PARKED and its row
    uint8_t row                # of its service's pace
    uint8_t priority
    uint8_t accepted           # the broker said that it holds it
    uint8_t again              # open, and to be sent again with RETRY
    uint8_t is_silent          # it is in `silent`
    uint8_t is_crediting       # it is in `credits`
    uint8_t moved              # it was sent to a broker of another epoch
    uint32_t busy              # how often the broker refused it
    mail_t *end                # the mail of its end, owned
    mailbox_t *box             # where its mails go
    link_t crediting           # in `credits`, while a CREDIT is to be said
    stream_state_t *stream     # NULL: only the final answer is wanted
    shared_name_t *service     # shared
    body_t body
    uint64_t credit            # sent to the worker of this run; 0: nothing yet
    uint64_t run               # of its partials, without a stream: this and the two below
    uint64_t skipped           # what this run's partials cost
    uint32_t skipped_next      # the sequence of the next one
    uint64_t number            # the caller's name of it
    uint64_t id                # on the wire; 0: not sent, or not since the broker was busy
    uint8_t key[KEY_SIZE]      # on the wire, the same under each id: a secret, never logged
    int64_t since              # ns, monotonic, this and the three below
    int64_t timeout            # ns; FAR: none
    int64_t deadline
    int64_t busy_until


cdef struct requests_t:
    pool_t pool
    client_request_t *all      # owned
    queue_t places[PLACES]
    queue_t silent             # by age
    queue_t credits            # those for which CREDIT is to be said
    heap_t timers
    index_t numbers            # of all requests
    index_t ids                # of the open ones
    uint32_t open              # requests in OPEN
    uint32_t streams           # requests with a stream
    uint8_t turn               # 1: a fresh one was sent last, a returned one comes next
    uint8_t parked_turn        # the row of the parked one that was sent last
    uint64_t parked
    uint64_t paced
    int64_t paced_until        # when one of these may have more; FAR: there is none
    pace_t paces[PACE_ROWS]
    uint32_t again
    uint64_t next_id


cdef inline bint is_own(const shared_name_t *service) noexcept nogil:
    """is_own says whether a name is of a service that the broker answers itself."""
    return ((service.size >= 6 and memcmp(service.name, b"pound.", 6) == 0)
            or (service.size >= 4 and memcmp(service.name, b"mmi.", 4) == 0))


cdef inline void service_drop(shared_name_t *service) noexcept nogil:
    """service_drop gives one request's share of a name back."""
    service.refs -= 1
    if service.refs == 0:
        free(service)


cdef inline void requests_unpaced(requests_t *q) noexcept nogil:
    """requests_unpaced lets every service have as many as come: the broker is another one."""
    cdef int row
    for row in range(PACE_ROWS):
        q.paces[row].most = NONE
    q.paced = 0
    q.paced_until = FAR


cdef inline void requests_init(requests_t *q) noexcept nogil:
    cdef int place
    memset(q, 0, sizeof(requests_t))
    pool_init(&q.pool)
    for place in range(PLACES):
        queue_init(&q.places[place])
    requests_unpaced(q)
    queue_init(&q.silent)
    queue_init(&q.credits)
    q.again = NONE
    q.next_id = 1


cdef inline void requests_free(requests_t *q) noexcept nogil:
    """requests_free gives the memory back; no request is left."""
    pool_free(&q.pool)
    heap_free(&q.timers)
    index_free(&q.numbers)
    index_free(&q.ids)


cdef inline uint64_t requests_done(const requests_t *q) noexcept nogil:
    """requests_done gives the lowest open id; every one below it is finished."""
    cdef uint32_t r = q.places[OPEN].head
    return q.next_id if r == NONE else q.all[r].id


# --- finding -------------------------------------------------------------------------------

cdef inline keys_t id_keys(const requests_t *q) noexcept nogil:
    return keys_of(&q.all[0].id, sizeof(client_request_t))


cdef inline keys_t number_keys(const requests_t *q) noexcept nogil:
    return keys_of(&q.all[0].number, sizeof(client_request_t))


cdef inline uint32_t requests_by_id(const requests_t *q, uint64_t id) noexcept nogil:
    """requests_by_id gives the open request of an id, or NONE."""
    return NONE if q.all == NULL else index_find(&q.ids, id_keys(q), id)


cdef inline uint32_t requests_by_number(const requests_t *q, uint64_t number) noexcept nogil:
    """requests_by_number gives the request that its caller names so, or NONE."""
    return NONE if q.all == NULL else index_find(&q.numbers, number_keys(q), number)


# --- moving --------------------------------------------------------------------------------

cdef inline links_t links(requests_t *q) noexcept nogil:
    return links_of(&q.all[0].link, sizeof(client_request_t))


cdef inline links_t silences(requests_t *q) noexcept nogil:
    return links_of(&q.all[0].silence, sizeof(client_request_t))


cdef inline void request_stop_wait_log(requests_t *q, uint32_t r) noexcept nogil:
    """request_stop_wait_log takes a request from those that wait for their line in the log."""
    if q.all[r].is_silent:
        q.all[r].is_silent = 0
        queue_remove(&q.silent, silences(q), r)


cdef inline links_t crediting(requests_t *q) noexcept nogil:
    return links_of(&q.all[0].crediting, sizeof(client_request_t))


cdef inline void request_credits(requests_t *q, uint32_t r) noexcept nogil:
    """request_credits has CREDIT said for a request, by this turn's packet."""
    if not q.all[r].is_crediting:
        q.all[r].is_crediting = 1
        queue_append(&q.credits, crediting(q), r)


cdef inline void request_credited(requests_t *q, uint32_t r) noexcept nogil:
    """request_credited takes a request from those for which CREDIT is to be said."""
    if q.all[r].is_crediting:
        q.all[r].is_crediting = 0
        queue_remove(&q.credits, crediting(q), r)


cdef inline void request_unplace(requests_t *q, uint32_t r) noexcept nogil:
    """request_unplace takes a request out of its place; its id, if it had one, has ended."""
    cdef client_request_t *request = &q.all[r]
    if q.again == r:
        q.again = request.link.next
    queue_remove(&q.places[request.place], links(q), r)
    if request.place == OPEN:
        index_remove(&q.ids, request.id, r)
        q.open -= 1
        q.paces[request.row].open -= 1
        request.id = 0
        request.accepted = request.again = 0
    elif request.place >= PARKED and q.places[request.place].head == NONE:
        q.parked ^= <uint64_t> 1 << request.row


cdef inline void request_move(requests_t *q, uint32_t r, uint8_t place) noexcept nogil:
    """request_move puts a request at the tail of another place than OPEN."""
    request_unplace(q, r)
    q.all[r].place = place
    queue_append(&q.places[place], links(q), r)


cdef inline int request_send(requests_t *q, uint32_t r) noexcept nogil:
    """request_send gives a request its id and moves it to OPEN; -1: no memory, nothing changed."""
    cdef client_request_t *request = &q.all[r]
    if index_put(&q.ids, id_keys(q), q.next_id, r) < 0:
        return -1
    request_move(q, r, OPEN)
    request.id = q.next_id
    q.next_id += 1
    q.open += 1
    q.paces[request.row].open += 1
    return 0


cdef inline void requests_again(requests_t *q) noexcept nogil:
    """requests_again marks every open request to be sent again."""
    cdef uint32_t r = q.places[OPEN].head
    q.again = r
    while r != NONE:
        q.all[r].again = 1
        q.all[r].accepted = 0
        r = q.all[r].link.next


# --- whose turn it is ----------------------------------------------------------------------

cdef inline void request_paces(requests_t *q, uint32_t r, uint64_t name) noexcept nogil:
    """request_paces puts a new request under its service's pace, a fresh one if it has none yet."""
    cdef uint8_t row = pace_find(q.paces, name)
    if q.paces[row].users == 0 and q.paces[row].name != name:
        q.paces[row].name = name
        q.paces[row].most = NONE
        q.paced &= ~(<uint64_t> 1 << row)
    q.paces[row].users += 1
    q.all[r].row = row


cdef inline bint is_parked(const requests_t *q, uint8_t row) noexcept nogil:
    return q.parked >> row & 1


cdef inline uint32_t place_next(requests_t *q, uint8_t place) noexcept nogil:
    """place_next gives the first request of a place that may be sent, or NONE; parks those before.

    Those that are parked go before others of their service.
    """
    cdef uint32_t r = q.places[place].head
    cdef uint8_t row
    while r != NONE:
        row = q.all[r].row
        if pace_takes(&q.paces[row]) and not is_parked(q, row):
            break
        request_move(q, r, PARKED + row)
        q.parked |= <uint64_t> 1 << row
        r = q.places[place].head
    return r


cdef inline uint32_t parked_next(requests_t *q) noexcept nogil:
    """parked_next gives the first parked request that may be sent, of each row in turn, or NONE."""
    cdef uint8_t row = q.parked_turn
    cdef int _
    if q.parked == 0:
        return NONE
    for _ in range(PACE_ROWS):
        row = (row + 1) % PACE_ROWS
        if is_parked(q, row) and pace_takes(&q.paces[row]):
            q.parked_turn = row
            return q.places[PARKED + row].head
    return NONE


cdef inline uint32_t requests_next(requests_t *q, uint32_t window) noexcept nogil:
    """requests_next gives the request that is sent next, or NONE: no more than `window` are open.

    Requests that the broker has refused before don't hold up the others, nor these them.
    """
    cdef uint32_t fresh, returned
    if q.places[OWN].head != NONE:
        return q.places[OWN].head
    if q.open >= window:
        return NONE
    returned = place_next(q, RETURNED)
    fresh = place_next(q, FRESH)
    if returned == NONE:
        returned = parked_next(q)
    if fresh == NONE or returned == NONE:
        return returned if fresh == NONE else fresh
    q.turn ^= 1
    return fresh if q.turn else returned


cdef inline void request_refused(requests_t *q, uint32_t r) noexcept nogil:
    """request_refused bounds the pace of a service whose request, in BUSY by now, was refused."""
    cdef uint8_t row = q.all[r].row
    pace_refused(&q.paces[row], q.all[r].busy_until)
    q.paced |= <uint64_t> 1 << row
    q.paced_until = min(q.paced_until, q.all[r].busy_until)


cdef inline void requests_paced(requests_t *q, int64_t now, uint32_t window) noexcept nogil:
    """requests_paced allows more where it is time for that."""
    cdef uint64_t bit = 1
    cdef int row
    if now < q.paced_until:
        return
    q.paced_until = FAR
    for row in range(PACE_ROWS):
        if q.paced & bit:
            pace_more(&q.paces[row], now, window)
            if q.paces[row].most == NONE:
                q.paced ^= bit
            else:
                q.paced_until = min(q.paced_until, q.paces[row].until)
        bit <<= 1


# --- time ----------------------------------------------------------------------------------

cdef inline int64_t request_expires(const client_request_t *request) noexcept nogil:
    """request_expires gives the time at which the request is ended on our side."""
    if request.deadline == FAR or request.id == 0:
        return request.deadline
    return request.deadline + GRACE_NS


cdef inline places_t timer_places(requests_t *q) noexcept nogil:
    return places_of(&q.all[0].timer, sizeof(client_request_t))


cdef inline void request_disarm(requests_t *q, uint32_t r) noexcept nogil:
    if q.all[r].timer != NONE:
        heap_remove(&q.timers, timer_places(q), r)


cdef inline int request_arm(requests_t *q, uint32_t r) noexcept nogil:
    """request_arm sets the timer of a request to what comes next; -1: no memory."""
    cdef client_request_t *request = &q.all[r]
    cdef int64_t due = request_expires(request)
    if request.place == BUSY and request.busy_until < due:
        due = request.busy_until
    if due == FAR:
        request_disarm(q, r)
    elif request.timer != NONE:
        heap_move(&q.timers, timer_places(q), due, r)
    else:
        return heap_push(&q.timers, timer_places(q), due, r)
    return 0


cdef inline uint32_t requests_due(const requests_t *q, int64_t now) noexcept nogil:
    """requests_due gives the request whose timer was due first, or NONE."""
    if q.timers.count == 0 or q.timers.nodes[0].key > now:
        return NONE
    return heap_top(&q.timers)


# --- begin and end -------------------------------------------------------------------------

cdef inline uint32_t request_new(requests_t *q, uint64_t number) noexcept nogil:
    """request_new gives a fresh request that has nothing but its number, or NONE: no memory."""
    cdef uint32_t r = pool_take(&q.pool, <void **> &q.all, sizeof(client_request_t))
    if r == NONE:
        return NONE
    if index_put(&q.numbers, number_keys(q), number, r) < 0:
        pool_give(&q.pool, <void **> &q.all, sizeof(client_request_t), r)
        return NONE
    q.all[r].number = number
    q.all[r].timer = NONE
    q.all[r].place = FRESH
    queue_append(&q.places[FRESH], links(q), r)
    return r


cdef inline mail_t *request_end(requests_t *q, uint32_t r) noexcept nogil:
    """request_end forgets a request and gives the mail of its end, whose number is set."""
    cdef client_request_t *request = &q.all[r]
    cdef mail_t *end = request.end
    request_disarm(q, r)
    request_stop_wait_log(q, r)
    request_credited(q, r)
    q.streams -= request.stream != NULL
    request_unplace(q, r)
    q.paces[request.row].users -= 1
    index_remove(&q.numbers, request.number, r)
    body_clear(&request.body)
    service_drop(request.service)
    pool_give(&q.pool, <void **> &q.all, sizeof(client_request_t), r)
    return end
