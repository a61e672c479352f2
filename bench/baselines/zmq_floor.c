/* zmq_floor: the least that a broker on libzmq can cost. Two ROUTER sockets, one loop, libzmq's one
 * I/O thread; it relays PND/1 (docs/protocol.md) with Pound's choice of worker: each request goes
 * to the worker that was sent a task longest ago and has credit; what finds none waits in order.
 * What lies between it and floor.c is libzmq's price; between Pound and it, Pound's.
 *
 * A turn is that of Pound's loop: poll libzmq's own descriptors, let its thread hand over what it is
 * reading, read a bounded batch of each socket, send each touched peer all its records in one
 * packet. A record is copied into its peer's packet as it came, with a new id and kind in place;
 * one that must wait is copied once more. libzmq copies the packet when it is sent.
 *
 * Nothing else: no answers deferred, no services, priorities, deadlines, cancelling; no timers, no
 * liveness, no retries, no answers kept for a repeated request. It believes what it is told, except
 * where that would crash it. A worker that leaves keeps its credit and what it held is lost. Bodies
 * are inline: one that came attached, as those of 4 KiB and more do, is refused by ERROR 12.
 * MESSAGE_MAX bounds a message; libzmq closes the connection of a larger one.
 *
 * Prints "zmq_floor: ready frontend=URL backend=URL".
 */
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/random.h>
#include <time.h>
#include <zmq.h>

#include "bytes.h"
#include "pnd.h"

enum {
    BATCH_MESSAGES = 256,      /* of one socket in a turn */
    WORTH_A_YIELD = 4,         /* messages and records of the last turn */
    YIELDS_MAX = 16,
    YIELDS_NS = 5000000,       /* they take less, unless somebody else computes */
    YIELD_PAUSE_MIN_NS = 2000000,
    YIELD_PAUSE_MAX_NS = 1000000000,
    REQUESTS_MAX = 1 << 20,    /* open at once */
    MESSAGE_MAX = 1 << 20,
    BODY_MAX = 4095,           /* the largest that PND's own ends send inline */
    URL_MAX = 256,
    NONE = -1,
};

/* libzmq names a connection by a zero and a number that it counts up: the low 16 bits of it are
 * the peer's place in a table, until 65,536 more connections have come. */
enum { ROUTE_SIZE = 5, PEERS_MAX = 1 << 16 };

struct peer {
    struct side *side;
    uint8_t route[ROUTE_SIZE]; /* libzmq's name of its connection */
    bool dirty;                /* on the list of those to send to */
    bool listed;               /* a worker with credit: in the line */
    uint32_t capacity;         /* 0 = a client */
    uint32_t held;             /* tasks without an answer */
    uint64_t sent_seq;         /* when it was sent a task last */
    struct peer *before;       /* in the line: was sent one longer ago */
    struct peer *after;
    struct peer *next_dirty;
    struct bytes packet;       /* empty, or with records */
};

struct request {
    struct peer *client;
    struct peer *worker;       /* who has it; NULL = nobody */
    uint64_t id;               /* the client's */
    struct bytes record;       /* while it waits; kept for the next request in this place */
    int64_t next;              /* waiting behind it, or free */
};

struct side {
    void *socket;
    int fd;                    /* libzmq's own, readable when a notice came in */
    bool readable;             /* not read to EAGAIN since the last notice or send */
    struct peer *peers[PEERS_MAX];
};

static struct {
    struct side frontend, backend;
    struct peer *first, *last; /* the line of workers with credit, by sent_seq */
    struct request requests[REQUESTS_MAX]; /* the index is the task's token */
    int64_t requests_n;        /* that were ever in use */
    int64_t free;              /* those that are no more */
    int64_t waiting, waiting_last;
    uint64_t sent_seq;
    struct peer *dirty;
    uint32_t crowd;            /* messages and records of the last turn */
    int64_t yield_pause_ns, yield_from_ns;
    struct packet header;      /* of every packet, but for the number of records */
} the = {.free = NONE, .waiting = NONE, .waiting_last = NONE};

static void check(bool fine, const char *what) {
    if (fine)
        return;
    fprintf(stderr, "zmq_floor: %s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(1);
}

static const struct welcome welcome = {
    {sizeof welcome, WELCOME, 0, 0, 0}, 1000, 5, BODY_MAX, MESSAGE_MAX, 1024, REQUESTS_MAX, 0,
};

static const struct {
    struct error error;
    char text[26];
} WIRE refusal = {
    {{sizeof refusal, ERROR, 0, 1, 0}, UNIMPLEMENTED, 0, 0, sizeof refusal.text},
    "only inline bodies come by",
};

/* --- packets */

/* packet_send sends a peer what there is. The ROUTER drops it if the connection is gone. */
static void packet_send(struct peer *peer) {
    zmq_send(peer->side->socket, peer->route, ROUTE_SIZE, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(peer->side->socket, peer->packet.data, peer->packet.size, ZMQ_DONTWAIT);
    peer->side->readable = true; /* sending may take a notice in, unseen by poll */
    peer->packet.size = 0;
}

static void packet_begin(struct peer *peer) {
    bytes_put(&peer->packet, &the.header, sizeof the.header);
    if (peer->dirty)
        return;
    peer->dirty = true;
    peer->next_dirty = the.dirty;
    the.dirty = peer;
}

/* put_copy returns the copy of a record in the peer's packet, with another id. */
static struct record *put_copy(struct peer *peer, const struct record *record, uint64_t id) {
    struct bytes *packet = &peer->packet;
    bool full = packet->size && (packet->size + record->size > MESSAGE_MAX ||
                                 ((struct packet *)packet->data)->records == RECORDS_MAX);
    if (full)
        packet_send(peer);
    if (!packet->size)
        packet_begin(peer);
    struct record *copy = (struct record *)bytes_reserve(packet, record->size);
    memcpy(copy, record, record->size);
    copy->id = id;
    packet->size += record->size;
    ((struct packet *)packet->data)->records++;
    return copy;
}

/* --- the line of workers with credit */

/* line_join puts a worker in its place by sent_seq; near the end, as a rule. */
static void line_join(struct peer *worker) {
    struct peer *before = the.last;
    while (before && before->sent_seq > worker->sent_seq)
        before = before->before;
    worker->before = before;
    worker->after = before ? before->after : the.first;
    *(before ? &before->after : &the.first) = worker;
    *(worker->after ? &worker->after->before : &the.last) = worker;
    worker->listed = true;
}

static void line_leave(struct peer *worker) {
    *(worker->before ? &worker->before->after : &the.first) = worker->after;
    *(worker->after ? &worker->after->before : &the.last) = worker->before;
    worker->listed = false;
}

/* --- requests */

/* request_new returns the index of a request that is not in use. */
static int64_t request_new(void) {
    int64_t token = the.free;
    check(token != NONE || the.requests_n < REQUESTS_MAX, "too many requests");
    if (token == NONE)
        return the.requests_n++;
    the.free = the.requests[token].next;
    return token;
}

static void request_wait(int64_t token, const struct record *record) {
    struct request *request = &the.requests[token];
    request->record.size = 0;
    bytes_put(&request->record, record, record->size);
    request->next = NONE;
    *(the.waiting == NONE ? &the.waiting : &the.requests[the.waiting_last].next) = token;
    the.waiting_last = token;
}

/* --- relaying */

/* send_task gives a request to the first in the line, which must not be empty. */
static void send_task(int64_t token, const struct record *record) {
    struct peer *worker = the.first;
    struct task *task = (struct task *)put_copy(worker, record, (uint64_t)token);
    task->record.kind = TASK;
    task->record.flags &= (uint8_t)~RETRY;
    task->attempt = 1;
    the.requests[token].worker = worker;
    line_leave(worker);
    worker->sent_seq = ++the.sent_seq;
    if (++worker->held < worker->capacity)
        line_join(worker);
}

/* dispatch sends what waits for as long as a worker has credit: then none has, or nothing waits. */
static void dispatch(void) {
    while (the.waiting != NONE && the.first) {
        struct request *request = &the.requests[the.waiting];
        send_task(the.waiting, (struct record *)request->record.data);
        the.waiting = request->next;
    }
}

static void on_request(struct peer *client, const struct record *record) {
    if (record->size < sizeof(struct task) || record->flags & ATTACHED) {
        put_copy(client, &refusal.error.record, record->id);
        return;
    }
    int64_t token = request_new();
    the.requests[token].client = client;
    the.requests[token].id = record->id;
    if (the.first)
        send_task(token, record);
    else
        request_wait(token, record);
}

/* on_answer is the end of a request, by REPLY or ERROR of the worker that has it. */
static void on_answer(struct peer *worker, const struct record *record) {
    uint64_t token = record->id;
    if (token >= REQUESTS_MAX || the.requests[token].worker != worker)
        return;
    struct request *request = &the.requests[token];
    bool attached = record->flags & ATTACHED;
    put_copy(request->client, attached ? &refusal.error.record : record, request->id);
    request->worker = NULL;
    request->next = the.free;
    the.free = (int64_t)token;
    if (--worker->held < worker->capacity && !worker->listed)
        line_join(worker);
    dispatch();
}

static void on_ready(struct peer *worker, const struct ready *ready) {
    if (ready->record.size < sizeof *ready)
        return;
    worker->capacity = ready->capacity;
    if (worker->listed)
        line_leave(worker);
    if (worker->held < worker->capacity)
        line_join(worker);
    dispatch();
}

static void on_record(struct peer *peer, const struct record *record) {
    if (record->kind == REQUEST)
        on_request(peer, record);
    else if (record->kind == REPLY || record->kind == ERROR)
        on_answer(peer, record);
    else if (record->kind == READY)
        on_ready(peer, (const struct ready *)record);
    else if (record->kind == HEARTBEAT && !peer->capacity)
        put_copy(peer, record, 0); /* a client asks whether it is heard */
}

/* on_packet lets the records act, up to the first that does not fit. */
static void on_packet(struct peer *peer, const uint8_t *data, size_t size) {
    const struct packet *packet = (const struct packet *)data;
    if (size < sizeof *packet || memcmp(packet, &the.header, MAGIC_SIZE) != 0)
        return;
    size_t at = sizeof *packet;
    for (uint32_t left = packet->records; left; left--) {
        const struct record *record = (const struct record *)(data + at);
        if (size - at < sizeof *record || record->size < sizeof *record || record->size > size - at)
            return;
        on_record(peer, record);
        at += record->size;
        the.crowd++;
    }
}

/* --- the turn */

/* peer_of returns the peer behind a route; one that is new is welcomed. Its struct stays when
 * another takes its place: a request may still name its client. */
static struct peer *peer_of(struct side *side, const uint8_t *route) {
    struct peer **place = &side->peers[route[ROUTE_SIZE - 2] << 8 | route[ROUTE_SIZE - 1]];
    if (!*place || memcmp((*place)->route, route, ROUTE_SIZE) != 0) {
        *place = must(calloc(1, sizeof **place));
        (*place)->side = side;
        memcpy((*place)->route, route, ROUTE_SIZE);
        put_copy(*place, &welcome.record, 0);
    }
    return *place;
}

/* receive reads one message; false: there was none. */
static bool receive(struct side *side, zmq_msg_t *route, zmq_msg_t *frame) {
    if (zmq_msg_recv(route, side->socket, ZMQ_DONTWAIT) < 0)
        return false;
    check(zmq_msg_recv(frame, side->socket, ZMQ_DONTWAIT) >= 0, "receive");
    if (zmq_msg_size(route) == ROUTE_SIZE)
        on_packet(peer_of(side, zmq_msg_data(route)), zmq_msg_data(frame), zmq_msg_size(frame));
    while (zmq_msg_more(frame))
        check(zmq_msg_recv(frame, side->socket, ZMQ_DONTWAIT) >= 0, "receive");
    return true;
}

static void read_batch(struct side *side, zmq_msg_t frames[2]) {
    for (int i = 0; side->readable && i < BATCH_MESSAGES; i++) {
        side->readable = receive(side, &frames[0], &frames[1]);
        the.crowd += side->readable;
    }
}

/* wait_input waits until a socket can be read, or looks again at one that was sent by. */
static void wait_input(void) {
    struct pollfd fds[] = {{the.frontend.fd, POLLIN, 0}, {the.backend.fd, POLLIN, 0}};
    poll(fds, 2, the.frontend.readable || the.backend.readable ? 0 : -1);
    the.frontend.readable |= fds[0].revents != 0;
    the.backend.readable |= fds[1].revents != 0;
}

static int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* gather lets libzmq's thread hand over all that it is reading, under load: it wakes the loop for
 * the first of many messages, and what is read together leaves together. Yields that take longer
 * than the load needs gave the core to somebody else's computation: then there are none for a
 * while, which doubles each time, and falls by an eighth each time that they are in time. */
static void gather(void) {
    uint32_t yields = the.crowd / WORTH_A_YIELD;
    if (yields > YIELDS_MAX)
        yields = YIELDS_MAX;
    int64_t begun_ns = clock_ns(), now_ns = begun_ns;
    if (!yields || begun_ns < the.yield_from_ns)
        return;
    for (; yields && now_ns - begun_ns <= YIELDS_NS; yields--) {
        sched_yield();
        now_ns = clock_ns();
    }
    if (now_ns - begun_ns > YIELDS_NS) {
        the.yield_pause_ns *= 2;
        if (the.yield_pause_ns < YIELD_PAUSE_MIN_NS)
            the.yield_pause_ns = YIELD_PAUSE_MIN_NS;
        if (the.yield_pause_ns > YIELD_PAUSE_MAX_NS)
            the.yield_pause_ns = YIELD_PAUSE_MAX_NS;
        the.yield_from_ns = now_ns + the.yield_pause_ns;
    } else {
        the.yield_pause_ns -= the.yield_pause_ns / 8;
    }
}

static void flush(void) {
    for (struct peer *peer = the.dirty; peer; peer = peer->next_dirty) {
        peer->dirty = false;
        if (peer->packet.size)
            packet_send(peer);
    }
    the.dirty = NULL;
}

/* --- the program */

static void open_side(void *context, struct side *side, char *url) {
    int unlimited = 0;
    int64_t message_max = MESSAGE_MAX;
    size_t fd_size = sizeof side->fd, url_size = URL_MAX;
    side->socket = zmq_socket(context, ZMQ_ROUTER);
    check(side->socket != NULL, "socket");
    zmq_setsockopt(side->socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(side->socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(side->socket, ZMQ_MAXMSGSIZE, &message_max, sizeof message_max);
    check(zmq_bind(side->socket, "tcp://127.0.0.1:*") == 0, "bind");
    check(zmq_getsockopt(side->socket, ZMQ_LAST_ENDPOINT, url, &url_size) == 0, "endpoint");
    check(zmq_getsockopt(side->socket, ZMQ_FD, &side->fd, &fd_size) == 0, "descriptor");
    side->readable = true;
}

int main(void) {
    char frontend_url[URL_MAX], backend_url[URL_MAX];
    zmq_msg_t frames[2];
    void *context = zmq_ctx_new();
    check(context != NULL, "context");
    open_side(context, &the.frontend, frontend_url);
    open_side(context, &the.backend, backend_url);
    memcpy(the.header.magic, "PND\1", MAGIC_SIZE);
    check(getrandom(the.header.epoch, EPOCH_SIZE, 0) == EPOCH_SIZE, "random");
    zmq_msg_init(&frames[0]);
    zmq_msg_init(&frames[1]);
    printf("zmq_floor: ready frontend=%s backend=%s\n", frontend_url, backend_url);
    fflush(stdout);
    for (;;) {
        wait_input();
        gather();
        the.crowd = 0;
        read_batch(&the.backend, frames);
        read_batch(&the.frontend, frames);
        flush();
    }
}
