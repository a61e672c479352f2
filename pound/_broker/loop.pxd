# The broker's loop. A turn reads what has come, lets the timers fire, and sends what follows.
#
# One thread runs it, without the GIL. Other threads give a command and read what is published,
# both without a lock.

from .state cimport broker_t

# loop_run turns until the loop has ended: by COMMAND_STOP, or by draining.
cdef void loop_run(broker_t *b) noexcept nogil
