"""The tasks that a worker holds: what the engine does with them, and what handlers' threads ask."""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memset, strlen

from pound._base.check cimport CHECK
from pound._base.table cimport mix
from pound._wire.writer cimport (
    BYE_AGREED, BYE_GOING, CODE_NOT_FOUND, CODE_RESOURCE_EXHAUSTED, CODE_UNAVAILABLE, KIND_BYE,
    KIND_CANCEL, KIND_CREDIT, KIND_ERROR, KIND_PARTIAL, KIND_REPLY, KIND_TASK, part_next, part_t,
    record_t)
from pound._zmq.libzmq cimport zmq_msg_t
from .engine cimport FAR, engine_log, engine_post
from .link cimport (
    dealer_bye, dealer_error, dealer_flushed, dealer_forgotten, dealer_greet_again, dealer_greets,
    dealer_partial, dealer_ready, dealer_reply, dealer_t, jitter)
from .mailbox cimport (
    LOG_EPOCH_CHANGED, LOG_GIVEN_BACK, LOG_UNDELIVERED, body_clear, body_read, body_text)
from .partials cimport room_give, room_init, room_take, take_credit
from .task cimport (
    TASK_GONE, TASK_RUNNING, TASK_STALE, answer_free, answer_new, answer_size, answer_t,
    answers_drop, answers_pop, answers_put, held_add, held_drop, held_remove, task_drop, task_keep,
    task_new)

cdef extern from "pthread.h" nogil:
    int pthread_mutex_init(pthread_mutex_t *lock, void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *lock)
    int pthread_mutex_lock(pthread_mutex_t *lock)
    int pthread_mutex_unlock(pthread_mutex_t *lock)
    int pthread_cond_init(pthread_cond_t *condition, void *attributes)
    int pthread_cond_destroy(pthread_cond_t *condition)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
    int pthread_cond_signal(pthread_cond_t *condition)
    int pthread_cond_broadcast(pthread_cond_t *condition)

cdef enum:
    MILLISECOND = 1000000            # ns
    GATHER_NS = 100000               # for answers to share a packet, while tasks wait for handlers
    SHORT_NS = 20000                 # of a handler: not worth another thread's way
    STALL_NS = 200000                # without a task taken, and it is
    HANDLER_NS_MAX = 1000000         # as far as the mean is concerned
    GREETING_EVERY_MS = 1000         # between two BYEs until the broker agrees
    SENT_BYTES_MAX = 16 << 20        # of answers kept until a sign of life follows them
    SENT_MAX = 4096
    TURN_BYTES = 4 << 20             # packed in one turn at most, so that tasks are read in between
    BUCKETS_MIN = 16

cdef const char *LEAVES = b"the worker goes away"

cdef struct leave_t:
    command_t command
    int64_t drain_by

cdef inline tasks_t *tasks_of(engine_t *e) noexcept nogil:
    return <tasks_t *>e.end.state


# after adds to a time that may be FAR.
cdef inline int64_t after(int64_t at, int64_t ns) noexcept nogil:
    return FAR if at > FAR - ns else at + ns


cdef inline bint leaving(const tasks_t *t) noexcept nogil:
    return t.drain_by < FAR


# --- tasks by their token ------------------------------------------------------------------

cdef inline task_t **bucket(tasks_t *t, uint64_t token) noexcept nogil:
    return &t.buckets[<uint32_t>mix(token) & t.mask]


cdef task_t *running_find(tasks_t *t, uint64_t token) noexcept nogil:
    cdef task_t *task = bucket(t, token)[0]
    while task != NULL and task.token != token:
        task = task.chain
    return task


cdef void running_add(tasks_t *t, task_t *task) noexcept nogil:
    cdef task_t **first = bucket(t, task.token)
    task.chain = first[0]
    first[0] = task
    task.place = TASK_RUNNING
    held_add(&t.running, task)


# running_remove leaves the reference of `running` to the caller.
cdef void running_remove(tasks_t *t, task_t *task) noexcept nogil:
    cdef task_t **at = bucket(t, task.token)
    while at[0] != task:
        at = &at[0].chain
    at[0] = task.chain
    task.place = TASK_GONE
    held_remove(&t.running, task)


# running_outdate makes all running tasks stale.
cdef void running_outdate(tasks_t *t) noexcept nogil:
    cdef task_t *task
    while t.running.oldest != NULL:
        task = t.running.oldest
        running_remove(t, task)
        abandon(t, task)
        task.place = TASK_STALE
        held_add(&t.stale, task)


# --- answers -------------------------------------------------------------------------------

# refuse answers a task, or what was never one (`task` NULL), in the handler's place.
cdef void refuse(
    tasks_t *t, task_t *task, uint64_t token, uint16_t code, const char *text
) noexcept nogil:
    cdef answer_t *a = answer_new(KIND_ERROR, task, token)
    a.code = code
    CHECK(body_text(&a.body, text, <uint32_t>strlen(text)) == 0, "no memory for an answer")
    answers_put(&t.unsent, a)


# --- from handlers -------------------------------------------------------------------------

# grant wakes a thread unless one is on its way; under the lock.
cdef inline void grant(tasks_t *t) noexcept nogil:
    if t.queued and t.idle and not t.coming:
        t.granted = t.coming = 1
        pthread_cond_signal(&t.work)


cdef task_t *pop(tasks_t *t) noexcept nogil:
    cdef task_t *task = t.first
    if task != NULL:
        t.first = task.next
        if t.first == NULL:
            t.last = NULL
        task.taken = 1
        t.queued -= 1
        t.takes += 1
    return task


cdef task_t *tasks_take(tasks_t *t, bint woken, int64_t took, bint *alone) noexcept nogil:
    cdef task_t *task
    pthread_mutex_lock(&t.lock)
    if woken:
        t.coming = 0
    if took >= 0:
        t.handler_ns += (min(took, HANDLER_NS_MAX) - t.handler_ns) // 8
        t.busy -= 1
    task = pop(t)
    t.busy += task != NULL
    if t.handler_ns > SHORT_NS:
        grant(t)
    alone[0] = task != NULL and t.busy == t.threads and t.threads < t.threads_max
    if alone[0]:
        t.threads += 1
    pthread_mutex_unlock(&t.lock)
    return task


cdef int tasks_wait(tasks_t *t) noexcept nogil:
    cdef int woken = 0
    pthread_mutex_lock(&t.lock)
    if t.queued == 0:
        t.idle += 1
        while not (t.granted or t.over):
            pthread_cond_wait(&t.work, &t.lock)
        t.idle -= 1
        woken = -1 if t.over else 1
        t.granted = 0
    pthread_mutex_unlock(&t.lock)
    return woken


cdef void tasks_thread_lost(tasks_t *t) noexcept nogil:
    pthread_mutex_lock(&t.lock)
    t.threads -= 1
    pthread_mutex_unlock(&t.lock)


cdef task_t *tasks_take_all(tasks_t *t) noexcept nogil:
    cdef task_t *first
    cdef task_t *task
    pthread_mutex_lock(&t.lock)
    t.rung = 0
    first = task = t.first
    while task != NULL:
        task.taken = 1
        task = task.next
    t.first = t.last = NULL
    t.queued = 0
    pthread_mutex_unlock(&t.lock)
    return first


cdef task_t *tasks_take_cancelled(tasks_t *t) noexcept nogil:
    cdef task_t *first
    pthread_mutex_lock(&t.lock)
    t.rung = 0
    first = t.cancelled
    t.cancelled = NULL
    if t.queued and rings(t):
        ring(t)
    pthread_mutex_unlock(&t.lock)
    return first


cdef void tasks_answer(tasks_t *t, task_t *task) noexcept nogil:
    cdef bint late, tell = False
    task.answer.task = task
    task.answer.token = task.token
    pthread_mutex_lock(&t.lock)
    late = t.over
    task.answered = 1
    if not late:
        answers_put(&t.given, &task.answer)
        tell = notices(t)
    pthread_mutex_unlock(&t.lock)
    if late:
        answer_free(&task.answer)
    elif tell:
        engine_post(t.engine, &t.notice)  # refused: `closed` drops what was given


# --- the engine: what was given ------------------------------------------------------------

cdef void noticed(engine_t *e, command_t *command) noexcept nogil:
    cdef tasks_t *t = tasks_of(e)
    pthread_mutex_lock(&t.lock)
    t.noticed = 0  # the turn goes on to `tick`, which looks
    pthread_mutex_unlock(&t.lock)


# exchange gives this turn's tasks to the handlers, and takes what they gave.
cdef void exchange(tasks_t *t, int64_t now) noexcept nogil:
    cdef answers_t given
    cdef bint tell
    pthread_mutex_lock(&t.lock)
    given = t.given
    memset(&t.given, 0, sizeof(answers_t))
    tell = t.fresh_count > 0 and rings(t)
    if t.fresh_count > 1:
        t.gathers_from = now
    queue_fresh(t)
    if t.busy == 0 or t.handler_ns > SHORT_NS:
        grant(t)
    watch(t, now)
    t.gathers = loaded(t) and now < t.gathers_from + GATHER_NS
    pthread_mutex_unlock(&t.lock)
    if tell:
        ring(t)
    while given.first != NULL:
        settle(t, answers_pop(&given))


# watch wakes a thread when tasks wait and none was taken for a while; under the lock.
cdef void watch(tasks_t *t, int64_t now) noexcept nogil:
    if t.queued == 0 or t.idle == 0:
        t.stalls_at = FAR
    elif t.stalls_at == FAR or t.takes != t.takes_seen:
        t.stalls_at = now + STALL_NS
    elif now >= t.stalls_at:
        grant(t)
        t.stalls_at = now + STALL_NS
    t.takes_seen = t.takes


cdef void queue_fresh(tasks_t *t) noexcept nogil:
    if t.fresh_first == NULL:
        return
    if t.last != NULL:
        t.last.next = t.fresh_first
    else:
        t.first = t.fresh_first
    t.last = t.fresh_last
    t.queued += t.fresh_count
    t.fresh_first = t.fresh_last = NULL
    t.fresh_count = 0


# settle queues what a handler gave, unless its task is not held any more.
cdef void settle(tasks_t *t, answer_t *a) noexcept nogil:
    cdef task_t *task = a.task
    if task.place == TASK_RUNNING:
        if a.kind != KIND_PARTIAL:
            running_remove(t, task)
            task_drop(task)
        answers_put(&t.unsent, a)
        return
    room_give(t, a)
    if a.kind != KIND_PARTIAL:
        if task.place == TASK_STALE:
            held_remove(&t.stale, task)
            task.place = TASK_GONE
            task_drop(task)
        t.ready_again = 1
    answer_free(a)


cdef void abandon(tasks_t *t, task_t *task) noexcept nogil:
    """abandon tells a task that nobody waits for its answer."""
    cdef bint tell = False
    pthread_mutex_lock(&t.lock)
    task.cancelled = 1
    if t.waiting:
        pthread_cond_broadcast(&t.room)
    if t.fd >= 0 and task.taken and not task.answered and not task.told:
        task.told = 1
        task_keep(task)
        task.next_told = t.cancelled
        t.cancelled = task
        tell = rings(t)
    pthread_mutex_unlock(&t.lock)
    if tell:
        ring(t)


# --- the engine: out -----------------------------------------------------------------------

cdef void collect(engine_t *e, int64_t now) noexcept nogil:
    """Write answers, then READY, then BYE: what this turn sends."""
    cdef tasks_t *t = tasks_of(e)
    cdef bint answers = False, last, greets
    if e.dealer.welcomed and not t.gathers:
        answers = write_answers(&e.dealer, t, now)
    last = leaving(t) and answers and t.running.count == 0 and t.unsent.count == 0
    greets = dealer_greets(&e.dealer, now)
    if greets:
        write_ready(&e.dealer, t)
    t.bye_due |= last or (greets and leaving(t))
    if t.bye_due:
        t.bye_due = t.agreed = 0
        t.byes += 1
        e.dealer.leaving = 1
        dealer_bye(&e.dealer, BYE_GOING)


# write_answers writes a turn's worth of answers; whether there were any.
cdef bint write_answers(dealer_t *d, tasks_t *t, int64_t now) noexcept nogil:
    cdef int64_t budget = TURN_BYTES
    cdef answer_t *a
    if t.unsent.count == 0:
        return False
    t.gathers_from = now
    while t.unsent.first != NULL and budget > 0:
        a = answers_pop(&t.unsent)
        budget -= <int64_t>answer_size(a)
        write_answer(d, a)
        room_give(t, a)
        answers_put(&t.sent, a)
    while t.sent.bytes > SENT_BYTES_MAX or t.sent.count > SENT_MAX:
        answer_free(answers_pop(&t.sent))
    return True


cdef void write_answer(dealer_t *d, const answer_t *a) noexcept nogil:
    if a.kind == KIND_REPLY:
        dealer_reply(d, a.token, &a.body)
    elif a.kind == KIND_ERROR:
        dealer_error(d, a.token, a.code, a.retry_after_ms, &a.body)
    else:
        dealer_partial(d, a.token, a.sequence, a.attempt, &a.body)


cdef void write_ready(dealer_t *d, tasks_t *t) noexcept nogil:
    """write_ready names the tasks that run or whose answer may not have arrived."""
    cdef size_t room = t.running.count + t.unsent.count + t.sent.count
    cdef uint64_t *tokens = <uint64_t *>malloc((room + 1) * sizeof(uint64_t))
    cdef uint32_t listed = 0
    cdef task_t *task = t.running.oldest
    CHECK(tokens != NULL, "no memory for READY")
    t.ready_serial += 1
    while task != NULL:
        task.listed = t.ready_serial
        CHECK(listed < room, "more than %zu tasks run", room)
        tokens[listed] = task.token
        listed += 1
        task = task.newer
    listed = list_answers(t, &t.unsent, tokens, listed, room)
    if not d.welcomed:
        listed = list_answers(t, &t.sent, tokens, listed, room)
    dealer_ready(
        d, t.capacity - min(t.stale.count, t.capacity - 1), tokens, listed, &t.names
    )
    free(tokens)


# list_answers adds the tokens of answers that are not listed yet, to `room` of them at most, and
# returns how many are.
cdef uint32_t list_answers(
    const tasks_t *t, const answers_t *answers, uint64_t *tokens, uint32_t listed, size_t room
) noexcept nogil:
    cdef const answer_t *a = answers.first
    while a != NULL:
        if a.task == NULL or a.task.listed != t.ready_serial:
            CHECK(listed < room, "more than %zu tasks and answers", room)
            tokens[listed] = a.token
            listed += 1
        if a.task != NULL:
            a.task.listed = t.ready_serial
        a = a.next
    return listed


cdef int pending(engine_t *e) noexcept nogil:
    """Tell whether the last turn left answers; before WELCOME they have to wait."""
    cdef tasks_t *t = tasks_of(e)
    return e.dealer.welcomed and t.unsent.count > 0 and not t.gathers


cdef uint64_t done(engine_t *e) noexcept nogil:
    return 0  # the field belongs to clients


# --- the engine: in ------------------------------------------------------------------------

cdef void take(
    engine_t *e, const record_t *record, zmq_msg_t *frames, int64_t now
) noexcept nogil:
    """Act on TASK, CANCEL, CREDIT and the broker's consent to our BYE."""
    cdef tasks_t *t = tasks_of(e)
    cdef task_t *task
    if record.kind == KIND_TASK:
        take_task(t, record, frames, now)
    elif record.kind == KIND_CANCEL:
        task = running_find(t, record.id)
        if task != NULL:
            abandon(t, task)
    elif record.kind == KIND_CREDIT:
        task = running_find(t, record.id)
        if task != NULL and task.attempt == record.attempt:
            take_credit(t, task, record.credit)
    elif record.kind == KIND_BYE and record.code == BYE_AGREED:
        if not leaving(t):
            dealer_forgotten(&e.dealer, now, b"bye")
            return
        t.byes -= t.byes > 0
        t.agreed = t.byes == 0


cdef void take_task(
    tasks_t *t, const record_t *record, zmq_msg_t *frames, int64_t now
) noexcept nogil:
    cdef int service = service_find(t, record)
    cdef task_t *task
    if running_find(t, record.id) != NULL:
        return
    if t.gave_back:
        refuse(t, NULL, record.id, CODE_UNAVAILABLE, LEAVES)
        return
    if service < 0:
        refuse(t, NULL, record.id, CODE_NOT_FOUND, b"the worker has no handler for that service")
        return
    task = task_new()
    CHECK(task != NULL, "no memory for a task")
    if body_read(&task.body, record, frames) < 0:
        task_drop(task)
        refuse(t, NULL, record.id, CODE_RESOURCE_EXHAUSTED, b"the worker has no memory for it")
        return
    task.token = record.id
    task.attempt = record.attempt
    task.service = <uint16_t>service
    if record.timeout_ms:
        task.deadline = now + <int64_t>record.timeout_ms * MILLISECOND
    begin(t, task)


# begin holds a new task, for `running` and for its handler.
cdef void begin(tasks_t *t, task_t *task) noexcept nogil:
    task_keep(task)
    running_add(t, task)
    if t.fresh_last != NULL:
        t.fresh_last.next = task
    else:
        t.fresh_first = task
    t.fresh_last = task
    t.fresh_count += 1


# service_find returns the place of the task's service among ours; -1: it is none of them.
cdef int service_find(const tasks_t *t, const record_t *record) noexcept nogil:
    cdef const uint8_t *at = t.services.data
    cdef part_t name
    cdef int place = 0
    while part_next(&at, t.services.data + t.services.size, &name):
        if name.size == record.service_size and (
                name.size == 0 or memcmp(name.data, record.service, name.size) == 0):
            return place
        place += 1
    return -1


cdef void heard(engine_t *e) noexcept nogil:
    """Let go of the answers sent: the connection stood after them, unless libzmq refused them."""
    cdef tasks_t *t = tasks_of(e)
    if dealer_flushed(&e.dealer):
        answers_drop(&t.sent)


cdef void welcomed(engine_t *e, int64_t now) noexcept nogil:
    """Send the answers again that may not have arrived, then READY."""
    cdef tasks_t *t = tasks_of(e)
    cdef answers_t again = t.sent
    cdef answer_t *a = again.first
    t.limits = e.dealer.limits
    t.byes = 0  # those of an earlier route
    while a != NULL:
        room_take(t, a)
        a = a.next
    memset(&t.sent, 0, sizeof(answers_t))
    while t.unsent.first != NULL:
        answers_put(&again, answers_pop(&t.unsent))
    t.unsent = again
    dealer_greet_again(&e.dealer, now)


cdef void epoch_changed(engine_t *e, int64_t now) noexcept nogil:
    """Drop what belongs to the epoch that is over; its running tasks become stale."""
    cdef tasks_t *t = tasks_of(e)
    cdef answer_t *a
    while t.unsent.first != NULL:
        a = answers_pop(&t.unsent)
        room_give(t, a)
        answer_free(a)
    answers_drop(&t.sent)
    if t.running.count:
        engine_log(e, LOG_EPOCH_CHANGED, t.running.count, 0, NULL, 0)
    running_outdate(t)


# --- the engine: time ----------------------------------------------------------------------

cdef void leave(engine_t *e, command_t *command) noexcept nogil:
    """Take no more tasks, finish the held ones until `drain_by`, then finish."""
    cdef tasks_t *t = tasks_of(e)
    cdef leave_t *asked = <leave_t *>command
    if not leaving(t):
        t.bye_at = 0
    t.drain_by = min(t.drain_by, asked.drain_by)
    free(asked)


cdef int tasks_leave(tasks_t *t, int64_t drain_by) noexcept nogil:
    cdef leave_t *asked = <leave_t *>calloc(1, sizeof(leave_t))
    if asked == NULL:
        return -1
    asked.command.run = leave
    asked.drain_by = min(drain_by, FAR - 1)
    if engine_post(t.engine, &asked.command) < 0:
        free(asked)
        return -1
    return 0


cdef void tick(engine_t *e, int64_t now) noexcept nogil:
    """Tell READY's new values; while leaving say BYE, and give back what is late."""
    cdef tasks_t *t = tasks_of(e)
    exchange(t, now)
    if t.ready_again and e.dealer.welcomed and not leaving(t):
        dealer_greet_again(&e.dealer, now)
    t.ready_again = 0
    if now >= t.bye_at:
        t.bye_due = 1
        t.bye_at = now + jitter(<int64_t>GREETING_EVERY_MS * MILLISECOND)
    if now >= t.drain_by and not t.gave_back:
        give_back(e, t)
    t.idle_since = min(t.idle_since, now) if leaving(t) and not owes(t) else FAR


cdef void give_back(engine_t *e, tasks_t *t) noexcept nogil:
    cdef task_t *task = t.running.oldest
    t.gave_back = 1
    t.given_back = t.running.count
    while task != NULL:
        refuse(t, task, task.token, CODE_UNAVAILABLE, LEAVES)
        task = task.newer
    if t.given_back:
        engine_log(e, LOG_GIVEN_BACK, t.given_back, 0, NULL, 0)
    running_outdate(t)


# owes says that a task is not answered yet, or no sign of life has followed its answer.
cdef inline bint owes(const tasks_t *t) noexcept nogil:
    return t.running.count > 0 or t.unsent.count > 0 or t.sent.count > 0


# last_words is when a worker that leaves ends whatever is still to be said.
cdef inline int64_t last_words(const tasks_t *t) noexcept nogil:
    return after(t.drain_by, <int64_t>LAST_WORDS_MS * MILLISECOND)


cdef inline int64_t agreed_by(const tasks_t *t) noexcept nogil:
    return after(t.idle_since, <int64_t>AGREE_WITHIN_MS * MILLISECOND)


cdef int64_t next_due(engine_t *e) noexcept nogil:
    """Return the time of the next step of leaving, or of the next packet of answers."""
    cdef tasks_t *t = tasks_of(e)
    cdef int64_t due = min(t.stalls_at, t.gathers_from + GATHER_NS if t.gathers else FAR)
    if leaving(t):
        due = min(due, last_words(t) if t.gave_back else t.drain_by)
        due = min(due, min(t.bye_at, agreed_by(t)))
    return due


cdef int64_t next_beat(engine_t *e) noexcept nogil:
    """Give a sign of life when nothing was said for a heartbeat."""
    return after(max(e.dealer.said_at, e.beat_at), e.dealer.heartbeat)


cdef int finished(engine_t *e, int64_t now) noexcept nogil:
    """Tell whether the worker may close: all answered and BYE agreed, or no time left."""
    cdef tasks_t *t = tasks_of(e)
    if not leaving(t):
        return 0
    if owes(t) or not dealer_flushed(&e.dealer):
        return now >= last_words(t)
    if t.agreed or not e.dealer.welcomed:
        return 1
    return now >= agreed_by(t) or (t.gave_back and now >= last_words(t))


cdef void closed(engine_t *e, const char *why) noexcept nogil:
    """Wake the handlers that wait; nobody hears them any more."""
    cdef tasks_t *t = tasks_of(e)
    cdef answers_t given
    if leaving(t) and t.unsent.count:
        t.undelivered = t.unsent.count
        engine_log(e, LOG_UNDELIVERED, t.undelivered, 0, NULL, 0)
    running_outdate(t)
    pthread_mutex_lock(&t.lock)
    t.over = 1
    queue_fresh(t)
    given = t.given
    memset(&t.given, 0, sizeof(answers_t))
    pthread_cond_broadcast(&t.work)
    pthread_cond_broadcast(&t.room)
    pthread_mutex_unlock(&t.lock)
    answers_drop(&given)
    drop_all(t)


# drop_all gives back what the engine holds; tasks that handlers hold live on until they return.
cdef void drop_all(tasks_t *t) noexcept nogil:
    cdef task_t *task = tasks_take_all(t)
    cdef task_t *following
    while task != NULL:
        following = task.next
        task_drop(task)
        task = following
    answers_drop(&t.unsent)
    answers_drop(&t.sent)
    held_drop(&t.stale)


# --- making and ending ---------------------------------------------------------------------

cdef int tasks_init(tasks_t *t, engine_t *engine, uint32_t capacity, int fd) noexcept nogil:
    cdef uint32_t buckets = BUCKETS_MIN
    memset(t, 0, sizeof(tasks_t))
    while buckets < capacity:
        buckets *= 2
    t.buckets = <task_t **>calloc(buckets, sizeof(task_t *))
    if t.buckets == NULL:
        return -1
    pthread_mutex_init(&t.lock, NULL)
    pthread_cond_init(&t.work, NULL)
    room_init(t)
    t.engine = engine
    t.notice.run = noticed
    t.fd = fd
    t.mask = buckets - 1
    t.capacity = t.threads_max = capacity
    t.partials_max = PARTIALS_BYTES_MAX
    t.handler_ns = HANDLER_NS_MAX
    t.drain_by = t.bye_at = t.idle_since = t.stalls_at = FAR
    t.limits = engine.dealer.limits
    end_fill(t, engine)
    return 0


cdef void end_fill(tasks_t *t, engine_t *engine) noexcept nogil:
    engine.end.state = t
    engine.end.follows = 1
    engine.end.collect = collect
    engine.end.pending = pending
    engine.end.take = take
    engine.end.heard = heard
    engine.end.welcomed = welcomed
    engine.end.epoch_changed = epoch_changed
    engine.end.next_beat = next_beat
    engine.end.tick = tick
    engine.end.next_due = next_due
    engine.end.done = done
    engine.end.finished = finished
    engine.end.closed = closed


cdef void tasks_free(tasks_t *t) noexcept nogil:
    cdef task_t *task
    cdef task_t *following
    if t.buckets == NULL:
        return
    answers_drop(&t.given)
    running_outdate(t)
    task = tasks_take_cancelled(t)
    while task != NULL:
        following = task.next_told
        task_drop(task)
        task = following
    drop_all(t)
    body_clear(&t.names)
    body_clear(&t.services)
    free(t.buckets)
    pthread_mutex_destroy(&t.lock)
    pthread_cond_destroy(&t.work)
    pthread_cond_destroy(&t.room)
