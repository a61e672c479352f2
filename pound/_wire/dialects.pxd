# The foreign dialects: what a message of the Guide's peers says, and the frames put before a body
# that goes to one. Pure recognition: no peer is known here, no message is sent.
#
# Sources:   the ZeroMQ Guide, chapters 3 and 4; RFC 6 (PPP), RFC 7 (MDP 0.1), RFC 18 (MDP 0.2).
# Invariant: dialect_read looks at no byte outside its frames, and at no body.
# Cost:      O(frames before the body): the search for the first empty frame; no allocation.
# Memory:    message_t and the frames of dialect_head borrow: from the frames read, from `service`,
#            from `hex16`, and from constants.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .codes cimport (
    DIALECT_BARE, DIALECT_END, DIALECT_MDP1, DIALECT_MDP2, DIALECT_NONE, DIALECT_PLAIN, DIALECT_PND,
    DIALECT_PPP, dialect_name)

cdef enum:
    HEAD_MAX = 8             # no head has more frames
    TOKEN_DIGITS = 16        # hex digits of a token in an address frame that we send
    TOKEN_DIGITS_MAX = 32    # hex digits of a token in an address frame that we take back


cdef struct frame_t:
    const uint8_t *data
    size_t size              # bytes


cdef enum:                   # sides
    FRONTEND = 0             # plain peers here are clients
    BACKEND = 1              # plain and PPP peers here are workers

cdef enum said_t:
    SAID_BAD = 0             # see message_t.error
    SAID_PACKET              # frame 0 starts with "PND": it belongs to _wire
    SAID_REQUEST
    SAID_READY
    SAID_ANSWER
    SAID_PARTIAL
    SAID_HEARTBEAT
    SAID_DISCONNECT

cdef enum bad_t:
    BAD_NONE = 0
    BAD_FRAMES               # too few frames, or too many for the command
    BAD_EMPTY                # the frame after the address is not empty
    BAD_COMMAND              # no such command
    BAD_ADDRESS              # an envelope where the dialect has none
    BAD_SERVICE              # a service name of 0 or more than 255 bytes
    BAD_ROLE                 # a command that only the broker sends
    BAD_VERSION              # an MDP name of another version than 01 and 02


cdef struct message_t:
    uint8_t said             # said_t
    uint8_t dialect          # dialect_t; also of a bad message, as far as it was recognised
    uint8_t delimited        # MDP: an empty frame came before the protocol frame (answer alike)
    uint8_t text             # PPP: READY or HEARTBEAT came as a word (answer alike)
    uint8_t token_sound      # the address was 16..32 hex digits of 64 bits; also of a bad message
    uint8_t error            # SAID_BAD: bad_t
    uint8_t worker           # MDP: the protocol frame was a worker's; else by said and side
    uint8_t worker_numbers   # MDP 0.2 REQUEST: numbered as to a worker (answer alike)
    uint64_t token           # only if token_sound
    uint32_t envelope        # REQUEST: leading frames up to the first empty one; 0 if there is none
    const uint8_t *service   # MDP REQUEST and READY; BAD_VERSION: the protocol frame
    uint32_t service_size    # bytes
    uint32_t body            # index of the first body frame
    uint32_t parts           # number of body frames; 0: an MDP REQUEST that has none, or an answer


cdef enum head_t:             # what a head begins: see dialect_head
    HEAD_TASK
    HEAD_ANSWER
    HEAD_PARTIAL
    HEAD_HEARTBEAT
    HEAD_DISCONNECT


# dialect_read recognises the message of `n` frames, the routing id not among them, that came in on
# `side`; fills *out and returns what was said (said_t).
cdef int dialect_read(
    const frame_t *frames, uint32_t n, uint8_t side, message_t *out
) noexcept nogil

# dialect_head fills `out` with the frames that go between [routing id, client envelope] and the
# body and returns how many; 0: an answer without a head, or the dialect has no such message.
# `hex16` holds the token's digits and must outlive the send. `variant` is `text` of a PPP worker,
# and `worker_numbers` of an MDP 0.2 client.
cdef uint32_t dialect_head(
    uint8_t dialect, uint8_t what, uint8_t delimited, uint8_t variant, uint64_t token,
    const uint8_t *service, uint32_t service_size, uint8_t *hex16, frame_t *out,
) noexcept nogil

# bad_text says a bad_t in words, for logs; a static string.
cdef const char *bad_text(int error) noexcept nogil
