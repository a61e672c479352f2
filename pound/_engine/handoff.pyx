"""What a worker's engine and its handlers hand to each other (rules: handoff.pxd)."""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from pound._base.locks cimport (
    condition_init, condition_wait, pthread_cond_broadcast, pthread_cond_destroy,
    pthread_cond_signal, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock)
from .engine cimport engine_command_t, engine_post, engine_t
from .link cimport FAR
from .task cimport (
    answer_free, answers_put, answers_t, held_task_t, task_keep, task_queue_t, tasks_append)

cdef enum:
    GATHER_NS = 100000               # for answers to share a packet, while tasks wait for handlers
    SHORT_NS = 20000                 # of a handler: not worth waking another thread
    STALL_NS = 200000                # without a task taken, and it is
    HANDLER_NS_MAX = 1000000         # as far as the mean is concerned
    PARTIALS_BYTES_MAX = 16 << 20    # not yet taken by libzmq, before a handler has to wait


# --- for handlers --------------------------------------------------------------------------

# grant wakes a thread unless one is on its way; under the lock.
cdef inline void grant(handoff_t *h) noexcept nogil:
    if h.waiting.count and h.threads.idle and not h.threads.coming:
        h.threads.granted = h.threads.coming = 1
        pthread_cond_signal(&h.work)


cdef held_task_t *pop(handoff_t *h) noexcept nogil:
    cdef held_task_t *task = h.waiting.first
    if task != NULL:
        h.waiting.first = task.next
        if h.waiting.first == NULL:
            h.waiting.last = NULL
        task.taken = 1
        h.waiting.count -= 1
        h.threads.takes += 1
    return task


cdef held_task_t *handoff_take(handoff_t *h, bint woken, int64_t took, bint *alone) noexcept nogil:
    cdef held_task_t *task
    pthread_mutex_lock(&h.lock)
    if woken:
        h.threads.coming = 0
    if took >= 0:
        h.threads.handler_ns += (min(took, HANDLER_NS_MAX) - h.threads.handler_ns) // 8
        h.threads.busy -= 1
    task = pop(h)
    h.threads.busy += task != NULL
    if h.threads.handler_ns > SHORT_NS:
        grant(h)
    alone[0] = task != NULL and h.threads.busy == h.threads.made and h.threads.made < h.threads.most
    if alone[0]:
        h.threads.made += 1
    pthread_mutex_unlock(&h.lock)
    return task


cdef int handoff_wait(handoff_t *h) noexcept nogil:
    cdef int woken = 0
    pthread_mutex_lock(&h.lock)
    if h.waiting.count == 0:
        h.threads.idle += 1
        while not (h.threads.granted or h.over):
            condition_wait(&h.work, &h.lock, FAR)
        h.threads.idle -= 1
        woken = -1 if h.over else 1
        h.threads.granted = 0
    pthread_mutex_unlock(&h.lock)
    return woken


cdef void handoff_thread_lost(handoff_t *h) noexcept nogil:
    pthread_mutex_lock(&h.lock)
    h.threads.made -= 1
    pthread_mutex_unlock(&h.lock)


cdef held_task_t *handoff_take_all(handoff_t *h) noexcept nogil:
    cdef held_task_t *first
    cdef held_task_t *task
    pthread_mutex_lock(&h.lock)
    h.rung = 0
    first = task = h.waiting.first
    while task != NULL:
        task.taken = 1
        task = task.next
    h.waiting.first = h.waiting.last = NULL
    h.waiting.count = 0
    pthread_mutex_unlock(&h.lock)
    return first


cdef held_task_t *handoff_take_cancelled(handoff_t *h) noexcept nogil:
    cdef held_task_t *first
    pthread_mutex_lock(&h.lock)
    h.rung = 0
    first = h.cancelled
    h.cancelled = NULL
    if h.waiting.count and rings(h):
        ring(h)
    pthread_mutex_unlock(&h.lock)
    return first


cdef void handoff_answer(handoff_t *h, held_task_t *task) noexcept nogil:
    cdef bint late, notify = False
    task.answer.task = task
    task.answer.token = task.token
    pthread_mutex_lock(&h.lock)
    late = h.over
    task.answered = 1
    if not late:
        answers_put(&h.given, &task.answer)
        notify = notices(h)
    pthread_mutex_unlock(&h.lock)
    if late:
        answer_free(&task.answer)
    elif notify:
        engine_post(h.engine, &h.notice.command)  # refused: `closed` drops what was given


# --- for the engine ------------------------------------------------------------------------

cdef void noticed(engine_t *e, engine_command_t *command) noexcept nogil:
    cdef handoff_t *h = (<notice_t *>command).handoff
    pthread_mutex_lock(&h.lock)
    h.noticed = 0  # the turn goes on to `tick`, which looks
    pthread_mutex_unlock(&h.lock)


cdef answers_t handoff_exchange(handoff_t *h, task_queue_t *fresh, int64_t now) noexcept nogil:
    cdef answers_t given
    cdef bint notify
    pthread_mutex_lock(&h.lock)
    given = h.given
    memset(&h.given, 0, sizeof(answers_t))
    notify = fresh.count > 0 and rings(h)
    if fresh.count > 1:
        h.gathers_from = now
    tasks_append(&h.waiting, fresh)
    if h.threads.busy == 0 or h.threads.handler_ns > SHORT_NS:
        grant(h)
    watch(h, now)
    h.gathers = loaded(h) and now < h.gathers_from + GATHER_NS
    pthread_mutex_unlock(&h.lock)
    if notify:
        ring(h)
    return given


# watch wakes a thread when tasks wait and none was taken for a while; under the lock.
cdef void watch(handoff_t *h, int64_t now) noexcept nogil:
    if h.waiting.count == 0 or h.threads.idle == 0:
        h.threads.stalls_at = FAR
    elif h.threads.stalls_at == FAR or h.threads.takes != h.threads.takes_seen:
        h.threads.stalls_at = now + STALL_NS
    elif now >= h.threads.stalls_at:
        grant(h)
        h.threads.stalls_at = now + STALL_NS
    h.threads.takes_seen = h.threads.takes


cdef void handoff_abandon(handoff_t *h, held_task_t *task) noexcept nogil:
    cdef bint notify = False
    pthread_mutex_lock(&h.lock)
    task.cancelled = 1
    if h.blocked:
        pthread_cond_broadcast(&h.room)
    if h.fd >= 0 and task.taken and not task.answered and not task.notified:
        task.notified = 1
        task_keep(task)
        task.next_notified = h.cancelled
        h.cancelled = task
        notify = rings(h)
    pthread_mutex_unlock(&h.lock)
    if notify:
        ring(h)


cdef int64_t handoff_next_due(const handoff_t *h) noexcept nogil:
    return min(h.threads.stalls_at, h.gathers_from + GATHER_NS if h.gathers else FAR)


cdef answers_t handoff_close(handoff_t *h, task_queue_t *fresh) noexcept nogil:
    cdef answers_t given
    pthread_mutex_lock(&h.lock)
    h.over = 1
    tasks_append(&h.waiting, fresh)
    given = h.given
    memset(&h.given, 0, sizeof(answers_t))
    pthread_cond_broadcast(&h.work)
    pthread_cond_broadcast(&h.room)
    pthread_mutex_unlock(&h.lock)
    return given


# --- making and ending ---------------------------------------------------------------------

cdef void handoff_init(
    handoff_t *h, engine_t *engine, uint32_t capacity, int fd
) noexcept nogil:
    pthread_mutex_init(&h.lock, NULL)
    condition_init(&h.work)
    condition_init(&h.room)
    h.engine = engine
    h.notice.command.run = noticed
    h.notice.handoff = h
    h.fd = fd
    h.partials_max = PARTIALS_BYTES_MAX
    h.threads.most = capacity
    h.threads.handler_ns = HANDLER_NS_MAX
    h.threads.stalls_at = FAR


cdef void handoff_free(handoff_t *h) noexcept nogil:
    pthread_mutex_destroy(&h.lock)
    pthread_cond_destroy(&h.work)
    pthread_cond_destroy(&h.room)
