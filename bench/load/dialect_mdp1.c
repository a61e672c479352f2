/* Majordomo 0.1 (RFC 7): clients with many requests open, workers with one task each.
 *
 * As in `plain`, the tag in the body tells which request an answer belongs to.
 */
#include "load.h"

enum {
    MDP_NAME_SIZE = 6,
    MDP_BEAT_NS = 2500ULL * MS_NS,
};

static void put_head(struct peer *peer, const char *name) {
    zmtp_put_header(&peer->out.bytes, ZMTP_MORE, 0);
    zmtp_put_frame(&peer->out.bytes, ZMTP_MORE, name, MDP_NAME_SIZE);
}

static void worker_say(struct peer *worker, const char *command, const char *service) {
    struct bytes *out = &worker->out.bytes;
    put_head(worker, "MDPW01");
    zmtp_put_frame(out, service ? ZMTP_MORE : ZMTP_LAST, command, 1);
    if (service)
        zmtp_put_frame(out, ZMTP_LAST, service, SERVICE_SIZE);
    peer_dirty(worker);
}

static void mdp1_open(struct peer *peer) {
    if (peer->role == WORKER)
        worker_say(peer, "\1", SERVICE);
    peer_ready(peer);
}

static void mdp1_beat(struct peer *peer) {
    if (peer->role == WORKER && peer->run->now_ns - peer->spoke_ns > MDP_BEAT_NS)
        worker_say(peer, "\4", NULL);
}

static void mdp1_request(struct peer *client, uint64_t id) {
    struct out *out = &client->out;
    const struct body *body = &client->run->body;
    put_head(client, "MDPC01");
    zmtp_put_frame(&out->bytes, ZMTP_MORE, SERVICE, SERVICE_SIZE);
    zmtp_put_header(&out->bytes, ZMTP_LAST, body->size);
    body_put(body, out, peer_tag(client, id));
}

static void client_message(struct peer *client, const struct message *m) {
    const struct frame *f = m->frames;
    if (m->n != 4 || f[0].size || !frame_is(&f[1], "MDPC01", MDP_NAME_SIZE) ||
        !frame_is(&f[2], SERVICE, SERVICE_SIZE) || f[3].size < BODY_TAG_SIZE) {
        run_error(client->run, "an answer of %u frames to an MDP client", m->n);
        return;
    }
    peer_answered(client, id_of_tag(get_u64(f[3].data)), f[3].data, f[3].size);
}

/* worker_task answers [ "", MDPW01, REQUEST, address, "", body ]. */
static void worker_task(struct peer *worker, const struct message *m) {
    const struct frame *f = m->frames;
    struct out *out = &worker->out;
    if (m->n != 6 || f[4].size) {
        run_error(worker->run, "a task of %u frames to an MDP worker", m->n);
        return;
    }
    put_head(worker, "MDPW01");
    zmtp_put_frame(&out->bytes, ZMTP_MORE, "\3", 1);
    zmtp_put_frame(&out->bytes, ZMTP_MORE, f[3].data, f[3].size);
    zmtp_put_header(&out->bytes, ZMTP_MORE, 0);
    zmtp_put_header(&out->bytes, ZMTP_LAST, f[5].size);
    if (!body_echo(&worker->run->body, out, f[5].data, f[5].size))
        run_error(worker->run, "a task whose body is not what was sent");
    peer_dirty(worker);
}

static void worker_message(struct peer *worker, const struct message *m) {
    const struct frame *f = m->frames;
    if (m->n < 3 || f[0].size || !frame_is(&f[1], "MDPW01", MDP_NAME_SIZE) || f[2].size != 1)
        run_error(worker->run, "no MDP command, %u frames", m->n);
    else if (f[2].data[0] == 2)
        worker_task(worker, m);
    else if (f[2].data[0] != 4)
        run_error(worker->run, "command %u to an MDP worker", f[2].data[0]);
}

static void mdp1_message(struct peer *peer, struct message *m) {
    if (peer->role == CLIENT)
        client_message(peer, m);
    else
        worker_message(peer, m);
}

const struct dialect mdp1_dialect = {
    .name = "mdp1",
    .about = "MDP 0.1 clients and workers",
    .zmtp = true,
    .message = mdp1_message,
    .open = mdp1_open,
    .request = mdp1_request,
    .beat = mdp1_beat,
};
