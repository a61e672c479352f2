# Input: one ZeroMQ message at a time, from frames to calls of the dispatcher.
#
# A malformed message changes only counters, and its route's violations. In a sound packet a record
# with a wrong value is answered with an ERROR, and the other records act.
#
# Memory: b.incoming owns the frames. Attached bodies are moved out of it, small ones are copied.
# Frames without memory of their own stay there until the next message overwrites them.

from libc.stdint cimport uint8_t

from .state cimport broker_t

# A message of more frames than frames_max is read as far as the first of them, and the rest is
# dropped, some frames at a time: until it is over, nothing else comes by its socket.

# receive reads one message from a side's socket, or some more of one that is cut, and lets it act.
# 1: done; 0: there was none; -1: the context was terminated.
cdef int receive(broker_t *b, uint8_t side) noexcept nogil

# monitor_drain reads every event of a side's connections.
cdef void monitor_drain(broker_t *b, uint8_t side) noexcept nogil
