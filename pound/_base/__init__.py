"""Data structures and the platform: no domain terms.

May import the C library and `pound.errors`.

addresses    what an endpoint may look like
array        arrays that grow and begin at a cache line
atomics.h    counters, random numbers and lists that threads share without a lock
buffer       a growable run of bytes
check        the assertion of code that runs without the GIL
clock        nanoseconds, the same clock as `time.monotonic()`
freelist     free lists of small blocks of memory
heap         numbers ordered by a key
hints        prefetching, likely and unlikely branches
index        64-bit keys that mostly follow one another → numbers
libc_random  random state of our own for the making of sockets
links        intrusive lists
locks        mutexes and conditions
lru          numbers by a key that mostly rises
pool         numbered entities in an array, and their free list
random.h     random numbers of the system
seqlock      counters published to other threads without a lock
signals      signals act only in the process that installed their handlers
table        hash tables
threads      whether threads are the operating system's
unpicklable  objects that belong to one process say so
wake         how a thread waits and is woken
"""
