# Hints that change nothing but the time that code takes.
#
# With thousands of requests open, what a step is about to touch lies in no near cache, and a load
# that waits for memory costs as much as all the rest of the step. So who knows what comes next says
# `fetch` one step ahead; any address will do. `likely` and `unlikely` say which way a branch goes
# but for growth, collisions and want of memory, whatever the load: what follows the rare way is
# compiled apart, and the functions called there are not inlined, so that the other way is short.

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
