/* guide_queue: a least recently used queue of the Guide's kind (chapters 3 and 4), written plainly
 * on libzmq: poll, receive one message, the list of ready workers, send. Clients are read only
 * while a worker is ready. Workers are Paranoid Pirate workers: READY, answers, heartbeats.
 *
 * It has what the Guide's programs have and a bit less to do: no expiry and no search in the list
 * of workers, so that what is measured is one message at a time through libzmq.
 *
 * Prints "guide_queue: ready frontend=URL backend=URL".
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum {
    IDENTITY_MAX = 32,
    WORKERS_MAX = 1 << 16, /* ready ones in the ring; a power of two */
    URL_MAX = 256,
};

struct identity {
    size_t size;
    uint8_t bytes[IDENTITY_MAX];
};

static struct {
    struct identity ring[WORKERS_MAX]; /* least recently used first */
    uint32_t first, last;
} ready;

static void check(bool fine, const char *what) {
    if (fine)
        return;
    fprintf(stderr, "guide_queue: %s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(1);
}

static void *open_router(void *context, char *url) {
    void *socket = zmq_socket(context, ZMQ_ROUTER);
    size_t size = URL_MAX;
    int unlimited = 0;
    check(socket != NULL, "socket");
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    check(zmq_bind(socket, "tcp://127.0.0.1:*") == 0, "bind");
    check(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, url, &size) == 0, "endpoint");
    return socket;
}

/* receive_identity takes the first frame of a message. */
static struct identity receive_identity(void *socket) {
    struct identity identity;
    int size = zmq_recv(socket, identity.bytes, IDENTITY_MAX, 0);
    check(size >= 0 && size <= IDENTITY_MAX, "identity");
    identity.size = (size_t)size;
    return identity;
}

/* relay sends `frame` and all frames of the message that follow it. */
static void relay(void *from, void *to, zmq_msg_t *frame) {
    for (;;) {
        int more = zmq_msg_more(frame);
        check(zmq_msg_send(frame, to, more ? ZMQ_SNDMORE : 0) >= 0, "send");
        if (!more)
            return;
        check(zmq_msg_recv(frame, from, 0) >= 0, "receive");
    }
}

/* A worker's message is READY or HEARTBEAT, one frame, or an answer that begins with the client. */
static void from_worker(void *backend, void *frontend) {
    zmq_msg_t frame;
    struct identity worker = receive_identity(backend);
    zmq_msg_init(&frame);
    check(zmq_msg_recv(&frame, backend, 0) >= 0, "receive");
    bool answer = zmq_msg_more(&frame);
    bool heartbeat = !answer && zmq_msg_size(&frame) == 1 && *(char *)zmq_msg_data(&frame) == 2;
    if (!heartbeat)
        ready.ring[ready.last++ % WORKERS_MAX] = worker;
    if (answer)
        relay(backend, frontend, &frame);
    zmq_msg_close(&frame);
}

static void from_client(void *frontend, void *backend) {
    zmq_msg_t frame;
    const struct identity *worker = &ready.ring[ready.first++ % WORKERS_MAX];
    zmq_msg_init(&frame);
    check(zmq_msg_recv(&frame, frontend, 0) >= 0, "receive");
    check(zmq_send(backend, worker->bytes, worker->size, ZMQ_SNDMORE) >= 0, "send");
    relay(frontend, backend, &frame);
    zmq_msg_close(&frame);
}

int main(void) {
    char frontend_url[URL_MAX], backend_url[URL_MAX];
    void *context = zmq_ctx_new();
    check(context != NULL, "context");
    zmq_ctx_set(context, ZMQ_MAX_SOCKETS, 16384);
    void *frontend = open_router(context, frontend_url);
    void *backend = open_router(context, backend_url);
    printf("guide_queue: ready frontend=%s backend=%s\n", frontend_url, backend_url);
    fflush(stdout);
    for (;;) {
        zmq_pollitem_t items[] = {{backend, 0, ZMQ_POLLIN, 0}, {frontend, 0, ZMQ_POLLIN, 0}};
        check(zmq_poll(items, ready.first == ready.last ? 1 : 2, -1) >= 0, "poll");
        if (items[0].revents & ZMQ_POLLIN)
            from_worker(backend, frontend);
        if (items[1].revents & ZMQ_POLLIN && ready.first != ready.last)
            from_client(frontend, backend);
    }
}
