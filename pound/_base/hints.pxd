# Hints that change nothing but speed.
#
# With thousands of requests open, what a step touches next lies in no near cache, and one load from
# memory takes as long as the rest of the step. So code that knows the next address calls `fetch`
# one step ahead; any address is allowed. `likely` and `unlikely` mark branches that go one way
# under any load, except for growth, collisions and lack of memory: the compiler moves the rare path
# away and inlines nothing into it, which keeps the common path short.

cdef extern from *:
    """
    #ifdef __GNUC__
    #define POUND_EXPECT(condition, value) __builtin_expect(condition, value)
    #define POUND_FETCH(address) __builtin_prefetch(address)
    #else
    #define POUND_EXPECT(condition, value) (condition)
    #define POUND_FETCH(address) ((void) (address))
    #endif
    #define POUND_LIKELY(condition) POUND_EXPECT(!!(condition), 1)
    #define POUND_UNLIKELY(condition) POUND_EXPECT(!!(condition), 0)
    """
    void fetch "POUND_FETCH" (const void *at) nogil
    bint likely "POUND_LIKELY" (bint condition) nogil
    bint unlikely "POUND_UNLIKELY" (bint condition) nogil
