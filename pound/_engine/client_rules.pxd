# A client's rules: a request from its submission to its one answer.
#
# client_init fills the engine's table of functions (rules_t); afterwards commands bring work in:
# run_submit opens the requests of a submit_t, run_cancel ends those of a cancel_t, run_look has the
# CREDIT of a look_t's stream sent, run_leave sends BYE and has the engine finish.

from libc.stdint cimport uint64_t

from .client_state cimport client_state_t
from .engine cimport engine_command_t, engine_t, rules_t

cdef void run_submit(engine_t *e, engine_command_t *command) noexcept nogil
cdef void run_cancel(engine_t *e, engine_command_t *command) noexcept nogil
cdef void run_look(engine_t *e, engine_command_t *command) noexcept nogil
cdef void run_leave(engine_t *e, engine_command_t *command) noexcept nogil

# client_init makes a state with no limits and no label yet, and fills `rules`.
cdef void client_init(client_state_t *a, rules_t *rules) noexcept nogil
cdef void client_free(client_state_t *a) noexcept nogil
# client_live counts the requests of this process that have not ended.
cdef uint64_t client_live() noexcept nogil
