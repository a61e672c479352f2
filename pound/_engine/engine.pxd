# The engine of a client or a worker: one thread that owns its link to the broker, without the GIL.
#
# engine_t  the thread's data: its link, its rules, what other threads asked of it.
# rules_t   what a client (client_rules) or a worker (worker_rules) does with the link: a table of
#           functions, each called on the engine's thread only.
# engine_command_t  something that another thread asks of the engine; first in a larger struct.
#
# One turn: wait, commands, monitor, packets, timers, one flush. Everything that became ready in a
# turn travels in one packet (or as many as the limits require); nothing waits to fill a packet.
# Invariant: after `closed` is set under the lock no command is taken; whatever was posted before
#            is run. Python is reached by mailboxes only, so a held GIL never delays a heartbeat.
# Memory:    the engine owns its link, its wake pair, and posted commands until they ran (a
#            command's `run` frees it or keeps it).

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

from pound._base.locks cimport pthread_mutex_t
from pound._wire.packets cimport record_t
from pound._zmq.libzmq cimport zmq_msg_t
from .curve cimport DENIAL_ROOM
from .link cimport finding_t, link_state_t
from .mailbox cimport mail_t, mailbox_t
from .outbox cimport outbox_t
from .socket cimport link_socket_t

cdef struct engine_t                      # defined below
cdef struct engine_command_t                     # defined below

ctypedef void (*run_t)(engine_t *engine, engine_command_t *command) noexcept nogil

cdef struct engine_command_t:
    engine_command_t *next
    run_t run

cdef struct rules_t:
    void *state
    # collect writes what is ready (the writers of outbox.pxd); only when writable
    void (*collect)(engine_t *e, int64_t now) noexcept nogil
    int (*pending)(engine_t *e) noexcept nogil          # would collect write more at once?
    # take acts on one record; `frames` are the message's, 0 the packet itself
    void (*take)(engine_t *e, const record_t *record, zmq_msg_t *frames, int64_t now) noexcept nogil
    void (*heard)(engine_t *e) noexcept nogil           # a packet that is no welcome came
    void (*welcomed)(engine_t *e, int64_t now) noexcept nogil
    void (*epoch_changed)(engine_t *e, int64_t now) noexcept nogil
    int64_t (*next_beat)(engine_t *e) noexcept nogil    # when a HEARTBEAT is due, ns
    void (*tick)(engine_t *e, int64_t now) noexcept nogil
    int64_t (*next_due)(engine_t *e) noexcept nogil     # FAR: nothing
    uint64_t (*done)(engine_t *e) noexcept nogil        # of the packet head
    int (*finished)(engine_t *e, int64_t now) noexcept nogil
    # closed ends whatever is still open: CODE 0 mails become ClosedError with the given sentence
    void (*closed)(engine_t *e, const char *why) noexcept nogil

cdef enum:
    TROUBLE = 384                         # bytes of a sentence, its NUL included

cdef struct engine_t:
    link_state_t link
    outbox_t outbox
    link_socket_t socket
    rules_t rules
    mailbox_t *main                       # logs, connected and closed go here; not owned
    pthread_mutex_t lock                  # guards the six below
    engine_command_t *first
    engine_command_t *last
    uint8_t asleep                        # the thread waits and nobody has woken it yet
    uint8_t closed
    char trouble[TROUBLE]                 # guarded, too: why no broker is reached; empty: unknown
    char denial[DENIAL_ROOM]              # why every endpoint denies us; empty: they don't
    int wake_in                           # written to wake the thread; open as long as the handle
    int wake_out                          # in the thread's poll set
    uint8_t connected                     # as last reported to Python: this and the two below
    uint8_t barred
    int64_t denied_at
    int64_t alone_since                   # no broker has welcomed us since then
    int64_t look_at                       # when Python is asked to look why; FAR: there is one
    mail_t *last_mail                     # MAIL_CLOSED, made before anything else can fail
    engine_command_t abandon              # of engine_abandon

# engine_post has command.run called on the engine's thread, in order: 0; -1: the engine has ended
# and the caller keeps the command. Any thread, no GIL needed.
cdef int engine_post(engine_t *e, engine_command_t *command) noexcept nogil
# engine_log puts a MAIL_LOG into the main mailbox: event LOG_*, up to two numbers, a sentence.
cdef void engine_log(
    engine_t *e, uint16_t event, int64_t a, int64_t b, const char *text, uint32_t size
) noexcept nogil
# engine_trouble writes why no broker is reached, as far as that is known: the size of the sentence.
cdef int engine_trouble(engine_t *e, char *to, size_t room) noexcept nogil
# engine_looked says what a look at an endpoint has found (link_looked); any thread, no GIL needed.
# Without memory nobody hears of it: the next look says it again.
cdef void engine_looked(engine_t *e, uint32_t endpoint, finding_t found) noexcept nogil
# engine_denied is the code of the error that a link is barred for; its words are `socket.denial`.
cdef uint16_t engine_denied(const engine_t *e) noexcept nogil
# engine_abandon ends an engine whose start failed, if its thread runs, or once it does. Any thread;
# once.
cdef void engine_abandon(engine_t *e) noexcept nogil
# engine_run turns until the end has finished, then closes everything: the body of the thread.
cdef void engine_run(engine_t *e) noexcept nogil
