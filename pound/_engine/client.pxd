# The Python handle of a client, for modules that submit requests in C.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from .client_state cimport client_state_t, submit_t
from .handle cimport Engine
from .mailbox cimport mail_t, mailbox_t
from .requests cimport stream_state_t


cdef class ReplyQueue:
    cdef mailbox_t mailbox
    cdef uint32_t open                    # requests whose end comes here and was not taken
    cdef set keeper                       # where its client holds it as long as there are any
    cdef bint share
    cdef uint32_t born                    # forks() when made
    cdef int check(self) except -1        # ForkError in a child
    cdef int hold(self, ClientEngine engine, uint32_t requests) except -1
    cdef int let_go(self, uint32_t requests) except -1
    cdef list tell(self, mail_t *mails)
    # await_mail waits until there is some, `timeout_ns` < 0: no limit; 0: timed out. Signals raise.
    cdef int await_mail(self, int64_t timeout_ns) except -1


cdef class StreamState:
    cdef stream_state_t stream
    cdef object sizes                     # of what was taken and not read yet
    cdef readonly object owner            # whatever its maker likes
    cdef object partial(self, mail_t *mail, bint share)


cdef class ClientEngine(Engine):
    cdef client_state_t a
    cdef readonly bint share
    cdef uint64_t next_number
    cdef list queues                      # idle ones, for `submit`
    cdef set awaited                      # queues that requests answer to
    cdef bint quick                       # the last answer that `submit` waited for was
    cdef bint awake                       # a caller of `submit` stays awake: one is enough
    cdef int64_t awake_from               # ns, monotonic; none does before
    cdef submit_t *new_submit(
        self, mailbox_t *box, object service, object timeout, object priority
    ) except NULL
    cdef uint64_t post_submit(self, submit_t *submit) except 0  # the number of the first request
    cdef uint64_t post_numbered(self, submit_t *submit) noexcept
    cdef uint64_t post_to(self, ReplyQueue queue, submit_t *submit) except 0
    cdef int await_answer(self, ReplyQueue queue) except -1
    cdef int cancel_some(self, const uint64_t *numbers, uint32_t count) except -1

# submit_add adds one request to those of one command; the tag is stored as it is.
cdef int submit_add(
    submit_t *submit, void *tag, object body, object meta, uint8_t wants) except -1
# submit_free forgets requests that were not posted; their tags were not taken.
cdef void submit_free(submit_t *submit)
# mail_value returns what a mail holds, an exception instead if it can't; empties its body.
cdef object mail_value(mail_t *mail, bint share)
# drain takes mails, which nobody wants, until so many ends of requests have come. Their tags are no
# references.
cdef void drain(mailbox_t *box, uint32_t open) noexcept nogil
