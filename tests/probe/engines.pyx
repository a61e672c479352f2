# A hand on the engine of a client or a worker, for tests only.

from pound._engine.engine cimport engine_command_t, engine_post, engine_t
from pound._engine.handle cimport Engine
from pound._engine.link cimport FAR, link_wants_home

cdef extern from "pythread.h" nogil:
    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock(PyThread_type_lock lock, int wait)
    void PyThread_release_lock(PyThread_type_lock lock)

cdef struct stand_t:
    engine_command_t command
    PyThread_type_lock told    # released when the engine's thread stands, and when it goes on
    PyThread_type_lock goes    # locked until it may go on


cdef void stand(engine_t *engine, engine_command_t *command) noexcept nogil:
    cdef stand_t *asked = <stand_t *>command
    PyThread_release_lock(asked.told)
    PyThread_acquire_lock(asked.goes, 1)
    PyThread_release_lock(asked.told)


cdef class Held:
    """While entered, an engine's thread stands still: what is done meanwhile is one turn's work."""

    cdef Engine engine
    cdef stand_t stand

    def __cinit__(self, Engine engine not None):
        self.engine = engine
        self.stand.command.run = stand
        self.stand.told = PyThread_allocate_lock()
        self.stand.goes = PyThread_allocate_lock()
        PyThread_acquire_lock(self.stand.told, 1)
        PyThread_acquire_lock(self.stand.goes, 1)

    def __dealloc__(self):
        PyThread_free_lock(self.stand.told)
        PyThread_free_lock(self.stand.goes)

    def __enter__(self):
        if engine_post(&self.engine.e, &self.stand.command) < 0:
            raise RuntimeError("the engine has ended")
        with nogil:
            PyThread_acquire_lock(self.stand.told, 1)

    def __exit__(self, *error):
        PyThread_release_lock(self.stand.goes)
        with nogil:  # the command is the engine's until it has gone on
            PyThread_acquire_lock(self.stand.told, 1)


def monitor_fd(Engine engine not None):
    """The descriptor that is readable when the engine has not read all of its socket's monitor."""
    return engine.e.socket.monitor_fd


def wants_home(Engine engine not None):
    """Whether looks have found the preferred broker serving."""
    return bool(link_wants_home(&engine.e.link))


def is_away(Engine engine not None):
    """Whether another broker than the preferred one has welcomed it."""
    return engine.e.link.home.look_at != FAR
