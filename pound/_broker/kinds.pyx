"""What Python's names are derived from (names.py): the declarations of kinds.pxd and others."""

from pound._dispatch.model cimport REQ_END, counters_t
from pound._wire.codes cimport DIALECT_END, dialect_name
from pound.security.zap cimport ZAP_OTHER_BROKER, zap_reason_text
from .reasons cimport REFUSED_DRAINING, REFUSED_END, reason_of


def dispatcher_counters():
    """Return the names of the dispatcher's counters, in order."""
    cdef counters_t counters
    return tuple(dict(counters))


def dialects():
    """Return the names of the dialects, by number."""
    cdef int number
    return tuple([dialect_name(number).decode() for number in range(<int> DIALECT_END)])


def reasons():
    """Return why something is refused, in words: result → words."""
    cdef int result
    words = {}
    for result in range(<int> REFUSED_END):
        if result < <int> REQ_END or result >= <int> REFUSED_DRAINING:
            words[result] = reason_of(result).decode()
    return words


def zap_reasons():
    """Return why a connection is not let in, in words: zap_reason_t → words."""
    cdef int reason
    numbers = range(<int> ZAP_OTHER_BROKER + 1)
    return {reason: zap_reason_text(reason).decode() for reason in numbers}
