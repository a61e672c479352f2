# Clients that never read: their answers are dropped before memory_max refuses any request.
#
# Each client has its bound (undelivered_bytes_max), but many that never read have as many bounds,
# most of it in libzmq's pipes. Once a quarter of memory_max waits unread, reading is watched. While
# half of memory_max is held, clients that have read nothing for as long as a worker may be silent
# (heartbeat and liveness) lose all that they have not read, largest first, until less is held.
# Their connections are cut: nothing else empties a pipe.
#
# A client that reads, however slowly, loses nothing: bytes that its system acknowledges, or that
# leave its pipe, are seen. Little is seen of peers without a connection that can be watched
# (sweep.pxd): they have client_grace. A pause of the broker's own counts against nobody.
#
# Cost: nothing while less than a quarter is unread; else O(peers), and a system call for each
#       client with something unread, in LOOK_AGAIN_NS.

from libc.stdint cimport uint64_t

from .state cimport broker_t

# unread_drop looks at the clients if it is time, `held` bytes being held in all; true: some lost
# what they had not read.
cdef int unread_drop(broker_t *b, uint64_t held) noexcept nogil
