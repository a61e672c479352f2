/* What the parts of the load generator share: a run, its peers, and what a dialect must give.
 *
 * One thread owns everything. A turn: epoll_wait, the clock once, one read for each readable
 * connection and all messages in it, then one write for each connection that has something to
 * say. So requests and answers that are ready in the same turn travel in one system call.
 *
 * Latency counts from the start of the turn that made the request to the start of the turn that
 * read its answer: the generator's own work before the write is in it, on the pessimistic side.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "body.h"
#include "curve.h"
#include "histogram.h"
#include "window.h"
#include "work.h"
#include "zmtp.h"

struct run;
struct peer;

enum role { CLIENT, WORKER };

enum phase {
    PHASE_OPENING,   /* peers connect and announce themselves */
    PHASE_WARMING,   /* requests flow, nothing is measured */
    PHASE_MEASURING,
    PHASE_ENDING,    /* no new requests; the open ones are waited for */
};

/* One protocol, both its ends. `take` eats what it can from the bytes received and returns how
 * much; it calls what else the dialect is made of. Unset functions are not needed. */
struct dialect {
    const char *name;
    const char *about;
    bool zmtp;                                           /* else framing of its own */
    size_t (*take)(struct peer *, const uint8_t *, size_t);
    void (*message)(struct peer *, struct message *);    /* ZMTP: one message arrived */
    void (*open)(struct peer *);                         /* connected: introduce yourself */
    void (*request)(struct peer *, uint64_t id);         /* append one request */
    void (*reply)(struct peer *, uint64_t token, uint64_t tag); /* append a worker's answer */
    void (*seal)(struct peer *);                         /* finish what is being built, if `own` */
    void (*beat)(struct peer *);                         /* every BEAT_NS */
    void (*close)(struct peer *);
};

struct options {
    const struct dialect *dialect;
    const char *frontend;      /* host:port that clients connect to */
    const char *backend;       /* host:port that workers connect to */
    uint32_t clients;
    uint32_t outstanding;      /* requests that each client keeps open */
    uint32_t light;            /* the first of the clients, which keep one open each */
    uint32_t workers;
    uint32_t capacity;         /* tasks that a worker holds at once */
    uint32_t work_us;          /* how long a worker takes for a task, in the mean; 0: no time */
    size_t bytes;              /* of each body */
    uint32_t warm_up_ms;
    uint32_t duration_ms;
    int subject_pid;           /* whose CPU time is taken; 0 = nobody's */
    bool distribution;         /* print the latency histogram too */
    bool fill_first;           /* the windows are filled before a worker comes */
    bool connects;             /* clients do nothing but come and go, and that is counted */
    const char *curve;         /* file of the keys; NULL: nothing is encrypted */
    const char *sodium;        /* file of libsodium */
};

enum peer_state { PEER_CONNECTING, PEER_GREETING, PEER_SHAKING, PEER_OPEN };

struct peer {
    struct run *run;
    int fd;
    uint32_t number;           /* within its role */
    enum role role;
    enum peer_state state;
    bool ready;                /* the dialect's introduction is over */
    bool dirty;                /* is on the run's list of peers to write to */
    bool blocked;              /* the kernel took no more: EPOLLOUT is armed */
    size_t need;               /* bytes that make the message at the front whole, if known */
    struct bytes in;           /* the start of a message whose rest has not come */
    struct out out;            /* what a dialect says */
    struct curve *curve;       /* or NULL */
    struct bytes plain;        /* CURVE: what was decrypted, and is no whole message */
    struct out sealed;         /* CURVE: the same, encrypted */
    struct window window;      /* of a client */
    uint64_t heard_ns;         /* when bytes last came in */
    uint64_t spoke_ns;         /* when bytes last went out */
    uint64_t came_ns;          /* when it began to connect */
    void *own;                 /* the dialect's */
};

struct run {
    const struct options *options;
    const struct dialect *dialect;
    struct body body;
    struct curve_keys keys;
    int epoll;
    enum phase phase;
    struct peer *peers;        /* workers first */
    uint32_t peers_n;
    uint32_t ready_n;          /* peers whose introduction is over */
    struct peer **dirty;       /* to write to at the end of the turn */
    uint32_t dirty_n;
    struct bytes scratch;      /* what one read brought */
    uint64_t now_ns;           /* of this turn */
    uint64_t beat_ns;          /* when the next beat is due */
    uint64_t open;             /* requests without an answer, of all clients */
    uint64_t answers;          /* in all, warm-up and end included */
    uint64_t errors;
    char first_error[160];
    struct histogram latency;  /* of the answers in the measured time */
    struct histogram light;    /* of those to light clients */
    struct work work;          /* what workers are at, when a task takes time */
    uint64_t reads;            /* system calls of this program, in the measured time */
    uint64_t writes;
    uint64_t messages;         /* ZMTP messages that came in then; of the floor, none */
};

enum {
    MS_NS = 1000000,
    BEAT_NS = 100 * MS_NS,
    SERVICE_SIZE = 4,
};

static const char SERVICE[SERVICE_SIZE + 1] = "echo"; /* for dialects that must name one */

extern const struct dialect plain_dialect, proxy_dialect, mdp1_dialect, pnd_dialect, floor_dialect;
extern const struct dialect nats_dialect, gearman_dialect, redis_dialect, amqp_dialect;

/* --- what dialects call (load.c) */

/* run_error counts what a correct subject never does; the first one is kept in words. */
void run_error(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* peer_dirty puts the peer on the list of those that are written to when the turn ends. */
void peer_dirty(struct peer *peer);

/* peer_ready says that the peer's introduction is over. */
void peer_ready(struct peer *peer);

/* peer_answered takes a final answer to a request; the client sends the next. */
void peer_answered(struct peer *client, uint64_t id, const uint8_t *body, size_t size);

/* peer_works takes a task: the worker answers it now, or when its time is over. */
void peer_works(struct peer *worker, uint64_t token, uint64_t tag);

/* peer_tag returns the tag of a request's body: the client and the id. */
static inline uint64_t peer_tag(const struct peer *client, uint64_t id) {
    return (uint64_t)client->number << 40 | id;
}

/* id_of_tag returns the id in a tag; for dialects whose answers carry no id of their own. */
static inline uint64_t id_of_tag(uint64_t tag) { return tag & (((uint64_t)1 << 40) - 1); }

#endif
