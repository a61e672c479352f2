/* Gearman's binary protocol: clients submit foreground jobs, workers grab them one at a time.
 *
 * A worker that is told NO_JOB sleeps (PRE_SLEEP) until NOOP; with its answer it asks for the
 * next job in the same write. A WORK_COMPLETE names a handle that the server made; the tag in the
 * body tells which request it answers.
 */
#include "load.h"
#include "network.h"

enum {
    HEAD_SIZE = 12,
    KIND_AT = 4,
    SIZE_AT = 8,
};

enum kind {
    CAN_DO = 1,
    PRE_SLEEP = 4,
    NOOP = 6,
    SUBMIT_JOB = 7,
    JOB_CREATED = 8,
    GRAB_JOB = 9,
    NO_JOB = 10,
    JOB_ASSIGN = 11,
    WORK_COMPLETE = 13,
    ECHO_REQ = 16,
    ECHO_RES = 17,
};

/* put_head starts a packet of `size` bytes behind the head. */
static void put_head(struct peer *peer, uint32_t kind, size_t size) {
    struct bytes *out = &peer->out.bytes;
    bytes_put(out, "\0REQ", KIND_AT);
    put_be32(out, kind);
    put_be32(out, (uint32_t)size);
    peer_dirty(peer);
}

static void gearman_open(struct peer *peer) {
    if (peer->role == WORKER) {
        put_head(peer, CAN_DO, SERVICE_SIZE);
        bytes_put(&peer->out.bytes, SERVICE, SERVICE_SIZE);
    }
    put_head(peer, ECHO_REQ, 0);
}

static void gearman_request(struct peer *client, uint64_t id) {
    struct bytes *out = &client->out.bytes;
    put_head(client, SUBMIT_JOB, SERVICE_SIZE + 2 + client->run->body.size);
    bytes_put(out, SERVICE, SERVICE_SIZE + 1);
    put_u8(out, 0); /* no id that would join equal jobs */
    body_put(&client->run->body, &client->out, peer_tag(client, id));
}

/* field returns what stands before the next zero, and moves `rest` behind it. */
static struct frame field(struct frame *rest) {
    const uint8_t *zero = memchr(rest->data, 0, rest->size);
    struct frame found = {rest->data, zero ? (size_t)(zero - rest->data) : rest->size};
    size_t passed = zero ? found.size + 1 : found.size;
    *rest = (struct frame){rest->data + passed, rest->size - passed};
    return found;
}

static void take_job(struct peer *worker, struct frame rest) {
    struct bytes *out = &worker->out.bytes;
    struct frame handle = field(&rest), name = field(&rest);
    if (!frame_is(&name, SERVICE, SERVICE_SIZE))
        run_error(worker->run, "a job of another function");
    put_head(worker, WORK_COMPLETE, handle.size + 1 + rest.size);
    bytes_put(out, handle.data, handle.size);
    put_u8(out, 0);
    if (!body_echo(&worker->run->body, &worker->out, rest.data, rest.size))
        run_error(worker->run, "a job whose body is not what was sent");
    put_head(worker, GRAB_JOB, 0);
}

static void take_answer(struct peer *client, struct frame rest) {
    field(&rest);
    if (rest.size < BODY_TAG_SIZE)
        run_error(client->run, "an answer of %zu bytes", rest.size);
    else
        peer_answered(client, id_of_tag(get_u64(rest.data)), rest.data, rest.size);
}

static void take_packet(struct peer *peer, uint32_t kind, struct frame rest) {
    switch (kind) {
    case JOB_ASSIGN:
        take_job(peer, rest);
        break;
    case WORK_COMPLETE:
        take_answer(peer, rest);
        break;
    case NO_JOB:
        put_head(peer, PRE_SLEEP, 0);
        break;
    case ECHO_RES:
        peer_ready(peer);
        if (peer->role == WORKER)
            put_head(peer, GRAB_JOB, 0);
        break;
    case NOOP:
        put_head(peer, GRAB_JOB, 0);
        break;
    case JOB_CREATED:
        break;
    default:
        run_error(peer->run, "a packet of kind %u", kind);
    }
}

static size_t gearman_take(struct peer *peer, const uint8_t *data, size_t size) {
    size_t at = 0;
    peer->need = HEAD_SIZE;
    while (size - at >= HEAD_SIZE) {
        const uint8_t *head = data + at;
        size_t rest = get_be32(head + SIZE_AT);
        if (memcmp(head, "\0RES", KIND_AT) != 0) {
            run_error(peer->run, "not a packet of Gearman");
            return size;
        }
        peer->need = HEAD_SIZE + rest;
        if (size - at < peer->need)
            break;
        take_packet(peer, get_be32(head + KIND_AT), (struct frame){head + HEAD_SIZE, rest});
        at += peer->need;
        peer->need = HEAD_SIZE;
    }
    return at;
}

const struct dialect gearman_dialect = {
    .name = "gearman",
    .about = "Gearman: foreground jobs, workers that grab one at a time",
    .take = gearman_take,
    .open = gearman_open,
    .request = gearman_request,
};
