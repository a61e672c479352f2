# PND/1's error codes and the dialects' numbers and names: all that other rooms need to know of
# bytes without reading any.
#
# Holds:     constants and one name for each; docs/protocol.md and docs/dialects.md explain them.
#            Python's classes of errors (pound/errors.py) have the same codes: a test compares.

from libc.stdint cimport uint8_t

cdef enum code_t:
    CODE_CANCELLED = 1
    CODE_UNKNOWN = 2             # the handler failed
    CODE_INVALID_ARGUMENT = 3
    CODE_DEADLINE_EXCEEDED = 4
    CODE_NOT_FOUND = 5           # no such service
    CODE_PERMISSION_DENIED = 7
    CODE_RESOURCE_EXHAUSTED = 8  # busy: again after retry_after_ms
    CODE_ABORTED = 10            # attempts used up
    CODE_UNIMPLEMENTED = 12
    CODE_INTERNAL = 13
    CODE_UNAVAILABLE = 14        # release: the worker gives the task back
    CODE_DATA_LOSS = 15
    CODE_UNAUTHENTICATED = 16

cdef enum dialect_t:
    DIALECT_NONE = 0             # not recognised
    DIALECT_PND
    DIALECT_PLAIN                # client behind an empty frame, or REQ worker
    DIALECT_BARE                 # client without any empty frame
    DIALECT_PPP
    DIALECT_MDP1                 # MDP 0.1
    DIALECT_MDP2                 # MDP 0.2
    DIALECT_END                  # one above the last


# dialect_name names a dialect_t as logs, pages and docs do; a static string.
cdef inline const char *dialect_name(uint8_t dialect) noexcept nogil:
    if dialect == DIALECT_PND:
        return b"pnd"
    elif dialect == DIALECT_PLAIN:
        return b"plain"
    elif dialect == DIALECT_BARE:
        return b"bare"
    elif dialect == DIALECT_PPP:
        return b"ppp"
    elif dialect == DIALECT_MDP1:
        return b"mdp1"
    return b"mdp2" if dialect == DIALECT_MDP2 else b"none"
