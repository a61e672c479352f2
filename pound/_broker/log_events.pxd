# Events of the broker, put for the logging thread: what each is about, and how often it is said.
#
# Cost: O(1), and one copy of the texts (log_queue.pxd has the rates).

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from .state cimport broker_t, peer_t

# log_event puts an event of a kind about a peer (NULL: none), unless the same was put a moment ago.
# events.py says what `text`, `number` and `other` mean for each kind.
cdef void log_event(
    broker_t *b, uint8_t kind, peer_t *peer, const uint8_t *text, size_t size,
    int64_t number, int64_t other) noexcept nogil

# log_refused puts an event about a connection that was not let in: the key that it showed as text,
# whose that is (or NO_IDENTITY), its address, and the reason.
cdef void log_refused(
    broker_t *b, const uint8_t *key, size_t key_size, uint32_t identity, const uint8_t *address,
    size_t address_size, uint8_t reason) noexcept nogil

# log_reason gives the hash of the reason of a bad message, without what the peer chose of it.
cdef uint64_t log_reason(const uint8_t *text, size_t size) noexcept nogil
