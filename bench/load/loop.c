#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 1024,
    WAIT_NS = 10 * MS_NS,
    READ_SIZE = 256 * 1024, /* of one read into the scratch bytes */
    TAIL_READ = 64 * 1024,  /* at least, of one read behind the start of a message */
};

uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void run_error(struct run *run, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (!run->errors++)
        vsnprintf(run->first_error, sizeof run->first_error, format, arguments);
    va_end(arguments);
}

void peer_dirty(struct peer *peer) {
    if (peer->dirty)
        return;
    peer->dirty = true;
    peer->run->dirty[peer->run->dirty_n++] = peer;
}

void peer_ready(struct peer *peer) {
    struct run *run = peer->run;
    if (peer->ready)
        return;
    peer->ready = true;
    run->ready_n++;
    if (run->options->connects && run->phase == PHASE_MEASURING) {
        run->answers++;
        histogram_add(&run->latency, run->now_ns - peer->came_ns);
    }
}

/* peer_seal finishes what the dialect is building, so that other bytes may follow it. */
static void peer_seal(struct peer *peer) {
    if (peer->own && peer->run->dialect->seal)
        peer->run->dialect->seal(peer);
}

/* --- requests and answers */

/* window_most returns how many requests a client keeps open. */
static uint32_t window_most(const struct peer *client) {
    const struct options *o = client->run->options;
    return client->number < o->light ? 1 : o->outstanding;
}

void peer_fill(struct peer *client) {
    struct run *run = client->run;
    while (client->window.open < window_most(client)) {
        uint64_t id = window_open(&client->window, run->now_ns);
        if (!id)
            break;
        run->open++;
        run->dialect->request(client, id);
        peer_dirty(client);
    }
}

void peer_answered(struct peer *client, uint64_t id, const uint8_t *body, size_t size) {
    struct run *run = client->run;
    uint64_t tag, sent_ns;
    if (!body_sound(&run->body, body, size, &tag) || tag != peer_tag(client, id)) {
        run_error(run, "client %u got a body that it did not send", client->number);
        return;
    }
    sent_ns = window_close(&client->window, id);
    if (!sent_ns) {
        run_error(run, "client %u got a second answer to %llu", client->number,
                  (unsigned long long)id);
        return;
    }
    run->open--;
    run->answers++;
    if (run->phase == PHASE_MEASURING) {
        histogram_add(&run->latency, run->now_ns - sent_ns);
        if (client->number < run->options->light)
            histogram_add(&run->light, run->now_ns - sent_ns);
    }
    if (run->phase != PHASE_ENDING)
        peer_fill(client);
}

/* --- tasks */

void peer_works(struct peer *worker, uint64_t token, uint64_t tag) {
    struct run *run = worker->run;
    uint64_t mean_ns = run->options->work_us * (uint64_t)1000;
    if (!mean_ns) {
        run->dialect->reply(worker, token, tag);
        return;
    }
    uint64_t due_ns = run->now_ns + work_ns(&run->work, mean_ns);
    work_add(&run->work, (struct piece){due_ns, worker, token, tag});
}

/* run_work answers what is finished. */
static void run_work(struct run *run) {
    while (run->work.n && run->work.pieces[0].due_ns <= run->now_ns) {
        struct piece done = work_take(&run->work);
        if (done.worker->fd >= 0)
            run->dialect->reply(done.worker, done.token, done.tag);
    }
}

/* wait_ns returns how long the turn may wait for something to happen. */
static uint64_t wait_ns(const struct run *run) {
    uint64_t now_ns;
    if (!run->work.n)
        return WAIT_NS;
    now_ns = clock_ns();
    if (run->work.pieces[0].due_ns <= now_ns)
        return 0;
    uint64_t left_ns = run->work.pieces[0].due_ns - now_ns;
    return left_ns < WAIT_NS ? left_ns : WAIT_NS;
}

/* --- reading */

static void peer_lost(struct peer *peer, const char *why) {
    static const char *const roles[] = {"client", "worker"};
    run_error(peer->run, "%s %u: %s", roles[peer->role], peer->number, why);
    close(peer->fd);
    peer->fd = -1;
}

/* take_command eats a command of the handshake; the last one opens the connection. */
static void take_command(struct peer *peer, const struct frame *command) {
    bool open = command->size > 5 && memcmp(command->data, "\5READY", 6) == 0;
    if (peer->curve) {
        enum curve_step step = curve_command(peer->curve, command, &peer->sealed.bytes);
        open = step == CURVE_OPEN;
        peer_dirty(peer);
        if (step == CURVE_GOES_ON)
            return;
    }
    if (!open) {
        peer_lost(peer, "no READY");
        return;
    }
    peer->state = PEER_OPEN;
    peer->run->dialect->open(peer);
}

/* take_handshake eats the greeting and the commands of the other end, until it is open. */
static size_t take_handshake(struct peer *peer, const uint8_t *data, size_t size) {
    if (peer->state == PEER_GREETING) {
        if (size < ZMTP_GREETING_SIZE)
            return 0;
        if (!(peer->curve ? curve_greeting_sound : zmtp_greeting_sound)(data)) {
            peer_lost(peer, "not a ZMTP 3 greeting of the mechanism");
            return 0;
        }
        if (peer->curve)
            curve_put_hello(peer->curve, &peer->sealed.bytes);
        else
            zmtp_put_ready(&peer->out.bytes);
        peer_dirty(peer);
        peer->state = PEER_SHAKING;
        return ZMTP_GREETING_SIZE;
    }
    struct message m;
    ptrdiff_t taken = zmtp_message(data, size, &m);
    if (taken == ZMTP_INCOMPLETE)
        return 0;
    if (taken < 0 || !m.command) {
        peer_lost(peer, "no command of the handshake");
        return 0;
    }
    take_command(peer, &m.frames[0]);
    return (size_t)taken;
}

/* take_messages eats whole messages; what a dialect's `take` does, for all that speak ZMTP. */
static size_t take_messages(struct peer *peer, const uint8_t *data, size_t size) {
    size_t at = 0;
    struct message m;
    while (at < size && peer->fd >= 0) {
        if (peer->state != PEER_OPEN) {
            size_t taken = take_handshake(peer, data + at, size - at);
            if (!taken)
                break;
            at += taken;
            continue;
        }
        ptrdiff_t taken = zmtp_message(data + at, size - at, &m);
        if (taken == ZMTP_BROKEN)
            peer_lost(peer, "broken ZMTP framing");
        peer->need = m.need;
        if (taken <= 0)
            break;
        at += (size_t)taken;
        if (!m.command) {
            peer->run->messages++;
            peer->run->dialect->message(peer, &m);
        } else {
            peer_seal(peer);
            zmtp_put_pong(&peer->out.bytes, &m.frames[0]);
            peer_dirty(peer);
        }
    }
    return at;
}

/* take_sealed eats whole encrypted frames, and then the messages that they are. */
static size_t take_sealed(struct peer *peer, const uint8_t *data, size_t size) {
    size_t at = 0;
    while (peer->state != PEER_OPEN && peer->fd >= 0 && at < size) {
        size_t taken = take_handshake(peer, data + at, size - at);
        if (!taken)
            return at;
        at += taken;
    }
    if (peer->fd < 0)
        return size;
    ptrdiff_t taken = curve_unwrap(peer->curve, data + at, size - at, &peer->plain);
    if (taken < 0) {
        peer_lost(peer, "a message that can't be decrypted");
        return size;
    }
    bytes_drop(&peer->plain, take_messages(peer, peer->plain.data, peer->plain.size));
    peer->need = 0; /* of the encrypted bytes nothing is known */
    return at + (size_t)taken;
}

static size_t take(struct peer *peer, const uint8_t *data, size_t size) {
    if (peer->curve)
        return take_sealed(peer, data, size);
    if (peer->run->dialect->zmtp)
        return take_messages(peer, data, size);
    return peer->run->dialect->take(peer, data, size);
}

/* read_scratch reads into the run's bytes and keeps what is left of a message. */
static ssize_t read_scratch(struct peer *peer) {
    struct bytes *scratch = &peer->run->scratch;
    ssize_t got = read(peer->fd, scratch->data, scratch->room);
    if (got > 0) {
        size_t taken = take(peer, scratch->data, (size_t)got);
        bytes_put(&peer->in, scratch->data + taken, (size_t)got - taken);
    }
    return got;
}

/* read_behind reads behind the start of a message that came before. */
static ssize_t read_behind(struct peer *peer) {
    struct bytes *in = &peer->in;
    size_t missing = peer->need > in->size ? peer->need - in->size : 0;
    bytes_reserve(in, missing > TAIL_READ ? missing : TAIL_READ);
    ssize_t got = read(peer->fd, in->data + in->size, in->room - in->size);
    if (got > 0) {
        in->size += (size_t)got;
        if (in->size >= peer->need)
            bytes_drop(in, take(peer, in->data, in->size));
    }
    return got;
}

static void peer_read(struct peer *peer) {
    ssize_t got = peer->in.size ? read_behind(peer) : read_scratch(peer);
    peer->run->reads++;
    if (got > 0)
        peer->heard_ns = peer->run->now_ns;
    else if (got == 0)
        peer_lost(peer, "the other end closed the connection");
    else if (errno != EAGAIN)
        peer_lost(peer, strerror(errno));
}

/* --- writing */

static void watch(struct peer *peer, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (epoll_ctl(peer->run->epoll, operation, peer->fd, &event) < 0)
        peer_lost(peer, strerror(errno));
}

static void peer_write(struct peer *peer) {
    struct run *run = peer->run;
    struct out *out = peer->curve ? &peer->sealed : &peer->out;
    peer_seal(peer);
    if (peer->curve && peer->state == PEER_OPEN)
        curve_wrap(peer->curve, &peer->out.bytes, &peer->sealed.bytes);
    if (out_empty(out))
        return;
    enum out_state state = out_write(out, peer->fd, &run->body.tail);
    peer->spoke_ns = run->now_ns;
    run->writes++;
    if (state == OUT_FAILED) {
        peer_lost(peer, strerror(errno));
        return;
    }
    bool blocked = state == OUT_BLOCKED;
    if (blocked != peer->blocked)
        watch(peer, EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    peer->blocked = blocked;
}

void run_flush(struct run *run) {
    for (uint32_t i = 0; i < run->dirty_n; i++) {
        struct peer *peer = run->dirty[i];
        peer->dirty = false;
        if (peer->fd >= 0)
            peer_write(peer);
    }
    run->dirty_n = 0;
}

/* --- connections */

static int open_socket(const char *endpoint) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(endpoint, ':');
    snprintf(host, sizeof host, "%.*s", (int)(colon - endpoint), endpoint);
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || inet_pton(AF_INET, host, &address.sin_addr) != 1)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        return -1;
    return fd;
}

void run_connect(struct run *run, struct peer *peer) {
    peer->fd = open_socket(peer->role == CLIENT ? run->options->frontend : run->options->backend);
    peer->came_ns = clock_ns();
    if (peer->fd < 0)
        peer_lost(peer, strerror(errno));
    else
        watch(peer, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

/* peer_connected says hello once the connection stands. */
static void peer_connected(struct peer *peer) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        peer_lost(peer, strerror(error));
        return;
    }
    watch(peer, EPOLL_CTL_MOD, EPOLLIN);
    peer->heard_ns = peer->spoke_ns = peer->run->now_ns;
    if (peer->run->dialect->zmtp) {
        peer->state = PEER_GREETING;
        if (peer->run->options->curve) {
            peer->curve = curve_new(&peer->run->keys);
            curve_put_greeting(&peer->sealed.bytes);
        } else {
            zmtp_put_greeting(&peer->out.bytes);
        }
    } else {
        peer->state = PEER_OPEN;
        peer->run->dialect->open(peer);
    }
    peer_dirty(peer);
}

void peer_close(struct peer *peer) {
    if (peer->run->dialect->close)
        peer->run->dialect->close(peer);
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
    peer->own = NULL;
    curve_free(peer->curve);
    peer->curve = NULL;
    bytes_free(&peer->in);
    bytes_free(&peer->plain);
    out_free(&peer->out);
    out_free(&peer->sealed);
}

void peer_free(struct peer *peer) {
    peer_close(peer);
    free(peer->window.sent_ns);
}

/* run_renew has the clients that came in go and come again: see --connects. */
static void run_renew(struct run *run) {
    for (uint32_t i = run->options->workers; i < run->peers_n; i++) {
        struct peer *peer = &run->peers[i];
        if (!peer->ready)
            continue;
        peer_close(peer);
        peer->state = PEER_CONNECTING;
        peer->ready = peer->blocked = false;
        peer->need = 0;
        run->ready_n--;
        run_connect(run, peer);
    }
}

/* --- the turn */

static void peer_event(struct peer *peer, uint32_t events) {
    if (peer->fd < 0)
        return;
    if (peer->state == PEER_CONNECTING) {
        peer_connected(peer);
        return;
    }
    if (events & EPOLLOUT)
        peer_dirty(peer);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        peer_read(peer);
}

static void run_beat(struct run *run) {
    if (run->now_ns < run->beat_ns || !run->dialect->beat)
        return;
    run->beat_ns = run->now_ns + BEAT_NS;
    for (uint32_t i = 0; i < run->peers_n; i++)
        if (run->peers[i].state == PEER_OPEN && run->peers[i].fd >= 0)
            run->dialect->beat(&run->peers[i]);
}

void run_turn(struct run *run) {
    struct epoll_event events[EVENTS_MAX];
    if (!run->scratch.room)
        bytes_reserve(&run->scratch, READ_SIZE);
    struct timespec wait = {.tv_nsec = (long)wait_ns(run)};
    int n = epoll_pwait2(run->epoll, events, EVENTS_MAX, &wait, NULL);
    run->now_ns = clock_ns();
    run_work(run);
    for (int i = 0; i < n; i++)
        peer_event(events[i].data.ptr, events[i].events);
    run_beat(run);
    run_flush(run);
    if (run->options->connects && (run->phase == PHASE_WARMING || run->phase == PHASE_MEASURING))
        run_renew(run);
}
