# What peers say: one ZeroMQ message at a time, from frames to calls of the dispatcher.
#
# A message of broken form changes nothing but counters (and its route's violations); a sound record
# with a wrong value is answered with an ERROR and the others act. Message frames are owned by
# b.incoming.frames; attached bodies are moved out of it, small ones copied. Frames that have no
# memory of their own stay there until the next message overwrites them.

from libc.stdint cimport uint8_t

from .state cimport broker_t

# A message of more frames than frames_max is read as far as the first of them, and the rest is
# dropped, some frames at a time: until it is over, nothing else comes by its socket.

# receive reads one message from a side's socket, or some more of one that is cut, and lets it act.
# 1: done; 0: there was none; -1: the context was terminated.
cdef int receive(broker_t *b, uint8_t side) noexcept nogil

# monitor_drain reads every event of a side's connections.
cdef void monitor_drain(broker_t *b, uint8_t side) noexcept nogil
