# The broker's loop. A turn reads the input, fires the timers and sends the output.
#
# One thread runs it, without the GIL. Other threads give a command and read the published counters,
# both without a lock.

from .state cimport broker_t

# loop_run turns until the loop has ended: by COMMAND_STOP, or by draining.
cdef void loop_run(broker_t *b) noexcept nogil
