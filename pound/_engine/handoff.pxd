# What a worker's engine and its handlers hand to each other: tasks one way, answers the other.
#
# Handlers run in threads, or on an event loop (`fd` >= 0). One lock guards both ways.
#
# At most one thread is on its way to the tasks: the engine wakes one, and a thread that takes a
# task and leaves others wakes the next. So slow handlers spread over all threads at once. Where
# handlers are shorter than the time that a thread needs to wake, more threads would only compete
# for the GIL: then the next one is woken when no task was taken for STALL_NS.
#
# Cost:   O(1) a task. An answer wakes the engine only if it sleeps; while tasks wait for handlers,
#         answers are gathered, for GATHER_NS at most.
# Memory: owns the tasks that wait and the answers that the engine has not seen.

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from posix.unistd cimport write

from pound._base.locks cimport pthread_cond_t, pthread_mutex_t
from .engine cimport engine_command_t, engine_t
from .task cimport answers_t, held_task_t, task_queue_t

cdef struct handoff_t        # defined below

cdef struct notice_t:        # "something was given"
    engine_command_t command
    handoff_t *handoff       # not owned

cdef struct handler_threads_t:
    uint32_t made            # threads that exist
    uint32_t most            # as many as the worker holds tasks
    uint32_t busy            # run a handler
    uint32_t idle            # wait for `work`
    uint32_t takes           # tasks taken, ever
    uint32_t takes_seen
    int64_t handler_ns       # what a handler takes, a moving mean
    int64_t stalls_at        # when to wake one more unless a task is taken; FAR: no need
    uint8_t granted          # one idle thread may go
    uint8_t coming           # it went, and has not looked for a task yet

cdef struct handoff_t:
    engine_t *engine         # not owned
    notice_t notice
    int fd                   # of an event loop; -1: handlers run in threads
    pthread_mutex_t lock     # guards everything below but `gathers_from`
    pthread_cond_t work      # something is to be done, or nothing ever will
    pthread_cond_t room      # for partials, or CREDIT; timed by the monotonic clock
    handler_threads_t threads
    task_queue_t waiting     # for a handler
    held_task_t *cancelled   # to be reported to the event loop, newest first
    answers_t given          # by handlers, not yet seen by the engine
    uint64_t partials_bytes  # of partials given and not yet packed
    uint64_t partials_max
    uint32_t blocked         # handlers that wait for `room`
    uint8_t loop_blocked     # the event loop is to be rung when there is room
    uint8_t noticed          # `notice` is posted
    uint8_t gathers          # the engine looks by itself, soon; it alone writes this
    uint8_t rung             # `fd` was written to since the last look
    uint8_t over             # the engine has ended
    int64_t gathers_from     # when answers left last, or several tasks came; the engine's

cdef void handoff_init(
    handoff_t *h, engine_t *engine, uint32_t capacity, int fd) noexcept nogil
cdef void handoff_free(handoff_t *h) noexcept nogil

# --- for handlers; any thread

# handoff_take returns the next task for the calling thread, which is one of `threads`; the caller
# gets its reference. NULL: none is there. `took`: ns that its last task took; < 0: it had none.
# *alone: now every thread runs a handler, and the caller has to make one more, already counted.
cdef held_task_t *handoff_take(
    handoff_t *h, bint woken, int64_t took, bint *alone) noexcept nogil
# handoff_wait sleeps until the thread should look for a task: whether it was woken for one; -1:
# there will be none any more.
cdef int handoff_wait(handoff_t *h) noexcept nogil
# handoff_thread_lost says that the thread that was counted could not be made.
cdef void handoff_thread_lost(handoff_t *h) noexcept nogil
# handoff_take_all returns all tasks that wait, handoff_take_cancelled those to be reported as
# cancelled, by `next` and `next_notified`; with their references. For an event loop.
cdef held_task_t *handoff_take_all(handoff_t *h) noexcept nogil
cdef held_task_t *handoff_take_cancelled(handoff_t *h) noexcept nogil
# handoff_answer gives the engine task.answer, filled by the caller (kind, code, body), and the
# caller's reference.
cdef void handoff_answer(handoff_t *h, held_task_t *task) noexcept nogil

# --- for the engine

# handoff_exchange gives a turn's tasks to the handlers, and takes what they gave.
cdef answers_t handoff_exchange(
    handoff_t *h, task_queue_t *fresh, int64_t now) noexcept nogil
# handoff_abandon notes that nobody waits for a task's answer, and reports it.
cdef void handoff_abandon(handoff_t *h, held_task_t *task) noexcept nogil
# handoff_next_due is when to exchange without a notice.
cdef int64_t handoff_next_due(const handoff_t *h) noexcept nogil
# handoff_close wakes the handlers that wait, for ever; the caller owns what is returned.
cdef answers_t handoff_close(handoff_t *h, task_queue_t *fresh) noexcept nogil

# --- under the lock


# rings says that the event loop has to be rung for tasks.
cdef inline bint rings(handoff_t *h) noexcept nogil:
    if h.rung or h.fd < 0:
        return False
    h.rung = 1
    return True


# ring wakes the event loop, outside the lock.
cdef inline void ring(const handoff_t *h) noexcept nogil:
    cdef uint64_t one = 1  # as an eventfd wants it; to a socket it is 8 bytes
    write(h.fd, &one, sizeof(one))


# loaded says that more answers are about to follow.
cdef inline bint loaded(const handoff_t *h) noexcept nogil:
    return h.waiting.count > 0 or h.fd >= 0


# notices says that the engine has to be woken for what was given.
cdef inline bint notices(handoff_t *h) noexcept nogil:
    if h.noticed or (h.gathers and loaded(h)):
        return False
    h.noticed = 1
    return True
