/* floor: the least that a broker on TCP can cost. One epoll thread relays length-prefixed
 * messages (floor.h) with the same rules as Pound's: each request goes to the worker that was sent
 * a task longest ago and has credit; what finds no worker waits in order. No ZeroMQ, no timers, no
 * retries; a peer that closes takes what it held with it.
 *
 * One read and at most one write per connection and turn, so peers get what is ready in one piece.
 * A request is copied once in, when it arrives, and once out, into the bytes for its worker.
 *
 * Prints "floor: ready frontend=tcp://HOST:PORT backend=tcp://HOST:PORT", both the same port.
 */
#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"

enum {
    EVENTS_MAX = 1024,
    READ_SIZE = 256 * 1024,
    MESSAGE_MAX = 256 << 20,
    NONE = -1,
};

struct peer {
    int fd;
    bool greeted;
    bool dirty;            /* on the list of peers to write to */
    bool blocked;          /* EPOLLOUT is armed */
    bool listed;           /* a worker with credit: in the line */
    uint32_t capacity;     /* 0 = a client */
    uint32_t held;         /* tasks without an answer */
    uint64_t sent_seq;     /* when it was sent a task last */
    struct peer *before;   /* in the line: was sent one longer ago */
    struct peer *after;
    struct bytes in;       /* the start of a message */
    struct bytes out;
    size_t out_sent;       /* of out: already with the kernel */
};

struct request {
    struct peer *client;
    uint64_t id;           /* the client's */
    struct bytes body;     /* kept for the next request in this place */
    int64_t next;          /* waiting behind it, or free */
};

static struct {
    int epoll;
    struct peer *first, *last;   /* the line of workers with credit, by sent_seq */
    struct request *requests;    /* the index is the task's token */
    int64_t requests_n;
    int64_t free;                /* requests not in use */
    int64_t waiting, waiting_last;
    uint64_t sent_seq;
    struct peer **dirty;
    size_t dirty_n, dirty_room;
    struct bytes scratch;
} the = {.free = NONE, .waiting = NONE, .waiting_last = NONE};

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
    if (the.free == NONE) {
        int64_t n = the.requests_n ? 2 * the.requests_n : 1024;
        the.requests = must(realloc(the.requests, (size_t)n * sizeof *the.requests));
        for (int64_t i = n - 1; i >= the.requests_n; i--) {
            the.requests[i] = (struct request){.next = the.free};
            the.free = i;
        }
        the.requests_n = n;
    }
    int64_t token = the.free;
    the.free = the.requests[token].next;
    return token;
}

static void request_free(int64_t token) {
    the.requests[token].next = the.free;
    the.free = token;
}

static void request_wait(int64_t token) {
    the.requests[token].next = NONE;
    *(the.waiting == NONE ? &the.waiting : &the.requests[the.waiting_last].next) = token;
    the.waiting_last = token;
}

/* --- relaying */

static void make_dirty(struct peer *peer) {
    if (peer->dirty)
        return;
    if (the.dirty_n == the.dirty_room) {
        the.dirty_room = the.dirty_room ? 2 * the.dirty_room : 64;
        the.dirty = must(realloc(the.dirty, the.dirty_room * sizeof(struct peer *)));
    }
    peer->dirty = true;
    the.dirty[the.dirty_n++] = peer;
}

static void put_message(struct peer *peer, uint64_t id, const uint8_t *body, size_t size) {
    bytes_reserve(&peer->out, FLOOR_HEAD_SIZE + size);
    put_u32(&peer->out, (uint32_t)(FLOOR_ID_SIZE + size));
    put_u64(&peer->out, id);
    bytes_put(&peer->out, body, size);
    make_dirty(peer);
}

/* dispatch sends what waits for as long as a worker has credit. */
static void dispatch(void) {
    while (the.waiting != NONE && the.first) {
        struct request *request = &the.requests[the.waiting];
        struct peer *worker = the.first;
        put_message(worker, (uint64_t)the.waiting, request->body.data, request->body.size);
        the.waiting = request->next;
        line_leave(worker);
        worker->sent_seq = ++the.sent_seq;
        if (++worker->held < worker->capacity)
            line_join(worker);
    }
}

static void on_request(struct peer *client, uint64_t id, const uint8_t *body, size_t size) {
    int64_t token = request_new();
    struct request *request = &the.requests[token];
    request->client = client;
    request->id = id;
    request->body.size = 0;
    bytes_put(&request->body, body, size);
    request_wait(token);
    dispatch();
}

static void on_answer(struct peer *worker, uint64_t token, const uint8_t *body, size_t size) {
    struct request *request = &the.requests[token];
    put_message(request->client, request->id, body, size);
    request_free((int64_t)token);
    worker->held--;
    if (!worker->listed)
        line_join(worker);
    dispatch();
}

/* --- connections */

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(struct peer *peer, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (epoll_ctl(the.epoll, operation, peer->fd, &event) < 0)
        fail("epoll_ctl");
}

/* drop closes a connection. The struct stays: a request may still name its client. */
static void drop(struct peer *peer) {
    if (peer->listed)
        line_leave(peer);
    close(peer->fd);
    peer->fd = -1;
    bytes_free(&peer->in);
    bytes_free(&peer->out);
}

static size_t take_hello(struct peer *peer, const uint8_t *data, size_t size) {
    if (size < FLOOR_HELLO_SIZE)
        return 0;
    peer->greeted = true;
    peer->capacity = get_u32(data);
    if (peer->capacity)
        line_join(peer);
    dispatch();
    return FLOOR_HELLO_SIZE;
}

/* take eats whole messages and returns how many bytes that were. */
static size_t take(struct peer *peer, const uint8_t *data, size_t size) {
    size_t at = peer->greeted ? 0 : take_hello(peer, data, size);
    while (peer->greeted && size - at >= FLOOR_HEAD_SIZE) {
        size_t whole = FLOOR_SIZE_SIZE + (size_t)get_u32(data + at);
        uint64_t id = get_u64(data + at + FLOOR_SIZE_SIZE);
        const uint8_t *body = data + at + FLOOR_HEAD_SIZE;
        bool sound = whole >= FLOOR_HEAD_SIZE && whole <= MESSAGE_MAX &&
                     (!peer->capacity || id < (uint64_t)the.requests_n);
        if (!sound) {
            drop(peer);
            return size;
        }
        if (size - at < whole)
            break;
        (peer->capacity ? on_answer : on_request)(peer, id, body, whole - FLOOR_HEAD_SIZE);
        at += whole;
    }
    return at;
}

static void peer_read(struct peer *peer) {
    struct bytes *in = &peer->in;
    bool direct = in->size == 0; /* nothing kept: the shared bytes do */
    struct bytes *into = direct ? &the.scratch : in;
    if (!direct)
        bytes_reserve(in, READ_SIZE);
    ssize_t got = read(peer->fd, into->data + into->size, into->room - into->size);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        drop(peer);
        return;
    }
    size_t size = into->size + (size_t)got, taken = take(peer, into->data, size);
    if (peer->fd < 0)
        return;
    if (direct) {
        bytes_put(in, into->data + taken, size - taken);
    } else {
        in->size = size;
        bytes_drop(in, taken);
    }
}

static void peer_write(struct peer *peer) {
    struct bytes *out = &peer->out;
    ssize_t sent = write(peer->fd, out->data + peer->out_sent, out->size - peer->out_sent);
    if (sent < 0 && errno != EAGAIN) {
        drop(peer);
        return;
    }
    peer->out_sent += sent > 0 ? (size_t)sent : 0;
    bool blocked = peer->out_sent < out->size;
    if (!blocked)
        out->size = peer->out_sent = 0;
    if (blocked != peer->blocked)
        watch(peer, EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    peer->blocked = blocked;
}

static void flush(void) {
    for (size_t i = 0; i < the.dirty_n; i++) {
        struct peer *peer = the.dirty[i];
        peer->dirty = false;
        if (peer->fd >= 0)
            peer_write(peer);
    }
    the.dirty_n = 0;
}

static void accept_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *peer = must(calloc(1, sizeof *peer));
        peer->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(peer, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* --- the program */

static int open_listener(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 1024) < 0)
        fail("listen");
    getsockname(fd, (struct sockaddr *)&address, &size);
    unsigned port = ntohs(address.sin_port);
    printf("floor: ready frontend=tcp://127.0.0.1:%u backend=tcp://127.0.0.1:%u\n", port, port);
    fflush(stdout);
    return fd;
}

static void turn(int listener) {
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(the.epoll, events, EVENTS_MAX, -1);
    for (int i = 0; i < n; i++) {
        struct peer *peer = events[i].data.ptr;
        if (!peer) {
            accept_all(listener);
            continue;
        }
        if (peer->fd >= 0 && events[i].events & EPOLLOUT)
            make_dirty(peer);
        if (peer->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT)
            peer_read(peer);
    }
    flush();
}

int main(void) {
    struct epoll_event event = {.events = EPOLLIN};
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    the.epoll = epoll_create1(EPOLL_CLOEXEC);
    bytes_reserve(&the.scratch, READ_SIZE);
    int listener = open_listener();
    if (epoll_ctl(the.epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        fail("epoll_ctl");
    for (;;)
        turn(listener);
}
