# The libzmq that pyzmq loaded: all foreign declarations, and the table of its functions.
#
# Invariant: `zmq` is filled when pound._zmq.libzmq is imported and never changes afterwards. The
# functions run without the GIL; a socket belongs to one thread at a time.

cdef extern from "pound/_zmq/libzmq.h" nogil:
    ctypedef struct zmq_msg_t:
        pass
    ctypedef struct zmq_pollitem_t:
        void *socket
        int fd
        short events
        short revents
    enum:
        ZMQ_PAIR
        ZMQ_DEALER
        ZMQ_FD
        ZMQ_EVENTS
        ZMQ_LINGER
        ZMQ_RECONNECT_IVL
        ZMQ_RECONNECT_IVL_MAX
        ZMQ_SNDHWM
        ZMQ_RCVHWM
        ZMQ_IPV6
        ZMQ_CURVE_PUBLICKEY
        ZMQ_CURVE_SECRETKEY
        ZMQ_CURVE_SERVERKEY
        ZMQ_POLLIN
        ZMQ_POLLOUT
        ZMQ_DONTWAIT
        ZMQ_SNDMORE
        ZMQ_SRCFD
        ZMQ_EVENT_CONNECT_RETRIED
        ZMQ_EVENT_ACCEPTED
        ZMQ_EVENT_DISCONNECTED
        ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
        ZMQ_EVENT_HANDSHAKE_SUCCEEDED
        ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
        ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
        ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
        ETERM

ctypedef void (*zmq_free_t)(void *data, void *hint) noexcept nogil

cdef struct zmq_t:
    void (*version)(int *major, int *minor, int *patch) noexcept nogil
    int (*errnum)() noexcept nogil
    int (*msg_init)(zmq_msg_t *msg) noexcept nogil
    int (*msg_init_size)(zmq_msg_t *msg, size_t size) noexcept nogil
    int (*msg_close)(zmq_msg_t *msg) noexcept nogil
    int (*msg_move)(zmq_msg_t *to, zmq_msg_t *source) noexcept nogil
    int (*msg_copy)(zmq_msg_t *to, zmq_msg_t *source) noexcept nogil
    void *(*msg_data)(zmq_msg_t *msg) noexcept nogil
    size_t (*msg_size)(const zmq_msg_t *msg) noexcept nogil
    int (*msg_more)(const zmq_msg_t *msg) noexcept nogil
    int (*msg_get)(const zmq_msg_t *msg, int property) noexcept nogil
    const char *(*msg_gets)(const zmq_msg_t *msg, const char *property) noexcept nogil
    int (*msg_recv)(zmq_msg_t *msg, void *socket, int flags) noexcept nogil
    int (*msg_send)(zmq_msg_t *msg, void *socket, int flags) noexcept nogil
    int (*send)(void *socket, const void *data, size_t size, int flags) noexcept nogil
    int (*poll)(zmq_pollitem_t *items, int n, long timeout_ms) noexcept nogil
    const char *(*strerror)(int number) noexcept nogil
    void *(*socket)(void *context, int type) noexcept nogil
    int (*close)(void *socket) noexcept nogil
    int (*connect)(void *socket, const char *endpoint) noexcept nogil
    int (*setsockopt)(void *socket, int option, const void *value, size_t size) noexcept nogil
    int (*getsockopt)(void *socket, int option, void *value, size_t *size) noexcept nogil
    int (*socket_monitor)(void *socket, const char *endpoint, int events) noexcept nogil
    # msg_init_data lends `data`; `release` is called once, by any thread, when nobody needs it
    int (*msg_init_data)(
        zmq_msg_t *msg, void *data, size_t size, zmq_free_t release, void *hint) noexcept nogil

cdef zmq_t zmq
