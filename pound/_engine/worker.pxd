# What Python sees of a worker's tasks: the engine with its handler threads, and the Task.

from libc.stdint cimport uint32_t, uint8_t

from .handle cimport Engine
from .mailbox cimport body_t
from .task cimport held_task_t
from .worker_state cimport worker_state_t

cdef enum:
    SERVICES_MAX = 64


cdef class WorkerEngine(Engine):
    cdef worker_state_t w
    cdef tuple handlers                  # by the place of their service
    cdef tuple names                     # of the services, as str
    cdef uint8_t wants[SERVICES_MAX]     # the handler wants the Task
    cdef bint share                      # large bodies are memoryviews
    cdef uint32_t threads                # ever made
    cdef set thread_ids                  # of those that run
    cdef bint drains                     # and the log says so
    cdef dict released                   # by service: when it was logged, how many since
    cdef int serve(self) except -1
    cdef int perform(self, held_task_t *task) except -1
    cdef int call(self, held_task_t *task) except -1
    cdef bint refuses_parts(self, held_task_t *task) except -1
    cdef int reply(self, held_task_t *task, object result) except -1
    cdef int failed(self, held_task_t *task, object error) except -1
    cdef int release(self, held_task_t *task, object error) except -1
    cdef int check_body(self, body_t *body) except -1
    cdef object handler_thread(self)
    cdef int spawn(self) except -1
    cdef Task handle_of(self, held_task_t *task)


cdef class Task:
    cdef WorkerEngine engine
    cdef held_task_t *task                    # counted
    cdef body_t request                       # what `parts` was not asked for yet
    cdef list split                           # the parts, once they were asked for
    cdef dict sent_meta                       # META
