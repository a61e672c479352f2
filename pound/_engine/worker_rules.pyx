"""A worker's rules: its tasks from TASK to the answer (worker_rules.pxd has the invariants)."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset, strlen

from pound._base.check cimport CHECK
from pound._wire.codes cimport CODE_NOT_FOUND, CODE_RESOURCE_EXHAUSTED, CODE_UNAVAILABLE
from pound._wire.packets cimport (
    BYE_AGREED, BYE_GOING, FEATURE_ADOPTION, KEY_SIZE, KIND_ACCEPTED, KIND_BYE, KIND_CANCEL,
    KIND_CREDIT, KIND_ERROR, KIND_PARTIAL, KIND_REPLY, KIND_TASK, part_next, part_t, record_t)
from pound._zmq.libzmq cimport zmq_msg_t
from .engine cimport engine_command_t, engine_log, engine_post, engine_t, rules_t
from .adoption cimport (
    kept_abandon, kept_adopted, kept_cancelled, kept_credit, kept_drop, kept_epoch, kept_given,
    kept_heard, kept_holds, kept_lost, kept_turn, outdate)
from .handoff cimport (
    handoff_abandon, handoff_close, handoff_exchange, handoff_free, handoff_init, handoff_next_due,
    handoff_take_all, handoff_take_cancelled)
from .link cimport (
    FAR, link_forgotten, link_go_home, link_greet_again, link_greets, link_jitter, link_next_beat,
    link_wants_home)
from .mailbox cimport (
    LOG_EPOCH_CHANGED, LOG_GIVEN_BACK, LOG_UNDELIVERED, body_clear, body_read, body_text)
from .outbox cimport (
    outbox_bye, outbox_error, outbox_flushed, outbox_partial, outbox_ready, outbox_reply, outbox_t)
from .partials cimport room_give, room_take, take_credit
from .task cimport (
    TASK_GONE, TASK_RUNNING, TASK_STALE, answer_free, answer_new, answer_size, answer_t,
    answers_drop, answers_pop, answers_put, answers_t, held_drop, held_remove, held_task_t,
    task_drop, task_keep, task_new, task_queue_t, tasks_append)
from .worker_state cimport held_find, running_add, running_remove, worker_state_t

cdef enum:
    MILLISECOND = 1000000            # ns
    GREETING_EVERY_MS = 1000         # between two BYEs until the broker agrees
    SENT_BYTES_MAX = 16 << 20        # of answers kept until a packet of the broker follows them
    SENT_MAX = 4096
    TURN_BYTES = 4 << 20             # packed in one turn at most, so that tasks are read in between
    BUCKETS_MIN = 1024           # beside the tasks that run, answers wait for a broker

cdef const char *LEAVES = b"the worker goes away"

cdef struct leave_t:
    engine_command_t command
    int64_t drain_by

cdef inline worker_state_t *state_of(engine_t *e) noexcept nogil:
    return <worker_state_t *>e.rules.state


# after adds to a time that may be FAR.
cdef inline int64_t after(int64_t at, int64_t ns) noexcept nogil:
    return FAR if at > FAR - ns else at + ns


cdef inline bint leaving(const worker_state_t *w) noexcept nogil:
    return w.drain.until < FAR


# parts says that the worker takes no more tasks from this broker.
cdef inline bint parts(const worker_state_t *w) noexcept nogil:
    return leaving(w) or w.drain.homeward


# --- tasks without a broker -----------------------------------------------------------------

# running_outdate makes all running tasks stale.
cdef void running_outdate(worker_state_t *w) noexcept nogil:
    cdef held_task_t *task
    while w.running.oldest != NULL:
        task = w.running.oldest
        outdate(w, task)


# --- answers -------------------------------------------------------------------------------

# refuse answers a task, or what was never one (`task` NULL), in the handler's place.
cdef void refuse(
    worker_state_t *w, held_task_t *task, uint64_t token, uint16_t code, const char *text
) noexcept nogil:
    cdef answer_t *a = answer_new(KIND_ERROR, task, token)
    a.code = code
    CHECK(body_text(&a.body, text, <uint32_t>strlen(text)) == 0, "no memory for an answer")
    answers_put(&w.unsent, a)


# --- the engine: what was given ------------------------------------------------------------

# settle queues what a handler gave, unless its task is not held any more.
cdef void settle(worker_state_t *w, answer_t *a) noexcept nogil:
    cdef held_task_t *task = a.task
    if task.place == TASK_RUNNING and task.unadopted and kept_given(w, a):
        return
    if task.place == TASK_RUNNING:
        if a.kind != KIND_PARTIAL:
            running_remove(w, task)
            task_drop(task)
        answers_put(&w.unsent, a)
        return
    room_give(&w.handoff, a)
    if a.kind != KIND_PARTIAL:
        if task.place == TASK_STALE:
            held_remove(&w.stale, task)
            task.place = TASK_GONE
            task_drop(task)
        w.ready_again = 1
    answer_free(a)


# --- the engine: out -----------------------------------------------------------------------

cdef void collect(engine_t *e, int64_t now) noexcept nogil:
    """Write answers, then READY, then BYE: what this turn sends."""
    cdef worker_state_t *w = state_of(e)
    cdef bint answers = False, last, greets
    if e.link.welcomed and not w.handoff.gathers:
        answers = write_answers(&e.outbox, w, now)
    last = parts(w) and answers and not holds_any(w) and w.unsent.count == 0
    greets = link_greets(&e.link, now)
    if greets:
        kept_holds(&e.outbox, w)
        write_ready(&e.outbox, w)
    w.drain.bye_due |= last or (greets and parts(w))
    if w.drain.bye_due:
        w.drain.bye_due = w.drain.agreed = 0
        w.drain.byes += 1
        e.link.leaving = leaving(w)
        next_bye(e, w, now)
        outbox_bye(&e.outbox, BYE_GOING)


# write_answers writes a turn's worth of answers; whether there were any.
cdef bint write_answers(outbox_t *out, worker_state_t *w, int64_t now) noexcept nogil:
    cdef int64_t budget = TURN_BYTES
    cdef answer_t *a
    if w.unsent.count == 0:
        return False
    w.handoff.gathers_from = now
    while w.unsent.first != NULL and budget > 0:
        a = answers_pop(&w.unsent)
        budget -= <int64_t>answer_size(a)
        write_answer(out, a)
        room_give(&w.handoff, a)
        answers_put(&w.sent, a)
    while w.sent.bytes > SENT_BYTES_MAX or w.sent.count > SENT_MAX:
        kept_lost(answers_pop(&w.sent))
    return True


cdef void write_answer(outbox_t *out, const answer_t *a) noexcept nogil:
    if a.kind == KIND_REPLY:
        outbox_reply(out, a.token, &a.body)
    elif a.kind == KIND_ERROR:
        outbox_error(out, a.token, a.code, a.retry_after_ms, &a.body)
    else:
        outbox_partial(out, a.token, a.sequence, a.attempt, &a.body)


cdef void write_ready(outbox_t *out, worker_state_t *w) noexcept nogil:
    """write_ready names the tasks that run or whose answer may not have arrived, but for those
    that HOLDS names."""
    cdef size_t room = w.running.count + w.unsent.count + w.sent.count
    cdef uint64_t *tokens = <uint64_t *>malloc((room + 1) * sizeof(uint64_t))
    cdef uint32_t listed = 0
    cdef held_task_t *task = w.running.oldest
    CHECK(tokens != NULL, "no memory for READY")
    w.ready_serial += 1
    while task != NULL:
        if not task.unadopted:
            task.listed = w.ready_serial
            CHECK(listed < room, "more than %zu tasks run", room)
            tokens[listed] = task.token
            listed += 1
        task = task.newer
    listed = list_answers(w, &w.unsent, tokens, listed, room)
    if not out.link.welcomed:
        listed = list_answers(w, &w.sent, tokens, listed, room)
    outbox_ready(
        out, w.capacity - min(w.stale.count, w.capacity - 1), FEATURE_ADOPTION, out.link.epoch,
        tokens, listed, &w.names,
    )
    free(tokens)


# list_answers adds the tokens of answers that are not listed yet, to `room` of them at most, and
# returns how many are.
cdef uint32_t list_answers(
    const worker_state_t *w, const answers_t *answers, uint64_t *tokens, uint32_t listed,
    size_t room,
) noexcept nogil:
    cdef const answer_t *a = answers.first
    while a != NULL:
        if a.task == NULL or a.task.listed != w.ready_serial:
            CHECK(listed < room, "more than %zu tasks and answers", room)
            tokens[listed] = a.token
            listed += 1
        if a.task != NULL:
            a.task.listed = w.ready_serial
        a = a.next
    return listed


cdef int pending(engine_t *e) noexcept nogil:
    """Return whether the last turn left answers; before WELCOME they have to wait."""
    cdef worker_state_t *w = state_of(e)
    return e.link.welcomed and w.unsent.count > 0 and not w.handoff.gathers


cdef uint64_t done(engine_t *e) noexcept nogil:
    return 0  # the field belongs to clients


# --- the engine: in ------------------------------------------------------------------------

cdef void take(
    engine_t *e, const record_t *record, zmq_msg_t *frames, int64_t now
) noexcept nogil:
    """Act on TASK, ACCEPTED, CANCEL, CREDIT and the broker's consent to our BYE."""
    cdef worker_state_t *w = state_of(e)
    cdef held_task_t *task
    if record.kind == KIND_TASK:
        take_task(w, record, frames, now)
    elif record.kind == KIND_ACCEPTED:
        kept_adopted(w, record.id)
    elif record.kind == KIND_CANCEL:
        task = held_find(w, record.id)
        if task != NULL and not kept_cancelled(w, task):
            handoff_abandon(&w.handoff, task)
    elif record.kind == KIND_CREDIT:
        task = held_find(w, record.id)
        if task != NULL and not task.unadopted:
            take_credit(&w.handoff, task, record.credit)
            kept_credit(task, record.sequence)
    elif record.kind == KIND_BYE and record.code == BYE_AGREED:
        if not parts(w) and w.drain.byes == 0:
            link_forgotten(&e.link, now, b"bye")
            return
        w.drain.byes -= w.drain.byes > 0
        w.drain.agreed = w.drain.byes == 0
        if w.drain.agreed and not leaving(w):
            w.drain.bye_at = FAR


cdef void take_task(
    worker_state_t *w, const record_t *record, zmq_msg_t *frames, int64_t now
) noexcept nogil:
    cdef int service = service_find(w, record)
    cdef held_task_t *task
    if held_find(w, record.id) != NULL:
        return
    if w.drain.gave_back:
        refuse(w, NULL, record.id, CODE_UNAVAILABLE, LEAVES)
        return
    if service < 0:
        refuse(w, NULL, record.id, CODE_NOT_FOUND, b"the worker has no handler for that service")
        return
    task = task_new()
    CHECK(task != NULL, "no memory for a task")
    if body_read(&task.body, record, frames) < 0:
        task_drop(task)
        refuse(w, NULL, record.id, CODE_RESOURCE_EXHAUSTED, b"the worker has no memory for it")
        return
    task.token = record.id
    memcpy(task.key, record.key, KEY_SIZE)
    task.attempt = record.attempt
    task.service = <uint16_t>service
    if record.timeout_ms:
        task.deadline = now + <int64_t>record.timeout_ms * MILLISECOND
    begin(w, task)


# begin holds a new task, for `running` and for its handler.
cdef void begin(worker_state_t *w, held_task_t *task) noexcept nogil:
    cdef task_queue_t one
    task_keep(task)
    running_add(w, task)
    one.first = one.last = task
    one.count = 1
    tasks_append(&w.fresh, &one)


# service_find returns the place of the task's service among ours; -1: it is none of them.
cdef int service_find(const worker_state_t *w, const record_t *record) noexcept nogil:
    cdef const uint8_t *at = w.services.data
    cdef part_t name
    cdef int place = 0
    while part_next(&at, w.services.data + w.services.size, &name):
        if name.size == record.service_size and (
                name.size == 0 or memcmp(name.data, record.service, name.size) == 0):
            return place
        place += 1
    return -1


cdef void heard(engine_t *e) noexcept nogil:
    """Let go of the answers sent: the connection stood after them, unless libzmq refused them."""
    cdef worker_state_t *w = state_of(e)
    if outbox_flushed(&e.outbox):
        kept_heard(w)


cdef void welcomed(engine_t *e, int64_t now) noexcept nogil:
    """Send the answers again that may not have arrived, then READY."""
    cdef worker_state_t *w = state_of(e)
    cdef answers_t again = w.sent
    cdef answer_t *a = again.first
    w.limits = e.link.limits
    if not w.limits.features & FEATURE_ADOPTION:
        kept_abandon(w)
    w.drain.byes = 0  # those of an earlier route
    while a != NULL:
        room_take(&w.handoff, a)
        a = a.next
    memset(&w.sent, 0, sizeof(answers_t))
    while w.unsent.first != NULL:
        answers_put(&again, answers_pop(&w.unsent))
    w.unsent = again
    link_greet_again(&e.link, now)


cdef void epoch_changed(engine_t *e, int64_t now) noexcept nogil:
    """Keep the tasks of the epoch that is over, and the answers that it may not have delivered."""
    cdef worker_state_t *w = state_of(e)
    cdef uint32_t running = w.running.count
    cdef uint32_t kept = kept_epoch(w)
    if running:
        engine_log(e, LOG_EPOCH_CHANGED, kept, running - kept, NULL, 0)


# --- the engine: time ----------------------------------------------------------------------

cdef void leave(engine_t *e, engine_command_t *command) noexcept nogil:
    """Take no more tasks, finish the held ones until `drain_by`, then finish."""
    cdef worker_state_t *w = state_of(e)
    cdef leave_t *asked = <leave_t *>command
    if not leaving(w):
        w.drain.bye_at = 0
    w.drain.until = min(w.drain.until, asked.drain_by)
    free(asked)


cdef int worker_leave(worker_state_t *w, int64_t drain_by) noexcept nogil:
    cdef leave_t *asked = <leave_t *>calloc(1, sizeof(leave_t))
    if asked == NULL:
        return -1
    asked.command.run = leave
    asked.drain_by = min(drain_by, FAR - 1)
    if engine_post(w.handoff.engine, &asked.command) < 0:
        free(asked)
        return -1
    return 0


cdef void tick(engine_t *e, int64_t now) noexcept nogil:
    """Send READY's new values; while leaving say BYE, and give back what is late."""
    cdef worker_state_t *w = state_of(e)
    cdef answers_t given = handoff_exchange(&w.handoff, &w.fresh, now)
    while given.first != NULL:
        settle(w, answers_pop(&given))
    go_home(e, w, now)
    if w.ready_again and e.link.welcomed and not parts(w):
        link_greet_again(&e.link, now)
    w.ready_again = 0
    kept_turn(w, now)
    if now >= w.drain.bye_at:
        w.drain.bye_due = 1
        next_bye(e, w, now)
    if now >= w.drain.until and not w.drain.gave_back:
        give_back(e, w)
    w.drain.idle_since = min(w.drain.idle_since, now) if leaving(w) and not owes(w) else FAR


cdef void next_bye(engine_t *e, worker_state_t *w, int64_t now) noexcept nogil:
    w.drain.bye_at = now + link_jitter(&e.link, <int64_t>GREETING_EVERY_MS * MILLISECOND)


# go_home has a worker part from a broker that is not the preferred one, and go there when it owes
# nothing. If that one is not there any more, READY makes it this broker's worker again.
cdef void go_home(engine_t *e, worker_state_t *w, int64_t now) noexcept nogil:
    cdef bint wants = link_wants_home(&e.link)
    if leaving(w):
        return
    if wants and w.drain.homeward and w.drain.agreed and not owes(w):
        link_go_home(&e.link, now)
        wants = 0
    if wants != w.drain.homeward:
        w.drain.homeward = wants
        w.drain.bye_at = now if wants else FAR
        w.drain.bye_due = w.drain.agreed = 0
        w.ready_again |= not wants


cdef void give_back(engine_t *e, worker_state_t *w) noexcept nogil:
    cdef held_task_t *task = w.running.oldest
    w.drain.gave_back = 1
    w.drain.given_back = w.running.count
    while task != NULL:
        refuse(w, task, task.token, CODE_UNAVAILABLE, LEAVES)
        task = task.newer
    if w.drain.given_back:
        engine_log(e, LOG_GIVEN_BACK, w.drain.given_back, 0, NULL, 0)
    running_outdate(w)


# holds_any says that a handler runs, or that an answer waits that no broker has had.
cdef inline bint holds_any(const worker_state_t *w) noexcept nogil:
    return w.running.count > 0 or w.kept.owed > 0


# owes says that a task is not answered yet, or no packet has followed its answer.
cdef inline bint owes(const worker_state_t *w) noexcept nogil:
    return holds_any(w) or w.unsent.count > 0 or w.sent.count > 0


# last_words is when a worker that leaves ends, whatever is still to be sent.
cdef inline int64_t last_words(const worker_state_t *w) noexcept nogil:
    return after(w.drain.until, <int64_t>LAST_WORDS_MS * MILLISECOND)


cdef inline int64_t agreed_by(const worker_state_t *w) noexcept nogil:
    return after(w.drain.idle_since, <int64_t>AGREE_WITHIN_MS * MILLISECOND)


cdef int64_t next_due(engine_t *e) noexcept nogil:
    """Return the time of the next step of leaving, or of the next packet of answers."""
    cdef worker_state_t *w = state_of(e)
    cdef int64_t due = handoff_next_due(&w.handoff)
    due = min(due, w.drain.bye_at)
    if leaving(w):
        due = min(due, last_words(w) if w.drain.gave_back else w.drain.until)
        due = min(due, agreed_by(w))
    return due


cdef int64_t next_beat(engine_t *e) noexcept nogil:
    return link_next_beat(&e.link)


cdef int finished(engine_t *e, int64_t now) noexcept nogil:
    """Return whether the worker may close: all answered and BYE agreed, or no time left."""
    cdef worker_state_t *w = state_of(e)
    if not leaving(w):
        return 0
    if owes(w) or not outbox_flushed(&e.outbox):
        return now >= last_words(w)
    if w.drain.agreed or not e.link.welcomed:
        return 1
    return now >= agreed_by(w) or (w.drain.gave_back and now >= last_words(w))


cdef void closed(engine_t *e, const char *why) noexcept nogil:
    """Wake the handlers that wait; nobody hears them any more."""
    cdef worker_state_t *w = state_of(e)
    cdef answers_t given
    if leaving(w) and w.unsent.count + w.kept.owed:
        w.drain.undelivered = w.unsent.count + w.kept.owed
        engine_log(e, LOG_UNDELIVERED, w.drain.undelivered, 0, NULL, 0)
    running_outdate(w)
    given = handoff_close(&w.handoff, &w.fresh)
    answers_drop(&given)
    drop_all(w)


# drop_all gives back what the engine holds; tasks that handlers hold live on until they return.
cdef void drop_all(worker_state_t *w) noexcept nogil:
    cdef held_task_t *task = handoff_take_all(&w.handoff)
    cdef held_task_t *following
    while task != NULL:
        following = task.next
        task_drop(task)
        task = following
    answers_drop(&w.unsent)
    answers_drop(&w.sent)
    kept_drop(w)
    held_drop(&w.stale)


# --- making and ending ---------------------------------------------------------------------

cdef int worker_init(worker_state_t *w, engine_t *engine, uint32_t capacity, int fd) noexcept nogil:
    cdef uint32_t buckets = BUCKETS_MIN
    memset(w, 0, sizeof(worker_state_t))
    while buckets < capacity:
        buckets *= 2
    w.buckets = <held_task_t **>calloc(buckets, sizeof(held_task_t *))
    if w.buckets == NULL:
        return -1
    handoff_init(&w.handoff, engine, capacity, fd)
    w.mask = buckets - 1
    w.capacity = capacity
    w.drain.until = w.drain.bye_at = w.drain.idle_since = FAR
    w.limits = engine.link.limits
    rules_fill(w, &engine.rules)
    return 0


cdef void rules_fill(worker_state_t *w, rules_t *rules) noexcept nogil:
    rules.state = w
    rules.collect = collect
    rules.pending = pending
    rules.take = take
    rules.heard = heard
    rules.welcomed = welcomed
    rules.epoch_changed = epoch_changed
    rules.next_beat = next_beat
    rules.tick = tick
    rules.next_due = next_due
    rules.done = done
    rules.finished = finished
    rules.closed = closed


cdef void worker_free(worker_state_t *w) noexcept nogil:
    cdef held_task_t *task
    cdef held_task_t *following
    if w.buckets == NULL:
        return
    answers_drop(&w.handoff.given)
    running_outdate(w)
    task = handoff_take_cancelled(&w.handoff)
    while task != NULL:
        following = task.next_notified
        task_drop(task)
        task = following
    drop_all(w)
    body_clear(&w.names)
    body_clear(&w.services)
    free(w.buckets)
    handoff_free(&w.handoff)
