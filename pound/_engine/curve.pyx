"""The key of a client or worker, in C (rules: curve.pxd)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset

from pound._zmq.libzmq cimport (
    ZMQ_CURVE_PUBLICKEY, ZMQ_CURVE_SECRETKEY, ZMQ_CURVE_SERVERKEY, zmq)
from .link cimport (
    DENIED_HANDSHAKE, DENIED_MECHANISM, DENIED_NOW, DENIED_RECORD)

cdef extern from *:
    """
    #include <string.h>

    /* wipe clears memory that is not read again: no compiler may leave it out. */
    static void wipe(void *at, size_t size)
    {
        volatile unsigned char *byte = (volatile unsigned char *)at;

        while (size--)
            *byte++ = 0;
    }
    """
    void wipe(void *at, size_t size) nogil


cdef int curve_configure(const curve_t *key, void *socket) noexcept nogil:
    if not key.used:
        return 0
    if zmq.setsockopt(socket, ZMQ_CURVE_SERVERKEY, key.broker, KEY_SIZE):
        return -1
    if zmq.setsockopt(socket, ZMQ_CURVE_PUBLICKEY, key.public, KEY_SIZE):
        return -1
    return zmq.setsockopt(socket, ZMQ_CURVE_SECRETKEY, key.secret, KEY_SIZE)


cdef void curve_wipe(curve_t *key) noexcept nogil:
    wipe(key, sizeof(curve_t))


cdef void curve_denial(
    char *to, size_t room, uint8_t denial, const char *endpoint, const curve_t *key,
    const char *said
) noexcept nogil:
    if denial == DENIED_RECORD:
        snprintf(to, room, b"the broker at %s says: %s", endpoint, said)
    elif denial == DENIED_NOW:
        snprintf(
            to, room, b"the broker at %s does not let %s in now: it may have as many connections "
            b"as it is allowed (connections_max)", endpoint, key.name)
    elif denial == DENIED_HANDSHAKE:
        snprintf(
            to, room, b"no handshake with the broker at %s succeeds, though it has room: its key "
            b"is not the one that the credential of %s has for it (`pound keys show` there prints "
            b"it), or it is another program", endpoint, key.name)
    elif denial == DENIED_MECHANISM and key.used:
        snprintf(
            to, room, b"the broker at %s listens without keys there: start it with `pound serve "
            b"--keys DIR`, or leave out the key of %s", endpoint, key.name)
    elif denial == DENIED_MECHANISM or not key.used:
        snprintf(
            to, room, b"the broker at %s lets nobody in without a key: give one (key=, --key FILE "
            b"or POUND_KEY); `pound keys add NAME` makes it, where the broker runs", endpoint)
    else:
        snprintf(
            to, room, b"the broker at %s does not accept the key of %s: it is unknown, revoked or "
            b"expired there, or has another role; compare with `pound keys list`, where the "
            b"broker runs", endpoint, key.name)


# --- with the GIL --------------------------------------------------------------------------

from zmq.utils import z85


cdef int copy(uint8_t *to, str key) except -1:
    cdef bytes raw = z85.decode(key)
    if len(raw) != KEY_SIZE:
        raise ValueError("a key has 32 bytes")
    memcpy(to, <const char *> raw, KEY_SIZE)
    return 0


cdef int curve_fill(curve_t *key, object credential) except -1:
    cdef bytes name = credential.name.encode()
    memset(key, 0, sizeof(curve_t))
    copy(key.broker, credential.broker)
    copy(key.public, credential.pair.public)
    copy(key.secret, credential.pair.secret)
    memcpy(key.name, <const char *> name, min(len(name), KEY_NAME_ROOM - 1))
    key.used = 1
    return 0
