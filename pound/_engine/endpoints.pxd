# The endpoints of a client or worker: which one, and which address of its name, is in use.
#
# libzmq takes only the first address that a name resolves to, of the family that is set. So a
# name is tried as IPv4, then as IPv6, then at each of its addresses, as far as they are known; then
# comes the next endpoint. A name is resolved by whoever looks why no broker is reached, on a thread
# of its own (_reach): that may take seconds, and the engine's thread has deadlines to keep.
#
# Invariant: `address` is NULL or lies in the addresses of the endpoint in use.
# Memory:    everything is owned. `found` belongs to any thread, which takes or puts it whole; the
#            rest belongs to the engine's.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, strlen, strncmp

cdef extern from *:
    """
    #define found_swap(at, texts) __atomic_exchange_n(at, texts, __ATOMIC_ACQ_REL)
    """
    char *found_swap(char **at, char *texts) nogil

cdef struct endpoint_t:
    char *name                 # as it was given
    char *addresses            # an endpoint for each: texts that end with NUL, the last one empty
    char *found                # the same, not taken over yet
    uint8_t foreign            # as last looked at: it has keys and we have none, or vice versa
    uint32_t failures          # handshakes in a row that ended without a reason
    uint32_t roomy             # looks in a row since, of those that found room

cdef struct endpoints_t:
    endpoint_t *all
    uint32_t count
    uint32_t at                # the endpoint in use
    uint8_t six                # its name is tried as IPv6
    const char *address        # this address of it is tried; NULL: the name itself


# endpoints_init copies the endpoints: 0, or -1: no memory, and endpoints_free is to be called.
cdef inline int endpoints_init(
    endpoints_t *e, const char **names, uint32_t count
) noexcept nogil:
    cdef uint32_t i
    cdef size_t size
    e.all = <endpoint_t *>calloc(count, sizeof(endpoint_t))
    if e.all == NULL:
        return -1
    e.count = count
    for i in range(count):
        size = strlen(names[i]) + 1
        e.all[i].name = <char *>malloc(size)
        if e.all[i].name == NULL:
            return -1
        memcpy(e.all[i].name, names[i], size)
    return 0


cdef inline void endpoints_free(endpoints_t *e) noexcept nogil:
    cdef uint32_t i
    for i in range(e.count):
        free(e.all[i].name)
        free(e.all[i].addresses)
        free(e.all[i].found)
    free(e.all)
    e.all = NULL
    e.count = 0


# endpoints_found takes over the addresses of the name of endpoint `i`; any thread.
cdef inline void endpoints_found(endpoints_t *e, uint32_t i, char *texts) noexcept nogil:
    free(found_swap(&e.all[i].found, texts))


# endpoint_name is what is in use, as it was given.
cdef inline const char *endpoint_name(const endpoints_t *e) noexcept nogil:
    return e.all[e.at].name


# endpoint_target is where to connect to: an address, or the endpoint as it was given.
cdef inline const char *endpoint_target(const endpoints_t *e) noexcept nogil:
    return e.address if e.address != NULL else endpoint_name(e)


# is_inproc says that endpoint `i` is of this process: there is no connection that could be lost.
cdef inline bint is_inproc(const endpoints_t *e, uint32_t i) noexcept nogil:
    return strncmp(e.all[i].name, b"inproc:", 7) == 0


# endpoint_is_name tells whether the endpoint in use has a name, which may have several addresses.
cdef inline bint endpoint_is_name(const endpoints_t *e) noexcept nogil:
    cdef const char *at = endpoint_name(e)
    if strncmp(at, b"tcp://", 6) or at[6] == c"[":
        return 0
    at += 6
    while at[0] and at[0] != c":":
        if at[0] != c"." and not c"0" <= at[0] <= c"9":
            return 1
        at += 1
    return 0


# endpoint_address returns the address to try after the present one, or NULL. Those that were found
# meanwhile count from the first on.
cdef inline const char *endpoint_address(endpoints_t *e) noexcept nogil:
    cdef endpoint_t *endpoint = &e.all[e.at]
    cdef const char *next = NULL
    cdef char *found
    if e.address != NULL:
        next = e.address + strlen(e.address) + 1
    else:
        found = found_swap(&endpoint.found, NULL)
        if found != NULL:
            free(endpoint.addresses)
            endpoint.addresses = found
        next = endpoint.addresses
    return next if next != NULL and next[0] else NULL


# endpoints_turn chooses what is tried next: 1: another endpoint; 0: the same one, otherwise.
cdef inline bint endpoints_turn(endpoints_t *e) noexcept nogil:
    e.six = not e.six and e.address == NULL and endpoint_is_name(e)
    if e.six:
        return 0
    e.address = endpoint_address(e)
    if e.address != NULL:
        return 0
    e.at = (e.at + 1) % e.count
    return e.count > 1


# endpoints_first chooses the first endpoint, by its name.
cdef inline void endpoints_first(endpoints_t *e) noexcept nogil:
    e.six = 0
    e.address = NULL
    e.at = 0


# endpoints_next chooses the next endpoint, whatever addresses the name of this one has.
cdef inline void endpoints_next(endpoints_t *e) noexcept nogil:
    if e.count > 1:
        e.six = 0
        e.address = NULL
        e.at = (e.at + 1) % e.count
