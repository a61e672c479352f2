/* The protocol of floor.c: u32 size, u64 id, body; first a hello that says who connects.
 *
 * Requests and answers that are ready in one turn share one write, as the packets of PND do.
 */
#include "floor.h"

#include "load.h"

static void floor_open(struct peer *peer) {
    struct bytes *out = &peer->out.bytes;
    put_u32(out, peer->role == WORKER ? peer->run->options->capacity : 0);
    peer_dirty(peer);
    peer_ready(peer);
}

static void put_head(struct peer *peer, uint64_t id) {
    put_u32(&peer->out.bytes, (uint32_t)(FLOOR_ID_SIZE + peer->run->body.size));
    put_u64(&peer->out.bytes, id);
}

static void floor_request(struct peer *client, uint64_t id) {
    put_head(client, id);
    body_put(&client->run->body, &client->out, peer_tag(client, id));
}

static void floor_task(struct peer *worker, uint64_t token, const uint8_t *body, size_t size) {
    put_head(worker, token);
    if (!body_echo(&worker->run->body, &worker->out, body, size))
        run_error(worker->run, "a task whose body is not what was sent");
    peer_dirty(worker);
}

static size_t floor_take(struct peer *peer, const uint8_t *data, size_t size) {
    size_t at = 0;
    while (size - at >= FLOOR_HEAD_SIZE) {
        size_t whole = FLOOR_SIZE_SIZE + get_u32(data + at);
        peer->need = whole;
        if (size - at < whole)
            break;
        const uint8_t *body = data + at + FLOOR_HEAD_SIZE;
        uint64_t id = get_u64(data + at + FLOOR_SIZE_SIZE);
        if (peer->role == CLIENT)
            peer_answered(peer, id, body, whole - FLOOR_HEAD_SIZE);
        else
            floor_task(peer, id, body, whole - FLOOR_HEAD_SIZE);
        at += whole;
    }
    return at;
}

const struct dialect floor_dialect = {
    .name = "floor",
    .about = "the floor's own: length-prefixed messages, no ZeroMQ",
    .take = floor_take,
    .open = floor_open,
    .request = floor_request,
};
