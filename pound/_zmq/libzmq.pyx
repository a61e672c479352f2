"""The binding to libzmq: the very copy that pyzmq uses, never a second one.

A socket or message made by one copy of libzmq means nothing to another. So nothing is linked:
each function is looked up as the dynamic loader looked it up for pyzmq's own extension, in the
process's global scope first (a host program may have brought its own libzmq, and then pyzmq runs
on that one), then through pyzmq's extension and what it depends on.
"""

from importlib import import_module

import zmq as pyzmq

cdef extern from "pound/_zmq/libzmq.h" nogil:
    void *RTLD_DEFAULT
    int RTLD_LAZY
    int RTLD_NOLOAD
    void *dlopen(const char *path, int mode)
    void *dlsym(void *library, const char *name)

OLDEST = (4, 3, 4)           # of libzmq
OLDEST_PYZMQ = (26, 0)
NEWEST_TESTED = 27           # major version of pyzmq; a newer one is accepted if it can be bound
EXTENSION = "zmq.backend.cython._zmq"
REMEDY = f"pip install --force-reinstall 'pyzmq>={OLDEST_PYZMQ[0]},<{NEWEST_TESTED + 1}'"


def dotted(version: tuple) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


def refusal(reason: str) -> ImportError:
    """Return the error of a pyzmq that can't be bound: which one, why, and the remedy."""
    return ImportError(
        f"Pound cannot use pyzmq {pyzmq.pyzmq_version()}: {reason}; install one that Pound is "
        f"tested with, from a wheel: {REMEDY}"
    )


cdef void *find(void *extension, const char *name) except NULL:
    """The address of libzmq's function `name`. Raises ImportError when there is none."""
    cdef void *address = dlsym(RTLD_DEFAULT, name)
    if address == NULL:
        address = dlsym(extension, name)
    if address == NULL:
        raise refusal(f"its libzmq does not export {name.decode()}")
    return address


cdef void *open_extension() except NULL:
    """A handle of pyzmq's extension module, which has loaded libzmq. Raises ImportError."""
    cdef void *extension
    if pyzmq.pyzmq_version_info()[:2] < OLDEST_PYZMQ:
        raise refusal(f"it is older than {dotted(OLDEST_PYZMQ)}")
    try:
        path = import_module(EXTENSION).__file__
    except ImportError as error:
        raise refusal(f"it has no compiled module {EXTENSION}") from error
    extension = dlopen(path.encode(), RTLD_LAZY | RTLD_NOLOAD)
    if extension == NULL:
        raise refusal(f"its module {path} cannot be opened")
    return extension


cdef void fill() except *:
    """Fill the table of functions."""
    cdef void *extension = open_extension()
    zmq.version = <void (*)(int *, int *, int *) noexcept nogil> find(extension, b"zmq_version")
    zmq.errnum = <int (*)() noexcept nogil> find(extension, b"zmq_errno")
    zmq.msg_init = <int (*)(zmq_msg_t *) noexcept nogil> find(extension, b"zmq_msg_init")
    zmq.msg_init_size = <int (*)(zmq_msg_t *, size_t) noexcept nogil> find(
        extension, b"zmq_msg_init_size")
    zmq.msg_close = <int (*)(zmq_msg_t *) noexcept nogil> find(extension, b"zmq_msg_close")
    zmq.msg_move = <int (*)(zmq_msg_t *, zmq_msg_t *) noexcept nogil> find(
        extension, b"zmq_msg_move")
    zmq.msg_copy = <int (*)(zmq_msg_t *, zmq_msg_t *) noexcept nogil> find(
        extension, b"zmq_msg_copy")
    zmq.msg_data = <void *(*)(zmq_msg_t *) noexcept nogil> find(extension, b"zmq_msg_data")
    zmq.msg_size = <size_t (*)(const zmq_msg_t *) noexcept nogil> find(extension, b"zmq_msg_size")
    zmq.msg_more = <int (*)(const zmq_msg_t *) noexcept nogil> find(extension, b"zmq_msg_more")
    zmq.msg_get = <int (*)(const zmq_msg_t *, int) noexcept nogil> find(extension, b"zmq_msg_get")
    zmq.msg_gets = <const char *(*)(const zmq_msg_t *, const char *) noexcept nogil> find(
        extension, b"zmq_msg_gets")
    zmq.msg_recv = <int (*)(zmq_msg_t *, void *, int) noexcept nogil> find(
        extension, b"zmq_msg_recv")
    zmq.msg_send = <int (*)(zmq_msg_t *, void *, int) noexcept nogil> find(
        extension, b"zmq_msg_send")
    zmq.send = <int (*)(void *, const void *, size_t, int) noexcept nogil> find(
        extension, b"zmq_send")
    zmq.poll = <int (*)(zmq_pollitem_t *, int, long) noexcept nogil> find(extension, b"zmq_poll")
    fill_sockets(extension)


cdef void fill_sockets(void *extension) except *:
    """Fill in what only clients and workers call; the broker's sockets are made by pyzmq."""
    zmq.strerror = <const char *(*)(int) noexcept nogil> find(extension, b"zmq_strerror")
    zmq.socket = <void *(*)(void *, int) noexcept nogil> find(extension, b"zmq_socket")
    zmq.close = <int (*)(void *) noexcept nogil> find(extension, b"zmq_close")
    zmq.connect = <int (*)(void *, const char *) noexcept nogil> find(extension, b"zmq_connect")
    zmq.setsockopt = <int (*)(void *, int, const void *, size_t) noexcept nogil> find(
        extension, b"zmq_setsockopt")
    zmq.getsockopt = <int (*)(void *, int, void *, size_t *) noexcept nogil> find(
        extension, b"zmq_getsockopt")
    zmq.socket_monitor = <int (*)(void *, const char *, int) noexcept nogil> find(
        extension, b"zmq_socket_monitor")
    zmq.msg_init_data = <int (*)(
        zmq_msg_t *, void *, size_t, zmq_free_t, void *) noexcept nogil> find(
        extension, b"zmq_msg_init_data")


def version() -> tuple:
    """The version of the libzmq that is bound, as (major, minor, patch)."""
    cdef int major = 0, minor = 0, patch = 0
    zmq.version(&major, &minor, &patch)
    return major, minor, patch


def check_version(bound: tuple, reported: tuple) -> None:
    """Refuse a libzmq that pyzmq does not run on, or that is too old.

    Raises
    ------
    ImportError
        The two versions differ, or the bound one is older than `OLDEST`.
    """
    if bound != reported:
        raise ImportError(
            f"two copies of libzmq are loaded: pyzmq runs on {dotted(reported)}, the process also "
            f"offers {dotted(bound)}; load only one"
        )
    if bound < OLDEST:
        raise ImportError(
            f"libzmq {dotted(bound)} is older than {dotted(OLDEST)}, the oldest that Pound is "
            f"tested with; install a newer one with pyzmq: {REMEDY}"
        )


fill()
check_version(version(), pyzmq.zmq_version_info())
