# A worker's end: the tasks it holds, from TASK to the answer.
#
# tasks_t: the tasks of one worker (task.pxd has one): those that wait for a handler, those that
# run, what handlers gave, what libzmq took and may not have arrived.
#
# Invariants: `running` holds the tasks of this epoch whose handler has not returned; one whose
# epoch is over is *stale*: it only keeps a handler busy, which READY's capacity tells, and its
# answer is dropped. Answers and partials leave in the order in which the handlers gave them.
# A leaving worker closes after the BYE 2 that answers the BYE behind its last answer, and so after
# as many as it said BYEs: a socket closed with unread input resets its connection, and a reset may
# overtake what was sent. When the broker is lost before, it waits for it as long as it has time,
# since what no sign of life followed may have to be sent again.
# Before WELCOME a route carries READY only: answers wait for it, because a token means nothing in
# another epoch. What was sent and not followed by a sign of life is sent again after a reconnect to
# the same epoch: until the broker has given the task to another worker, its token still counts.
# At most one thread is on its way to the tasks: the engine wakes one, and a thread that takes a
# task and leaves others wakes the next. So handlers that take their time spread at once over all
# threads. Where handlers are shorter than a thread's way to them, more threads would only fight for
# the GIL: then the next one is woken when no task was taken for STALL_NS.
#
# Cost:    O(1) a task; READY costs O(tasks held). An answer wakes the engine only if it sleeps;
#          while tasks wait for handlers, answers are gathered, for GATHER_NS at most.
# Memory:  a task is counted: by `running`, by its handler, by each answer, by `cancelled`. Answers
#          own their bodies. `unsent` and `sent` are bounded: partials make their handler wait, and
#          final answers are at most one a task held.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t
from posix.unistd cimport write

from .engine cimport command_t, engine_t
from .link cimport limits_told_t
from .mailbox cimport body_t, pthread_mutex_t
from .task cimport answers_t, held_t, task_t

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_cond_t:
        pass

cdef struct tasks_t:
    engine_t *engine         # not owned
    command_t notice         # "something was given"
    int fd                   # of an event loop; -1: handlers run in threads
    pthread_mutex_t lock     # guards all down to the engine's
    pthread_cond_t work      # something is to be done, or nothing ever will
    pthread_cond_t room      # for partials, or CREDIT; timed by the monotonic clock
    task_t *first            # tasks that wait for a handler
    task_t *last
    uint32_t queued
    task_t *cancelled        # tasks to be told to the event loop, newest first
    answers_t given          # by handlers, not yet seen by the engine
    uint64_t partials_bytes  # of partials given and not yet packed
    uint64_t partials_max
    uint32_t threads         # made
    uint32_t threads_max
    uint32_t busy            # threads that run a handler
    uint32_t idle            # threads that wait for `work`
    uint32_t waiting         # handlers that wait for `room`
    uint8_t wanting          # the event loop is to be rung when there is room
    uint32_t takes           # tasks taken, ever
    int64_t handler_ns       # what a handler takes, a moving mean
    uint8_t granted          # one idle thread may go
    uint8_t coming           # it went, and has not looked for a task yet
    uint8_t noticed          # `notice` is posted
    uint8_t gathers          # the engine looks by itself, soon; it alone writes this
    uint8_t rung             # `fd` was written to since the last look
    uint8_t over             # nobody hears the handlers any more
    # the engine's
    limits_told_t limits     # what the last WELCOME told; handlers read it
    body_t names             # label and services
    body_t services          # the names alone, one inline part each
    uint32_t capacity
    task_t **buckets         # running tasks by token
    uint32_t mask
    held_t running
    held_t stale
    task_t *fresh_first      # tasks of this turn, not yet among those that wait
    task_t *fresh_last
    uint32_t fresh_count
    answers_t unsent
    answers_t sent           # no sign of life since
    uint32_t ready_serial
    uint32_t given_back      # tasks, at the end of the drain
    uint32_t undelivered     # answers that no broker was there for until its end
    uint32_t takes_seen
    int64_t stalls_at        # when a thread more is to come unless a task is taken; FAR: no need
    int64_t gathers_from     # when answers left last, or several tasks came
    int64_t drain_by         # FAR: it serves
    int64_t bye_at           # when to say BYE (again)
    int64_t idle_since       # while leaving: since when all is answered, and was heard
    uint8_t ready_again      # READY has other values than it told
    uint8_t gave_back
    uint8_t bye_due
    uint8_t agreed           # the broker said BYE 2 to each BYE
    uint32_t byes            # said, and not yet agreed to

cdef enum:
    PARTIALS_BYTES_MAX = 16 << 20    # not yet taken by libzmq, before a handler has to wait
    LAST_WORDS_MS = 500              # after the drain's end, for the last packet
    AGREE_WITHIN_MS = 1000           # for the broker's BYE 2 when nothing else is left to wait for

# tasks_init fills the end of `engine` and all of `t` but names and services: 0, or -1: no memory.
cdef int tasks_init(tasks_t *t, engine_t *engine, uint32_t capacity, int fd) noexcept nogil
cdef void tasks_free(tasks_t *t) noexcept nogil
# tasks_leave asks the engine to take no more tasks and to end by then: 0, or -1: it has ended, or
# there is no memory.
cdef int tasks_leave(tasks_t *t, int64_t drain_by) noexcept nogil

# --- for handlers; any thread

# tasks_take returns the next task for the calling thread, which is one of `threads`; the caller has
# its reference. NULL: none is there. `took`: ns that its last task took; < 0: it had none. *alone:
# now every thread runs a handler, and the caller has to make one more, which is counted already.
cdef task_t *tasks_take(tasks_t *t, bint woken, int64_t took, bint *alone) noexcept nogil
# tasks_wait sleeps until the thread should look for a task: whether it was woken for one; -1: there
# will be none any more.
cdef int tasks_wait(tasks_t *t) noexcept nogil
# tasks_thread_lost says that the thread that was counted could not be made.
cdef void tasks_thread_lost(tasks_t *t) noexcept nogil
# tasks_take_all returns all tasks that wait, tasks_take_cancelled those to be told, by `next`; with
# their references. For an event loop.
cdef task_t *tasks_take_all(tasks_t *t) noexcept nogil
cdef task_t *tasks_take_cancelled(tasks_t *t) noexcept nogil
# tasks_answer gives the engine task.answer, filled by the caller (kind, code, body), and the
# caller's reference.
cdef void tasks_answer(tasks_t *t, task_t *task) noexcept nogil

# --- under the lock, for _tasks and _partials


# rings says that the event loop has to be told of tasks; under the lock.
cdef inline bint rings(tasks_t *t) noexcept nogil:
    if t.rung or t.fd < 0:
        return False
    t.rung = 1
    return True


# ring tells the event loop, outside the lock.
cdef inline void ring(const tasks_t *t) noexcept nogil:
    cdef uint64_t one = 1  # as an eventfd wants it; to a socket it is 8 bytes
    write(t.fd, &one, sizeof(one))


# loaded says that more answers are about to follow; under the lock.
cdef inline bint loaded(const tasks_t *t) noexcept nogil:
    return t.queued > 0 or t.fd >= 0


# notices says that the engine has to be told of what was given; under the lock.
cdef inline bint notices(tasks_t *t) noexcept nogil:
    if t.noticed or (t.gathers and loaded(t)):
        return False
    t.noticed = 1
    return True
