# The Python handle that those of a client and of a worker have in common.
#
# Memory: the handle owns the engine, its main mailbox and its threads; in a child of a fork what
#         the threads may have locked is left as it is.

from libc.stdint cimport uint32_t, uint8_t

from .engine cimport engine_t
from .mailbox cimport mail_t, mailbox_t

# forks counts the forks that made this process from its parents (pthread_atfork): whoever remembers
# another number was made before a fork.
cdef uint32_t forks() noexcept nogil

cdef class Engine:
    # The base of ClientEngine and WorkerEngine. In its __cinit__ a subclass calls `make` and fills
    # e.rules, so that Python never sees an engine without.
    cdef engine_t e
    cdef mailbox_t mailbox                # the main mailbox; e.main points to it
    cdef uint32_t born                    # forks() when made
    cdef object context, thread, logger, endpoints
    cdef object repeats                   # which lines of the log were written a moment ago
    cdef str noun                         # what the program calls us: client, worker
    cdef object own_context
    cdef object events_thread             # None: an event loop calls `events()`
    cdef readonly object connected        # a threading.Event: a broker has welcomed us
    cdef readonly object denied           # the error that every endpoint denies us for, or None
    cdef object settled                   # another Event: there is something to say of `connected`
    cdef object looker                    # the thread that finds out why, or None
    cdef dict reported                    # endpoint: (reason, when it was logged)
    cdef uint8_t begun                    # `start` was called
    cdef readonly bint started            # it has started all threads; they may have ended since
    cdef uint8_t has_ended                # MAIL_CLOSED was taken: no more events will come
    # make readies the handle: `endpoints` are checked ones, tried in turn; context None: it makes
    # its own, and terminates it at its end; `follows`: it judges silence by the rates of WELCOME,
    # as a worker does, since that is how often the broker speaks; the logger's name gives the
    # threads theirs, and its last word tells errors what this is; an event loop reads `events_fd`
    # (an eventfd, or the other end of a pipe or socket) empty and then calls `events`, -1: a thread
    # does that; `key`: a Credential, or None.
    cdef int make(
        self, object endpoints, object context, double heartbeat, object liveness, bint follows,
        object logger, int events_fd, object key,
    ) except -1
    # start_threads starts them; if it raises, those that run are made to end.
    cdef int start_threads(self) except -1
    cdef int check(self) except -1        # ForkError in a child, ClosedError after the end
    # take_events takes all mails, logs what is to be logged, and returns the chain of the others.
    cdef mail_t *take_events(self)
    # deliver handles the chain, never empty, and frees it; on the events thread or in events().
    cdef void deliver(self, mail_t *mails)
