# The keys of a client's requests: random, and each used once.
#
# A key names a request to every broker that it may meet (docs/protocol.md), and anyone who knows it
# can take its answer: it comes from the system's random numbers, many by one call.
# Cost:   one call of the system for KEYS_BATCH requests.
# Memory: the keys that are left of the last call.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from pound._wire.packets cimport KEY_SIZE

cdef extern from "pound/_base/random.h" nogil:
    int random_fill(void *at, size_t size)

cdef enum:
    KEYS_BATCH = 256               # 4 KiB

cdef struct unused_keys_t:
    uint8_t all[KEYS_BATCH][KEY_SIZE]
    uint32_t left                  # the first so many are unused


cdef inline void keys_next(unused_keys_t *k, uint8_t *key) noexcept nogil:
    """keys_next draws a key.

    All 0, which is none, where the system gives no random numbers: the request does without what
    needs a key.
    """
    if k.left == 0:
        memset(key, 0, KEY_SIZE)
        if random_fill(&k.all[0][0], sizeof(k.all)):
            return
        k.left = KEYS_BATCH
    k.left -= 1
    memcpy(key, &k.all[k.left][0], KEY_SIZE)
