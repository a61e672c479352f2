"""A client's rules: a request from its submission to its one answer, without the GIL.

What PND/1 asks of a client is here; requests.pxd has the places of a request.
Invariant: each mail that a submit_t brings in comes back to its mailbox exactly once, as the final
           one of its request: REPLY or ERROR. Mails to one mailbox stay in order.
Cost:      O(1) a request, O(log n) for one with a deadline; a WELCOME costs O(open requests), all
           are sent again. Mails that become ready together are put by one lock and one wake-up.
Memory:    a request owns its body until it has ended; answers belong to their taker.

Everything but `client_init`, `client_free`, `client_live` runs on the engine's thread.
"""

from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memcpy, memset, strlen

from pound._base.clock cimport clock_ns
from pound._base.hints cimport unlikely
from pound._base.links cimport queue_append
from pound._base.locks cimport pthread_mutex_lock, pthread_mutex_unlock
from pound._base.pool cimport NONE
from pound._wire.codes cimport (
    CODE_CANCELLED, CODE_DATA_LOSS, CODE_DEADLINE_EXCEEDED, CODE_INVALID_ARGUMENT,
    CODE_NOT_FOUND, CODE_RESOURCE_EXHAUSTED, CODE_UNAVAILABLE)
from pound._wire.packets cimport (
    BYE_GOING, FLAG_MOVED, FLAG_RETRY, KIND_ACCEPTED, KIND_BYE, KIND_CANCEL, KIND_ERROR,
    KIND_HEARTBEAT, KIND_PARTIAL, KIND_REPLY, part_next, part_t, partial_cost, record_t)
from pound._zmq.libzmq cimport zmq_msg_t
from .cancels cimport cancels_add, cancels_again, cancels_free, cancels_heard, cancels_next
from .client_state cimport cancel_t, client_state_t, look_t, submit_t
from .engine cimport engine_command_t, engine_denied, engine_t, rules_t
from .keys cimport keys_next
from .link cimport (
    FAR, broker_limits_t, link_go_home, link_greets, link_jitter, link_next_beat, link_resting,
    link_wants_home)
from .mailbox cimport (
    MAIL_ERROR, MAIL_PARTIAL, MAIL_REPLY, body_clear, body_read, body_t, body_text,
    mail_free, mail_new, mail_t, mailbox_put_all, mailbox_t)
from .outbox cimport (
    limits_excess, outbox_bye, outbox_flushed, outbox_hello, outbox_request, outbox_simple,
    outbox_t)
from .requests cimport (
    BUSY, OPEN, OWN, PLACES, RECORD_BYTES, RETURNED, client_request_t, is_own, request_arm,
    request_end, request_expires, request_move, request_new, request_paces, request_refused,
    request_send, requests_again, requests_by_id, requests_by_number, requests_done, requests_due,
    requests_free, requests_init, requests_next, requests_paced, requests_t, requests_unpaced,
    service_drop, silences, stream_state_t)
from .streams cimport (
    stream_again, stream_begin, stream_looked, stream_repeat, stream_run, stream_skip,
    stream_unread, streams_collect)
from .waits cimport SENTENCE, waits_for, waits_log

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
    RETRY_MAX_MS = 48000           # a minute at most, with its jitter: a quota may have been raised
    DELIVERY_MAX = 128             # mails that wait for one wake-up of their taker

cdef uint64_t live_requests = 0    # of the whole process


# --- delivering ----------------------------------------------------------------------------

# deliver_all lets the mails go that are on their way.
cdef void deliver_all(client_state_t *a) noexcept nogil:
    if a.delivery_first != NULL:
        mailbox_put_all(a.delivered_to, a.delivery_first, a.delivery_last)
    a.delivery_first = a.delivery_last = NULL
    a.delivery_count = 0


# deliver puts one mail on its way: it arrives at the end of the turn at the latest.
cdef void deliver(client_state_t *a, mailbox_t *box, mail_t *mail) noexcept nogil:
    if a.delivered_to != box or a.delivery_count >= DELIVERY_MAX:
        deliver_all(a)
    a.delivered_to = box
    mail.next = NULL
    if a.delivery_first == NULL:
        a.delivery_first = mail
    else:
        a.delivery_last.next = mail
    a.delivery_last = mail
    a.delivery_count += 1


# fail_mail makes a request's final mail the mail of a failure, and delivers it.
cdef void fail_mail(
    client_state_t *a, mailbox_t *box, mail_t *end, uint16_t code, const char *why
) noexcept nogil:
    body_clear(&end.body)
    end.kind = MAIL_ERROR
    end.code = code
    end.retry_after_ms = 0
    body_text(&end.body, why, <uint32_t> strlen(why))  # without memory: an error without words
    deliver(a, box, end)


# end takes the request out of its place and returns its final mail, which is to be delivered.
cdef mail_t *end(client_state_t *a, uint32_t r) noexcept nogil:
    add_relaxed(&live_requests, -1)
    return request_end(&a.requests, r)


# fail ends the request on our side and sends the broker a CANCEL.
cdef void fail(client_state_t *a, uint32_t r, uint16_t code, const char *why) noexcept nogil:
    cdef client_request_t *request = &a.requests.all[r]
    cdef mailbox_t *box = request.box
    if request.id:
        cancels_add(&a.cancels, request.id)
    fail_mail(a, box, end(a, r), code, why)


# fail_all ends every request.
cdef void fail_all(client_state_t *a, uint16_t code, const char *why) noexcept nogil:
    cdef int place
    for place in range(PLACES):
        while a.requests.places[place].head != NONE:
            fail(a, a.requests.places[place].head, code, why)


# --- commands, posted by the client --------------------------------------------------------

# add opens the request whose mail of the end this is. -1: no memory, the mail is untouched.
cdef int add(client_state_t *a, const submit_t *submit, mail_t *mail) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef uint32_t r = request_new(q, mail.number)
    cdef client_request_t *request
    if r == NONE:
        return -1
    add_relaxed(&live_requests, 1)
    request = &q.all[r]
    request.end = mail
    request.body = mail.body
    memset(&mail.body, 0, sizeof(body_t))
    request.box = submit.box
    request.service = submit.service
    request_paces(q, r, submit.service.hash)
    request.stream = submit.stream
    q.streams += submit.stream != NULL
    request.priority = submit.priority
    keys_next(&a.keys, request.key)
    if is_own(submit.service):
        request_move(q, r, OWN)
    request.since = submit.since
    request.timeout = submit.timeout
    request.deadline = FAR
    if submit.timeout != FAR:
        request.deadline = submit.since + submit.timeout
        if request_arm(q, r) < 0:
            fail(a, r, CODE_RESOURCE_EXHAUSTED, b"no memory for the request's timer")
        return 0
    request.is_silent = 1
    queue_append(&q.silent, silences(q), r)
    return 0


# run_submit opens the requests of a submit_t.
cdef void run_submit(engine_t *e, engine_command_t *command) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    cdef submit_t *submit = <submit_t *> command
    cdef mail_t *mail = submit.first
    cdef mail_t *next
    while mail != NULL:
        next = mail.next
        if add(a, submit, mail) < 0:
            service_drop(submit.service)
            fail_mail(a, submit.box, mail, CODE_RESOURCE_EXHAUSTED, b"no memory for the request")
        mail = next
    free(submit)


# run_cancel ends requests that nobody waits for any more.
cdef void run_cancel(engine_t *e, engine_command_t *command) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    cdef cancel_t *cancel = <cancel_t *> command
    cdef uint32_t i, r
    for i in range(cancel.count):
        r = requests_by_number(&a.requests, cancel.numbers[i])
        if r != NONE:
            fail(a, r, CODE_CANCELLED, b"cancelled by its caller")
    free(cancel)


# run_look has the CREDIT of a stream sent.
cdef void run_look(engine_t *e, engine_command_t *command) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    cdef look_t *look = <look_t *> command
    cdef uint32_t r = requests_by_number(&a.requests, look.number)
    if r != NONE and a.requests.all[r].stream != NULL:
        stream_looked(&a.requests, r)
    free(look)


# run_leave has BYE said and the engine finish.
cdef void run_leave(engine_t *e, engine_command_t *command) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    a.leave_by = clock_ns() + a.leave_within
    free(command)


# --- the engine's calls: out ---------------------------------------------------------------

# fits says whether the broker takes such a body; a request that exceeds a limit fails.
cdef bint fits(client_state_t *a, uint32_t r, const broker_limits_t *limits) noexcept nogil:
    cdef char why[SENTENCE]
    if limits_excess(limits, &a.requests.all[r].body, why, SENTENCE) == 0:
        return True
    fail(a, r, CODE_INVALID_ARGUMENT, why)
    return False


# write packs a request, with the time that is left of its timeout; returns what it costs in bytes.
cdef int64_t write(
    outbox_t *out, const client_request_t *request, uint8_t flags, int64_t now
) noexcept nogil:
    cdef int64_t left_ms = 0
    if request.deadline != FAR:
        left_ms = (request.deadline - now + MS - 1) // MS
        if left_ms < 1:
            left_ms = 1
        elif left_ms > UINT32_MAX:
            left_ms = UINT32_MAX
    if request.moved:
        flags |= FLAG_MOVED
    outbox_request(
        out, request.id, flags, <uint32_t> left_ms, request.priority, request.key,
        stream_run(request), request.service.name, request.service.size, &request.body)
    stream_repeat(out, request)
    return <int64_t> request.body.bytes + RECORD_BYTES


# collect_again writes open requests that have to be sent again; returns what is left of `budget`.
cdef int64_t collect_again(
    client_state_t *a, outbox_t *out, int64_t now, int64_t budget
) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef uint32_t r
    while budget > 0 and q.again != NONE:
        r = q.again
        q.again = q.all[r].link.next
        if q.all[r].again and fits(a, r, &out.link.limits):
            q.all[r].again = 0
            budget -= write(out, &q.all[r], FLAG_RETRY, now)
    return budget


# is_eager says whether a request may be sent before WELCOME, and counts it against that budget.
cdef bint is_eager(client_state_t *a, const client_request_t *request) noexcept nogil:
    a.eager_bytes -= <int64_t> request.body.bytes + RECORD_BYTES
    return a.eager_bytes >= 0


# collect_fresh writes what was not sent yet, as far as the window goes; returns what is left.
cdef int64_t collect_fresh(
    client_state_t *a, outbox_t *out, int64_t now, int64_t budget
) noexcept nogil:
    cdef requests_t *q = &a.requests
    cdef uint32_t r
    while budget > 0:
        r = requests_next(q, out.link.limits.requests_max)
        if r == NONE or not (out.link.welcomed or is_eager(a, &q.all[r])):
            break
        if not fits(a, r, &out.link.limits):
            continue
        if request_send(q, r) < 0:
            fail(a, r, CODE_RESOURCE_EXHAUSTED, b"no memory for the request's id")
            continue
        budget -= write(out, &q.all[r], 0, now)
    return budget


# collect_bye writes BYE, once, and a HEARTBEAT, which is answered (by BYE 0: the session has
# ended). A socket closed with unread input resets its connection, and a reset may overtake what was
# sent: so the answer is waited for, except over inproc, where nothing is overtaken.
cdef void collect_bye(client_state_t *a, outbox_t *out) noexcept nogil:
    if not a.said_bye:
        a.said_bye = out.link.leaving = 1
        outbox_bye(out, BYE_GOING)
        outbox_simple(out, KIND_HEARTBEAT, 0)


# client_collect writes HELLO, CANCELs, requests again, new requests: what this turn sends.
cdef void client_collect(engine_t *e, int64_t now) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    cdef outbox_t *out = &e.outbox
    cdef int64_t budget = TURN_BYTES
    cdef uint64_t id
    a.more = 0
    if a.leave_by != FAR:
        collect_bye(a, out)
        return
    if unlikely(link_wants_home(&e.link)) and (a.requests.open == 0 or a.rerouted):
        outbox_bye(out, BYE_GOING)
        a.parted = 1
        return
    if link_greets(&e.link, now):
        a.eager_bytes = a.eager_bytes_max
        outbox_hello(out, 0, &a.label)
    id = cancels_next(&a.cancels)
    while id:
        outbox_simple(out, KIND_CANCEL, id)
        id = cancels_next(&a.cancels)
    if not link_resting(&e.link, now):
        if out.link.welcomed:
            budget = collect_again(a, out, now, budget)
            streams_collect(&a.requests, out)
        budget = collect_fresh(a, out, now, budget)
        a.more = budget <= 0
    deliver_all(a)


cdef int client_pending(engine_t *e) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    return a.leave_by == FAR and (a.more or a.cancels.sent < a.cancels.tail)


cdef uint64_t client_done(engine_t *e) noexcept nogil:
    return requests_done(&(<client_state_t *> e.rules.state).requests)


# --- the engine's calls: in ----------------------------------------------------------------

# take_reply ends a request with its answer.
cdef void take_reply(
    client_state_t *a, uint32_t r, const record_t *record, zmq_msg_t *frames
) noexcept nogil:
    cdef stream_state_t *stream = a.requests.all[r].stream
    cdef mailbox_t *box = a.requests.all[r].box
    cdef mail_t *mail = end(a, r)
    if body_read(&mail.body, record, frames) < 0:
        fail_mail(a, box, mail, CODE_RESOURCE_EXHAUSTED, b"no memory for the answer")
        return
    mail.kind = MAIL_REPLY
    if stream != NULL:
        mail.attempt = stream.attempt
        mail.sequence = stream.expected
    deliver(a, box, mail)


# put_off has the request asked again later, each time a little later: the broker does not take it
# now; if it is `busy`, it takes no others of the service either.
cdef void put_off(
    engine_t *e, client_state_t *a, uint32_t r, uint32_t retry_after_ms, bint busy, int64_t now
) noexcept nogil:
    cdef client_request_t *request = &a.requests.all[r]
    cdef uint32_t doublings = request.busy if request.busy < BUSY_DOUBLINGS else BUSY_DOUBLINGS
    cdef int64_t backoff = <int64_t> BUSY_FIRST_NS << doublings
    cdef int64_t wanted = <int64_t> min(retry_after_ms, <uint32_t> RETRY_MAX_MS) * MS
    if backoff > BUSY_MAX_NS:
        backoff = BUSY_MAX_NS
    request_move(&a.requests, r, BUSY)
    request.busy += 1
    request.busy_until = now + link_jitter(&e.link, wanted if wanted > backoff else backoff)
    if busy and not is_own(request.service):
        request_refused(&a.requests, r)
    if request_arm(&a.requests, r) < 0:
        fail(a, r, CODE_RESOURCE_EXHAUSTED, b"the broker is busy, and no memory to ask it again")


# note_refusal keeps the broker's words for any thread that asks what a request waits for.
cdef void note_refusal(engine_t *e, client_state_t *a, const record_t *record) noexcept nogil:
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


# reroute has a request asked again at the preferred broker: no worker is left here.
cdef void reroute(client_state_t *a, uint32_t r) noexcept nogil:
    request_move(&a.requests, r, RETURNED)
    request_arm(&a.requests, r)  # it has a timer, or needs none
    a.rerouted = 1


# take_error ends a request with the broker's error, or puts it off.
cdef void take_error(
    engine_t *e, client_state_t *a, uint32_t r, const record_t *record, zmq_msg_t *frames,
    int64_t now,
) noexcept nogil:
    cdef stream_state_t *stream = a.requests.all[r].stream
    cdef mailbox_t *box = a.requests.all[r].box
    cdef bint busy = record.code == CODE_RESOURCE_EXHAUSTED and a.waits
    # A worker's 14 gives its task back and never comes here: the broker itself is draining.
    cdef bint draining = record.code == CODE_UNAVAILABLE
    cdef bint alone = record.code == CODE_NOT_FOUND and link_wants_home(&e.link)
    # A stream whose partials this broker has sent was ended by it, and not refused.
    cdef bint again = stream == NULL or not (stream.started and stream.resumed)
    cdef mail_t *mail
    if (busy or draining) and again:
        note_refusal(e, a, record)
        put_off(e, a, r, record.retry_after_ms, busy, now)
        return
    if unlikely(alone) and again and not is_own(a.requests.all[r].service):
        reroute(a, r)
        return
    mail = end(a, r)
    mail.kind = MAIL_ERROR
    mail.code = record.code
    mail.retry_after_ms = record.retry_after_ms
    body_read(&mail.body, record, frames)  # without memory: an error without words
    deliver(a, box, mail)


# partial_order says whether a partial is the next one of its stream: 1; 0: it is passed over;
# -1: some before it are missing.
cdef int partial_order(client_request_t *request, const record_t *record) noexcept nogil:
    cdef stream_state_t *stream = request.stream
    if record.run < stream.run:
        return 0
    if record.run > stream.run:
        stream_begin(request, record.run, record.attempt)
    stream.resumed = 1
    if record.sequence < stream.expected:
        return 0
    return 1 if record.sequence == stream.expected else -1


# take_partial passes a partial on, in order; a gap ends the stream, and so does a reader too slow
# for a worker that knows no CREDIT.
cdef void take_partial(
    client_state_t *a, uint32_t r, const record_t *record, zmq_msg_t *frames
) noexcept nogil:
    cdef client_request_t *request = &a.requests.all[r]
    cdef stream_state_t *stream = request.stream
    cdef char why[SENTENCE]
    cdef mail_t *mail
    cdef int next
    if stream == NULL:
        stream_skip(&a.requests, r, record, frames)
        return
    next = partial_order(request, record)
    if next == 0:
        stream_again(&a.requests, r, record, frames)
    if next < 0:
        snprintf(
            why, SENTENCE, b"partials %u to %u of the stream were lost",
            <unsigned int> stream.expected, <unsigned int> record.sequence - 1)
        fail(a, r, CODE_DATA_LOSS, why)
    if next <= 0:
        return
    if stream_unread(stream) > a.stream_bytes_max:
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
    stream.put_bytes += partial_cost(mail.body.bytes, mail.body.parts)
    stream.expected += 1
    stream.started = 1
    mail.attempt = stream.attempt
    mail.sequence = record.sequence
    deliver(a, request.box, mail)


# client_take acts on what the broker says about one request.
cdef void client_take(
    engine_t *e, const record_t *record, zmq_msg_t *frames, int64_t now
) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
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


# client_heard lets the answers of the packet before go. Open requests need nothing: they are kept
# until they are answered.
cdef void client_heard(engine_t *e) noexcept nogil:
    deliver_all(<client_state_t *> e.rules.state)


# client_welcomed sends every open request again: the broker may not have them, or not this route.
cdef void client_welcomed(engine_t *e, int64_t now) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    a.rerouted = 0
    requests_again(&a.requests)
    cancels_again(&a.cancels)


# client_epoch_changed notes that the requests that were sent may run for another broker still.
cdef void client_epoch_changed(engine_t *e, int64_t now) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    cdef uint32_t r = a.requests.places[OPEN].head
    requests_unpaced(&a.requests)
    while r != NONE:
        a.requests.all[r].moved = 1
        if a.requests.all[r].stream != NULL:
            a.requests.all[r].stream.resumed = 0
        r = a.requests.all[r].link.next


# --- the engine's calls: time --------------------------------------------------------------

# expire ends a request whose deadline has passed.
cdef void expire(client_state_t *a, engine_t *e, uint32_t r, int64_t now) noexcept nogil:
    cdef char why[SENTENCE]
    cdef char what[SENTENCE - 64]
    waits_for(what, sizeof(what), e, &a.requests.all[r], now)
    snprintf(
        why, SENTENCE, b"no answer within %g s: %s",
        <double> a.requests.all[r].timeout / NS, what)
    fail(a, r, CODE_DEADLINE_EXCEEDED, why)


# go_home turns to the preferred broker, behind a BYE to this one.
cdef void go_home(engine_t *e, client_state_t *a, int64_t now) noexcept nogil:
    a.parted = a.rerouted = 0
    if e.link.welcomed:
        link_go_home(&e.link, now)


# client_tick ends what is past its deadline, and all if no broker lets us in, brings refused
# requests back and logs long waits.
cdef void client_tick(engine_t *e, int64_t now) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    cdef requests_t *q = &a.requests
    cdef uint32_t r
    if unlikely(a.parted):
        go_home(e, a, now)
    if unlikely(e.link.door.barred):
        fail_all(a, engine_denied(e), e.socket.denial)
    r = requests_due(q, now)
    while r != NONE:
        if now >= request_expires(&q.all[r]):
            expire(a, e, r, now)
        else:
            if q.all[r].place == BUSY and now >= q.all[r].busy_until:
                request_move(q, r, OWN if is_own(q.all[r].service) else RETURNED)
            request_arm(q, r)
        r = requests_due(q, now)
    requests_paced(q, now, e.link.limits.requests_max)
    waits_log(a, e, now)
    deliver_all(a)


cdef int64_t client_next_due(engine_t *e) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    cdef const requests_t *q = &a.requests
    cdef int64_t due = 0 if a.parted else min(a.leave_by, q.paced_until)
    if q.timers.count and q.timers.nodes[0].key < due:
        due = q.timers.nodes[0].key
    if a.long_at < due:
        due = a.long_at
    if q.silent.head != NONE and q.all[q.silent.head].since + a.log_after < due:
        due = q.all[q.silent.head].since + a.log_after
    return due


cdef int64_t client_next_beat(engine_t *e) noexcept nogil:
    return link_next_beat(&e.link)


# client_finished says whether BYE has arrived, or has nowhere to go.
cdef int client_finished(engine_t *e, int64_t now) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    if a.leave_by == FAR:
        return 0
    if a.said_bye and e.link.is_inproc and outbox_flushed(&e.outbox):
        return 1
    return a.heard_bye or not e.link.up or now >= a.leave_by


# client_closed fails whatever is open.
cdef void client_closed(engine_t *e, const char *why) noexcept nogil:
    cdef client_state_t *a = <client_state_t *> e.rules.state
    fail_all(a, 0, why)
    deliver_all(a)


# --- begin and end -------------------------------------------------------------------------

cdef void client_init(client_state_t *a, rules_t *rules) noexcept nogil:
    memset(a, 0, sizeof(client_state_t))
    requests_init(&a.requests)
    a.leave_by = a.long_at = FAR
    memset(rules, 0, sizeof(rules_t))
    rules.state = a
    rules.collect = client_collect
    rules.pending = client_pending
    rules.take = client_take
    rules.heard = client_heard
    rules.welcomed = client_welcomed
    rules.epoch_changed = client_epoch_changed
    rules.next_beat = client_next_beat
    rules.tick = client_tick
    rules.next_due = client_next_due
    rules.done = client_done
    rules.finished = client_finished
    rules.closed = client_closed


cdef void client_free(client_state_t *a) noexcept nogil:
    requests_free(&a.requests)
    cancels_free(&a.cancels)
    body_clear(&a.label)


cdef uint64_t client_live() noexcept nogil:
    return load_relaxed(&live_requests)
