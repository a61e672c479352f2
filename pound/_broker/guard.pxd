# The broker's guard: who is let in. A broker without keys has none.
#
# libzmq asks about each connection that is being made, by ZAP, and the loop answers (the rules are
# those of pound.security.zap). Other threads hand over the table of keys, and the loop takes it.
#
# What libzmq refuses by itself is not asked about: whoever has no key, or another broker's. Its
# monitor says so, and right after that which connection ended.
#
# Invariant: each request is answered, in the turn in which it is read: one without an answer would
#            end all later handshakes. `rules.table` is `table`, the one in use.
# Cost:      a turn without keys: one comparison. A request: O(1), its verdict included.
# Memory:    the guard owns its tables; the loop's thread frees the one that a new one replaces.

from libc.stdint cimport int64_t, uint8_t, uint32_t

from pound.security.table cimport keytable_t
from .state cimport broker_t, guard_t

# guard_new makes a guard and takes `table`, from malloc; NULL: no memory, and nothing was taken.
cdef guard_t *guard_new(keytable_t *table, uint32_t salt) noexcept nogil
cdef void guard_free(guard_t *guard) noexcept nogil

# guard_listener adds a listener; its number is the one in its ZAP domain, "pound/N". -1: too many.
cdef int guard_listener(
    guard_t *guard, bint curve, uint8_t roles, uint8_t dialects) noexcept nogil

# guard_give hands over a table, from any thread; one that was not taken yet is freed.
cdef void guard_give(guard_t *guard, keytable_t *table) noexcept nogil

# guard_accepted notes where a new connection comes from, guard_failed why one will end, and
# guard_closed logs it. With several I/O threads of libzmq's it may be another's address.
cdef void guard_accepted(broker_t *b, uint8_t side, int fd) noexcept nogil
cdef void guard_failed(broker_t *b, uint8_t side, uint32_t error) noexcept nogil
cdef void guard_closed(broker_t *b, uint8_t side, int fd) noexcept nogil

# guard_turn takes a new table, looks at who may stay if a key has expired, and answers libzmq.
cdef void guard_turn(broker_t *b) noexcept nogil

# guard_test answers libzmq for a moment, before the loop runs; nothing is logged or counted.
cdef void guard_test(broker_t *b, int wait_ms) noexcept nogil

# guard_wait returns for how long, in ns, guard_turn has nothing to do unless something comes.
cdef int64_t guard_wait(const guard_t *guard) noexcept nogil
