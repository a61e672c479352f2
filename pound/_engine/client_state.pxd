# The state of a client's rules, and the commands that its handle posts to the engine.
#
# client_state_t  everything that client_rules.pyx decides on; belongs to the engine's thread.
# submit_t, cancel_t, look_t  commands: bring requests in, end some of them, look at a stream.
#
# Memory: a command is malloc'd by its poster and freed by its run, or by the poster if the engine
#         has ended.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from .cancels cimport cancels_t
from .engine cimport engine_command_t
from .keys cimport unused_keys_t
from .mailbox cimport body_t, mail_t, mailbox_t
from .pace cimport PACE_ROWS
from .requests cimport requests_t, shared_name_t, stream_state_t

cdef enum wants_t:             # `code` of a request's final mail: what its taker makes of an answer
    WANTS_BODY
    WANTS_ANSWER               # body and META
    WANTS_STREAM               # the last Partial; the tag is a StreamState


cdef enum:
    REFUSAL = 200              # bytes of a sentence, its NUL included; longer ones are cut


cdef struct long_wait_t:
    int64_t until              # no line before
    uint8_t owed               # a request has begun to wait long since the last line
    uint16_t size
    uint8_t name[256]          # of the service: `size` bytes, at most 255


cdef struct client_state_t:
    requests_t requests
    cancels_t cancels
    unused_keys_t keys         # of requests that are still to come
    body_t label               # owned
    uint8_t waits              # for a busy broker, until the request's deadline
    uint8_t more               # the last turn was full
    uint8_t said_bye
    uint8_t heard_bye
    uint8_t rerouted           # a request waits for the preferred broker: go there at once
    uint8_t parted             # BYE was said to go there
    int64_t eager_bytes        # left of what may be sent before WELCOME
    int64_t eager_bytes_max    # the limits of this client: this and the three below
    int64_t log_after          # ns
    int64_t leave_within       # ns
    uint64_t stream_bytes_max
    int64_t long_at            # when a service's line is due; FAR: none is
    long_wait_t long_waits[PACE_ROWS]  # by row: services whose requests wait long
    int64_t leave_by           # say BYE and finish, at the latest then; FAR: not yet
    mailbox_t *delivered_to    # mails on their way to this mailbox: a chain, not put yet
    mail_t *delivery_first
    mail_t *delivery_last
    uint32_t delivery_count
    char refusal[REFUSAL]      # the broker's last refusal, in words; the engine's lock guards it


cdef struct submit_t:
    engine_command_t command
    mailbox_t *box             # where the answers go
    shared_name_t *service     # one share for each mail
    mail_t *first              # a mail for each request: its number and tag, and in `body` its body
    mail_t *last
    uint32_t count
    stream_state_t *stream     # of the only request, or NULL
    int64_t since              # ns, monotonic
    int64_t timeout            # ns; FAR: none
    uint8_t priority


cdef struct cancel_t:
    engine_command_t command
    uint32_t count
    uint64_t numbers[1]        # `count` of them


cdef struct look_t:
    engine_command_t command
    uint64_t number            # of the request whose stream was read
