"""A client's end: its requests from submission to the one answer, without the GIL.

What the rules of PND/1 ask of a client is here; where each request is, is in client_rules.pxd.
Invariant: each mail that an ask_t brings in comes back to its mailbox exactly once, as its end:
           REPLY or ERROR. Mails to one mailbox stay in order.
Cost:      O(1) a request, O(log n) for one with a deadline; a WELCOME costs O(open requests), all
           are sent again. Mails that become ready together are put by one lock and one wake-up.
Memory:    a request owns its body until it has ended; answers belong to whoever takes them.

Everything but `asking_init`, `asking_free`, `asking_live` runs on the engine's thread.
"""

from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset, strlen

from pound._base.check cimport CHECK
from pound._base.links cimport queue_append
from pound._base.pool cimport NONE
from pound._wire.format cimport (
    BYE_GOING, CODE_CANCELLED, CODE_DATA_LOSS, CODE_DEADLINE_EXCEEDED, CODE_INVALID_ARGUMENT,
    CODE_RESOURCE_EXHAUSTED, CODE_UNAVAILABLE, FLAG_RETRY, KIND_ACCEPTED, KIND_BYE, KIND_CANCEL,
    KIND_ERROR, KIND_HEARTBEAT, KIND_PARTIAL, KIND_REPLY, partial_cost)
from pound._wire.reader cimport part_next, part_t, record_t
from pound._zmq.libzmq cimport zmq_msg_t
from .cancels cimport cancels_add, cancels_again, cancels_free, cancels_heard, cancels_next
from .client_rules cimport (
    BUSY, OPEN, OWN, PARKED, PLACES, RECORD_BYTES, RETURNED, ask_t, asking_t, cancel_t, flow_t,
    is_own, long_t, request_arm, request_end, request_expires, request_hush, request_move,
    request_new, request_paces, request_refused, request_send, request_t, requests_again,
    requests_by_id, requests_by_number, requests_done, requests_due, requests_free, requests_init,
    requests_next, requests_paced, requests_t, requests_unpaced, service_drop, service_t, silences)
from .endpoints cimport endpoint_name
from .engine cimport (
    FAR, TROUBLE, clock_now, command_t, end_t, engine_log, engine_t, engine_trouble,
    pthread_mutex_lock, pthread_mutex_unlock)
from .link cimport (
    dealer_bye, dealer_flushed, dealer_greets, dealer_hello, dealer_request, dealer_resting,
    dealer_simple, dealer_t, jitter, limits_excess, limits_told_t)
from .mailbox cimport (
    LOG_REQUEST_WAITING, MAIL_ERROR, MAIL_PARTIAL, MAIL_REPLY, MAIL_RESTART, body_clear, body_read,
    body_t, body_text, mail_free, mail_new, mail_t, mailbox_put_all, mailbox_t)
from .pace cimport PACE_ROWS
from .streams cimport (
    stream_again, stream_begin, stream_skip, stream_unread, streams_again, streams_collect)

cdef extern from *:
    """
    #define load_relaxed(at) __atomic_load_n(at, __ATOMIC_RELAXED)
    #define add_relaxed(at, more) __atomic_add_fetch(at, more, __ATOMIC_RELAXED)
    """
    uint64_t load_relaxed(const uint64_t *at) nogil
    uint64_t add_relaxed(uint64_t *at, int64_t more) nogil

cdef enum:
    NS = 1000000000                # in a second
    MS = 1000000                   # ns in a millisecond
    TURN_BYTES = 4 << 20           # packed in one turn at most, so that answers are read in between
    BUSY_FIRST_NS = 50 * MS        # until a refused request is sent again
    BUSY_MAX_NS = 2000 * MS        # the same, after many refusals
    BUSY_DOUBLINGS = 6             # from the first to the most
    TOLD_MAX = 128                 # mails that wait for one wake-up of their taker
    SENTENCE = 960                 # bytes of a sentence for a person; endpoints may be long

cdef uint64_t live_requests = 0    # of the whole process


# --- telling the caller --------------------------------------------------------------------

# told_put lets the mails go that are on their way.
cdef void told_put(asking_t *a) noexcept nogil:
    if a.told_first != NULL:
        mailbox_put_all(a.told, a.told_first, a.told_last)
    a.told_first = a.told_last = NULL
    a.told_count = 0


# tell puts one mail on its way: it arrives at the end of the turn at the latest.
cdef void tell(asking_t *a, mailbox_t *box, mail_t *mail) noexcept nogil:
    if a.told != box or a.told_count >= TOLD_MAX:
        told_put(a)
    a.told = box
    mail.next = NULL
    if a.told_first == NULL:
        a.told_first = mail
    else:
        a.told_last.next = mail
    a.told_last = mail
    a.told_count += 1


# fail_mail makes the mail of an end the mail of a failure, and sends it on its way.
cdef void fail_mail(
    asking_t *a, mailbox_t *box, mail_t *end, uint16_t code, const char *why
) noexcept nogil:
    body_clear(&end.body)
    end.kind = MAIL_ERROR
    end.code = code
    end.retry_after_ms = 0
    body_text(&end.body, why, <uint32_t> strlen(why))  # without memory: an error without words
    tell(a, box, end)


# end takes the request out of its place and gives the mail of its end; what is left is to tell it.
cdef mail_t *end(asking_t *a, uint32_t r) noexcept nogil:
    add_relaxed(&live_requests, -1)
    return request_end(&a.requests, r)


# fail ends the request on our side and has the broker told so.
cdef void fail(asking_t *a, uint32_t r, uint16_t code, const char *why) noexcept nogil:
    cdef request_t *request = &a.requests.all[r]
    cdef mailbox_t *box = request.box
    if request.id:
        cancels_add(&a.cancels, request.id)
    fail_mail(a, box, end(a, r), code, why)


# --- commands, posted by the client --------------------------------------------------------

# add opens the request whose mail of the end this is. -1: no memory, the mail is untouched.
cdef int add(asking_t *a, const ask_t *ask, mail_t *mail) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef uint32_t r = request_new(q, mail.number)
    cdef request_t *request
    if r == NONE:
        return -1
    add_relaxed(&live_requests, 1)
    request = &q.all[r]
    request.end = mail
    request.body = mail.body
    memset(&mail.body, 0, sizeof(body_t))
    request.box = ask.box
    request.service = ask.service
    request_paces(q, r, ask.service.hash)
    request.flow = ask.flow
    q.streams += ask.flow != NULL
    request.priority = ask.priority
    if is_own(ask.service):
        request_move(q, r, OWN)
    request.since = ask.since
    request.timeout = ask.timeout
    request.deadline = FAR
    if ask.timeout != FAR:
        request.deadline = ask.since + ask.timeout
        if request_arm(q, r) < 0:
            fail(a, r, CODE_RESOURCE_EXHAUSTED, b"no memory for the request's timer")
        return 0
    request.is_silent = 1
    queue_append(&q.silent, silences(q), r)
    return 0


# run_ask opens the requests of an ask_t.
cdef void run_ask(engine_t *e, command_t *command) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    cdef ask_t *ask = <ask_t *> command
    cdef mail_t *mail = ask.first
    cdef mail_t *next
    while mail != NULL:
        next = mail.next
        if add(a, ask, mail) < 0:
            service_drop(ask.service)
            fail_mail(a, ask.box, mail, CODE_RESOURCE_EXHAUSTED, b"no memory for the request")
        mail = next
    free(ask)


# run_cancel ends requests that nobody waits for any more.
cdef void run_cancel(engine_t *e, command_t *command) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    cdef cancel_t *cancel = <cancel_t *> command
    cdef uint32_t i, r
    for i in range(cancel.count):
        r = requests_by_number(&a.requests, cancel.numbers[i])
        if r != NONE:
            fail(a, r, CODE_CANCELLED, b"cancelled by its caller")
    free(cancel)


# run_leave has BYE said and the engine finish.
cdef void run_leave(engine_t *e, command_t *command) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    a.leave_by = clock_now() + a.leave_within
    free(command)


# --- the engine's calls: out ---------------------------------------------------------------

# fits tells whether the broker takes such a body; one that it does not take is failed.
cdef bint fits(asking_t *a, uint32_t r, const limits_told_t *limits) noexcept nogil:
    cdef char why[SENTENCE]
    if limits_excess(limits, &a.requests.all[r].body, why, SENTENCE) == 0:
        return True
    fail(a, r, CODE_INVALID_ARGUMENT, why)
    return False


# write packs a request, with the time that is left of its timeout; returns what it costs in bytes.
cdef int64_t write(
    dealer_t *d, const request_t *request, uint8_t flags, int64_t now
) noexcept nogil:
    cdef int64_t left_ms = 0
    if request.deadline != FAR:
        left_ms = (request.deadline - now + MS - 1) // MS
        if left_ms < 1:
            left_ms = 1
        elif left_ms > UINT32_MAX:
            left_ms = UINT32_MAX
    dealer_request(
        d, request.id, flags, <uint32_t> left_ms, request.priority,
        request.service.name, request.service.size, &request.body)
    return <int64_t> request.body.bytes + RECORD_BYTES


# collect_again writes open requests that have to be sent again; returns what is left of `budget`.
cdef int64_t collect_again(
    asking_t *a, dealer_t *d, int64_t now, int64_t budget
) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef uint32_t r
    while budget > 0 and q.again != NONE:
        r = q.again
        q.again = q.all[r].link.next
        if q.all[r].again and fits(a, r, &d.limits):
            q.all[r].again = 0
            budget -= write(d, &q.all[r], FLAG_RETRY, now)
    return budget


# is_eager tells whether a request may be sent before WELCOME, which it then counts against.
cdef bint is_eager(asking_t *a, const request_t *request) noexcept nogil:
    a.eager_bytes -= <int64_t> request.body.bytes + RECORD_BYTES
    return a.eager_bytes >= 0


# collect_fresh writes what was not sent yet, as far as the window goes; returns what is left.
cdef int64_t collect_fresh(
    asking_t *a, dealer_t *d, int64_t now, int64_t budget
) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef uint32_t r
    while budget > 0:
        r = requests_next(q, d.limits.requests_max)
        if r == NONE or not (d.welcomed or is_eager(a, &q.all[r])):
            break
        if not fits(a, r, &d.limits):
            continue
        if request_send(q, r) < 0:
            fail(a, r, CODE_RESOURCE_EXHAUSTED, b"no memory for the request's id")
            continue
        budget -= write(d, &q.all[r], 0, now)
    return budget


# collect_bye writes BYE, once, and a HEARTBEAT, which is answered (by BYE 0: the session has
# ended). A socket closed with unread input resets its connection, and a reset may overtake what was
# sent: so the answer is waited for, except over inproc, where nothing is overtaken.
cdef void collect_bye(asking_t *a, dealer_t *d) noexcept nogil:
    if not a.said_bye:
        a.said_bye = d.leaving = 1
        dealer_bye(d, BYE_GOING)
        dealer_simple(d, KIND_HEARTBEAT, 0)


# asking_collect writes HELLO, CANCELs, requests again, new requests: what this turn sends.
cdef void asking_collect(engine_t *e, int64_t now) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    cdef dealer_t *d = &e.dealer
    cdef int64_t budget = TURN_BYTES
    cdef uint64_t id
    a.more = 0
    if a.leave_by != FAR:
        collect_bye(a, d)
        return
    if dealer_greets(d, now):
        a.eager_bytes = a.eager_bytes_max
        dealer_hello(d, &a.label)
    id = cancels_next(&a.cancels)
    while id:
        dealer_simple(d, KIND_CANCEL, id)
        id = cancels_next(&a.cancels)
    if not dealer_resting(d, now):
        if d.welcomed:
            budget = collect_again(a, d, now, budget)
            streams_collect(&a.requests, d)
        budget = collect_fresh(a, d, now, budget)
        a.more = budget <= 0
    told_put(a)


cdef int asking_pending(engine_t *e) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    return a.leave_by == FAR and (a.more or a.cancels.told < a.cancels.tail)


cdef uint64_t asking_done(engine_t *e) noexcept nogil:
    return requests_done(&(<asking_t *> e.end.state).requests)


# --- the engine's calls: in ----------------------------------------------------------------

# take_reply ends a request with its answer.
cdef void take_reply(
    asking_t *a, uint32_t r, const record_t *record, zmq_msg_t *frames
) noexcept nogil:
    cdef flow_t *flow = a.requests.all[r].flow
    cdef mailbox_t *box = a.requests.all[r].box
    cdef mail_t *mail = end(a, r)
    if body_read(&mail.body, record, frames) < 0:
        fail_mail(a, box, mail, CODE_RESOURCE_EXHAUSTED, b"no memory for the answer")
        return
    mail.kind = MAIL_REPLY
    if flow != NULL:
        mail.attempt = flow.attempt
        mail.sequence = flow.expected
    tell(a, box, mail)


# put_off has the request asked again later, each time a little later: the broker does not take it
# now; if it is `busy`, it takes no others of the service either.
cdef void put_off(
    asking_t *a, uint32_t r, uint32_t retry_after_ms, bint busy, int64_t now
) noexcept nogil:
    cdef request_t *request = &a.requests.all[r]
    cdef uint32_t doublings = request.busy if request.busy < BUSY_DOUBLINGS else BUSY_DOUBLINGS
    cdef int64_t backoff = <int64_t> BUSY_FIRST_NS << doublings
    cdef int64_t told = <int64_t> retry_after_ms * MS
    if backoff > BUSY_MAX_NS:
        backoff = BUSY_MAX_NS
    request_move(&a.requests, r, BUSY)
    request.busy += 1
    request.busy_until = now + jitter(told if told > backoff else backoff)
    if busy and not is_own(request.service):
        request_refused(&a.requests, r)
    if request_arm(&a.requests, r) < 0:
        fail(a, r, CODE_RESOURCE_EXHAUSTED, b"the broker is busy, and no memory to ask it again")


# note_refusal keeps the broker's words for whoever asks what a request waits for, on any thread.
cdef void note_refusal(engine_t *e, asking_t *a, const record_t *record) noexcept nogil:
    cdef const uint8_t *at = record.body
    cdef part_t words
    cdef size_t size
    words.data = NULL
    words.size = 0
    if at != NULL:
        part_next(&at, record.body + record.body_size, &words)
    size = min(<size_t> words.size, sizeof(a.refusal) - 1)
    pthread_mutex_lock(&e.lock)
    if size:
        memcpy(a.refusal, words.data, size)
    a.refusal[size] = 0
    pthread_mutex_unlock(&e.lock)


# take_error ends a request with the broker's error, or puts it off.
cdef void take_error(
    engine_t *e, asking_t *a, uint32_t r, const record_t *record, zmq_msg_t *frames, int64_t now
) noexcept nogil:
    cdef flow_t *flow = a.requests.all[r].flow
    cdef mailbox_t *box = a.requests.all[r].box
    cdef bint busy = record.code == CODE_RESOURCE_EXHAUSTED and a.waits
    # A worker's 14 gives its task back and never comes here: the broker itself is draining.
    cdef bint draining = record.code == CODE_UNAVAILABLE
    cdef mail_t *mail
    if (busy or draining) and (flow == NULL or not flow.started):
        note_refusal(e, a, record)
        put_off(a, r, record.retry_after_ms, busy, now)
        return
    mail = end(a, r)
    mail.kind = MAIL_ERROR
    mail.code = record.code
    mail.retry_after_ms = record.retry_after_ms
    body_read(&mail.body, record, frames)  # without memory: an error without words
    tell(a, box, mail)


# judge_partial tells whether a partial is the next one of its stream: 1; 0: it is passed over;
# -1: some before it are missing.
cdef int judge_partial(request_t *request, const record_t *record) noexcept nogil:
    cdef flow_t *flow = request.flow
    if record.attempt < flow.attempt:
        return 0
    if record.attempt > flow.attempt:
        stream_begin(request, record.attempt)
    if record.sequence < flow.expected:
        return 0
    return 1 if record.sequence == flow.expected else -1


# take_partial passes a partial on, in order; a gap ends the stream, and so does a reader too slow
# for a worker that knows no CREDIT.
cdef void take_partial(
    asking_t *a, uint32_t r, const record_t *record, zmq_msg_t *frames
) noexcept nogil:
    cdef request_t *request = &a.requests.all[r]
    cdef flow_t *flow = request.flow
    cdef char why[SENTENCE]
    cdef mail_t *mail
    cdef int next
    if flow == NULL:
        stream_skip(&a.requests, r, record, frames)
        return
    next = judge_partial(request, record)
    if next == 0 and record.attempt == flow.attempt:
        stream_again(&a.requests, r, record, frames)
    if next < 0:
        snprintf(
            why, SENTENCE, b"partials %u to %u of the stream were lost",
            <unsigned int> flow.expected, <unsigned int> record.sequence - 1)
        fail(a, r, CODE_DATA_LOSS, why)
    if next <= 0:
        return
    if stream_unread(flow) > a.stream_bytes_max:
        snprintf(
            why, SENTENCE, b"more than %llu bytes of the stream were not read, and its worker "
            b"does not wait", <unsigned long long> a.stream_bytes_max)
        fail(a, r, CODE_RESOURCE_EXHAUSTED, why)
        return
    mail = mail_new(MAIL_PARTIAL, request.end.tag, request.number)
    if mail == NULL or body_read(&mail.body, record, frames) < 0:
        if mail != NULL:
            mail_free(mail)
        fail(a, r, CODE_RESOURCE_EXHAUSTED, b"no memory for a partial of the stream")
        return
    flow.put_bytes += partial_cost(mail.body.bytes, mail.body.parts)
    flow.expected += 1
    flow.started = 1
    mail.attempt = record.attempt
    mail.sequence = record.sequence
    tell(a, request.box, mail)


# asking_take acts on what the broker says about one request.
cdef void asking_take(
    engine_t *e, const record_t *record, zmq_msg_t *frames, int64_t now
) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    cdef uint32_t r
    if record.kind == KIND_BYE:
        a.heard_bye = a.said_bye
        return
    r = requests_by_id(&a.requests, record.id)
    if r == NONE:
        if record.kind == KIND_REPLY or record.kind == KIND_ERROR:
            cancels_heard(&a.cancels, record.id)
    elif record.kind == KIND_REPLY:
        take_reply(a, r, record, frames)
    elif record.kind == KIND_ERROR:
        take_error(e, a, r, record, frames, now)
    elif record.kind == KIND_PARTIAL:
        take_partial(a, r, record, frames)
    elif record.kind == KIND_ACCEPTED:
        a.requests.all[r].accepted = 1


# asking_heard lets the answers of the packet before go. Open requests need nothing: they are kept
# until they are answered.
cdef void asking_heard(engine_t *e) noexcept nogil:
    told_put(<asking_t *> e.end.state)


# asking_welcomed sends every open request again: the broker may not have them, or not this route.
cdef void asking_welcomed(engine_t *e, int64_t now) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    requests_again(&a.requests)
    streams_again(&a.requests)
    cancels_again(&a.cancels)


# asking_epoch_changed prepares open streams for a new run, with attempts counted anew.
cdef void asking_epoch_changed(engine_t *e, int64_t now) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    cdef uint32_t r = a.requests.places[OPEN].head
    cdef request_t *request
    cdef mail_t *mail
    requests_unpaced(&a.requests)
    while r != NONE:
        request = &a.requests.all[r]
        r = request.link.next
        request.attempt = 0
        request.skipped = request.credit = 0
        if request.flow != NULL and request.flow.attempt:
            mail = mail_new(MAIL_RESTART, request.end.tag, request.number)
            if mail != NULL:
                tell(a, request.box, mail)
            request.flow.attempt = 0
            request.flow.expected = 0


# --- the engine's calls: time --------------------------------------------------------------

# no_broker writes why there is none.
cdef void no_broker(char *to, size_t room, engine_t *e) noexcept nogil:
    cdef const char *at = endpoint_name(&e.dealer.endpoints)
    cdef char trouble[TROUBLE]
    if engine_trouble(e, trouble, sizeof(trouble)) == 0:
        snprintf(trouble, sizeof(trouble), b"no broker answers at %s", at)
    if e.dealer.lost != NULL:
        snprintf(to, room, b"the broker was lost (%s); %s", e.dealer.lost, trouble)
    else:
        snprintf(to, room, b"%s", trouble)


# waits_for writes what the request waits for, as a sentence for a person.
cdef void waits_for(
    char *to, size_t room, engine_t *e, const request_t *request, int64_t now
) noexcept nogil:
    cdef dealer_t *d = &e.dealer
    cdef requests_t *q = &(<asking_t *> e.end.state).requests
    cdef const char *at = endpoint_name(&d.endpoints)
    if request.place == BUSY:
        snprintf(
            to, room, b"the broker at %s is busy, it was asked %u times and said: %s", at,
            <unsigned int> request.busy, (<asking_t *> e.end.state).refusal)
    elif request.place >= PARKED:
        snprintf(
            to, room, b"the broker at %s takes no more for this service now, it said: %s", at,
            (<asking_t *> e.end.state).refusal)
    elif not d.welcomed:
        no_broker(to, room, e)
    elif dealer_resting(d, now):
        snprintf(to, room, b"the broker at %s goes away and takes no requests", at)
    elif now - d.heard_at > 2 * d.heartbeat:
        snprintf(
            to, room, b"the broker at %s has said nothing for %.1f s: is it stopped?", at,
            <double> (now - d.heard_at) / NS)
    elif request.id == 0 and q.open >= d.limits.requests_max:
        snprintf(
            to, room, b"the window of %u open requests is full (requests_max of the broker at %s)",
            <unsigned int> d.limits.requests_max, at)
    elif request.id == 0 and d.wants_out:
        snprintf(to, room, b"the broker at %s does not read, the request was not sent", at)
    elif request.id == 0:
        snprintf(to, room, b"the time was over before the request was sent to %s", at)
    elif request.accepted:
        snprintf(to, room, b"the broker at %s holds the request, no worker has answered it", at)
    else:
        snprintf(to, room, b"the request was sent to %s, no answer has come", at)


# expire ends a request whose deadline has passed.
cdef void expire(asking_t *a, engine_t *e, uint32_t r, int64_t now) noexcept nogil:
    cdef char why[SENTENCE]
    cdef char what[SENTENCE - 64]
    waits_for(what, sizeof(what), e, &a.requests.all[r], now)
    snprintf(
        why, SENTENCE, b"no answer within %g s: %s",
        <double> a.requests.all[r].timeout / NS, what)
    fail(a, r, CODE_DEADLINE_EXCEEDED, why)


# note_long has a line written for the service of a request that has begun to wait long.
cdef void note_long(asking_t *a, const request_t *request) noexcept nogil:
    cdef const service_t *service = request.service
    cdef long_t *row = &a.long_ones[request.row]
    CHECK(service.size < sizeof(row.name), "a service's name of %u bytes", <unsigned> service.size)
    row.owed = 1
    row.size = service.size
    memcpy(row.name, service.name, service.size)


# is_long tells whether a request is one of those that a service's line counts.
cdef bint is_long(
    const asking_t *a, const long_t *row, const request_t *q, int64_t now
) noexcept nogil:
    return (q.deadline == FAR and now - q.since >= a.log_after and q.service.size == row.size
            and memcmp(q.service.name, row.name, row.size) == 0)


# log_service logs a line for all requests of a service that wait long, if one still does.
cdef void log_service(asking_t *a, engine_t *e, const long_t *row, int64_t now) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef const request_t *oldest = NULL
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


# log_long logs for which services requests have begun to wait long: of each a line in log_after.
cdef void log_long(asking_t *a, engine_t *e, int64_t now) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef uint32_t r = q.silent.head
    cdef long_t *row
    cdef int i
    if now < a.long_at and (r == NONE or now - q.all[r].since < a.log_after):
        return
    while r != NONE and now - q.all[r].since >= a.log_after:
        request_hush(q, r)
        note_long(a, &q.all[r])
        r = q.silent.head
    a.long_at = FAR
    for i in range(PACE_ROWS):
        row = &a.long_ones[i]
        if row.owed and now >= row.until:
            row.owed = 0
            row.until = now + a.log_after
            log_service(a, e, row, now)
        elif row.owed and row.until < a.long_at:
            a.long_at = row.until


# asking_tick ends what is past its deadline, brings refused requests back and logs long waits.
cdef void asking_tick(engine_t *e, int64_t now) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    cdef requests_t *q = &a.requests
    cdef uint32_t r = requests_due(q, now)
    while r != NONE:
        if now >= request_expires(&q.all[r]):
            expire(a, e, r, now)
        else:
            if q.all[r].place == BUSY and now >= q.all[r].busy_until:
                request_move(q, r, OWN if is_own(q.all[r].service) else RETURNED)
            request_arm(q, r)
        r = requests_due(q, now)
    requests_paced(q, now, e.dealer.limits.requests_max)
    log_long(a, e, now)
    told_put(a)


cdef int64_t asking_next_due(engine_t *e) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    cdef const requests_t *q = &a.requests
    cdef int64_t due = min(a.leave_by, q.paced_until)
    if q.timers.count and q.timers.nodes[0].key < due:
        due = q.timers.nodes[0].key
    if a.long_at < due:
        due = a.long_at
    if q.silent.head != NONE and q.all[q.silent.head].since + a.log_after < due:
        due = q.all[q.silent.head].since + a.log_after
    return due


# asking_next_beat asks for a sign of life when the broker has been quiet for a heartbeat.
cdef int64_t asking_next_beat(engine_t *e) noexcept nogil:
    cdef int64_t heard_at = e.dealer.heard_at
    return (heard_at if heard_at > e.beat_at else e.beat_at) + e.dealer.heartbeat


# asking_finished tells whether BYE has arrived, or has nowhere to go.
cdef int asking_finished(engine_t *e, int64_t now) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    if a.leave_by == FAR:
        return 0
    if a.said_bye and e.dealer.near and dealer_flushed(&e.dealer):
        return 1
    return a.heard_bye or not e.dealer.up or now >= a.leave_by


# asking_closed fails whatever is open.
cdef void asking_closed(engine_t *e, const char *why) noexcept nogil:
    cdef asking_t *a = <asking_t *> e.end.state
    cdef uint32_t r
    cdef int place
    cdef mailbox_t *box
    for place in range(PLACES):
        while a.requests.places[place].head != NONE:
            r = a.requests.places[place].head
            box = a.requests.all[r].box
            fail_mail(a, box, end(a, r), 0, why)
    told_put(a)


# --- begin and end -------------------------------------------------------------------------

cdef void asking_init(asking_t *a, end_t *end) noexcept nogil:
    memset(a, 0, sizeof(asking_t))
    requests_init(&a.requests)
    a.leave_by = a.long_at = FAR
    memset(end, 0, sizeof(end_t))
    end.state = a
    end.collect = asking_collect
    end.pending = asking_pending
    end.take = asking_take
    end.heard = asking_heard
    end.welcomed = asking_welcomed
    end.epoch_changed = asking_epoch_changed
    end.next_beat = asking_next_beat
    end.tick = asking_tick
    end.next_due = asking_next_due
    end.done = asking_done
    end.finished = asking_finished
    end.closed = asking_closed


cdef void asking_free(asking_t *a) noexcept nogil:
    requests_free(&a.requests)
    cancels_free(&a.cancels)
    body_clear(&a.label)


cdef uint64_t asking_live() noexcept nogil:
    return load_relaxed(&live_requests)
