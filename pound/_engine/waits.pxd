# What a client's requests wait for: the words of a timeout, and of a line in the log.
#
# A request without a deadline that waits longer than `log_after` gets its service a line, one in
# each `log_after` however many requests wait.
# Cost: a line costs O(requests).

from libc.stdint cimport int64_t

from .client_state cimport client_state_t
from .engine cimport engine_t
from .requests cimport client_request_t

cdef enum:
    SENTENCE = 960                 # bytes of a sentence for a person; endpoints may be long

# waits_for writes what the request waits for.
cdef void waits_for(
    char *to, size_t room, engine_t *e, const client_request_t *request, int64_t now
) noexcept nogil
# waits_log logs for which services requests have begun to wait long.
cdef void waits_log(client_state_t *a, engine_t *e, int64_t now) noexcept nogil
