/* Plain clients (a DEALER, the empty delimiter, many requests open) in two surroundings.
 *
 * `plain`: workers are Paranoid Pirate workers (the Guide, chapter 4): READY, one task at a time,
 * a heartbeat when silent. `proxy`: workers behind zmq_proxy, which announce nothing and answer
 * whatever comes, as a REP socket would, with the envelope as it was.
 *
 * A plain answer has no id: the tag in its body tells which request it answers.
 */
#include "load.h"

enum {
    ENVELOPE_FRAMES = 3, /* address, empty, body */
    PPP_BEAT_NS = 1000 * MS_NS,
};

static void plain_request(struct peer *client, uint64_t id) {
    struct out *out = &client->out;
    const struct body *body = &client->run->body;
    zmtp_put_header(&out->bytes, ZMTP_MORE, 0);
    zmtp_put_header(&out->bytes, ZMTP_LAST, body->size);
    body_put(body, out, peer_tag(client, id));
}

static void plain_answer(struct peer *client, const struct message *m) {
    const struct frame *body = &m->frames[1];
    if (m->n != 2 || m->frames[0].size != 0 || body->size < BODY_TAG_SIZE) {
        run_error(client->run, "an answer of %u frames to a plain client", m->n);
        return;
    }
    peer_answered(client, id_of_tag(get_u64(body->data)), body->data, body->size);
}

/* echo returns the task as it came: address, empty frame, body. */
static void echo(struct peer *worker, const struct message *m) {
    struct out *out = &worker->out;
    const struct frame *body = &m->frames[2];
    if (m->n != ENVELOPE_FRAMES || m->frames[1].size != 0) {
        run_error(worker->run, "a task of %u frames", m->n);
        return;
    }
    zmtp_put_frame(&out->bytes, ZMTP_MORE, m->frames[0].data, m->frames[0].size);
    zmtp_put_header(&out->bytes, ZMTP_MORE, 0);
    zmtp_put_header(&out->bytes, ZMTP_LAST, body->size);
    if (!body_echo(&worker->run->body, out, body->data, body->size))
        run_error(worker->run, "a task whose body is not what was sent");
    peer_dirty(worker);
}

static void ppp_say(struct peer *worker, const char *word) {
    zmtp_put_frame(&worker->out.bytes, ZMTP_LAST, word, 1);
    peer_dirty(worker);
}

static void ppp_open(struct peer *peer) {
    if (peer->role == WORKER)
        ppp_say(peer, "\1");
    peer_ready(peer);
}

static void ppp_beat(struct peer *peer) {
    if (peer->role == WORKER && peer->run->now_ns - peer->spoke_ns > PPP_BEAT_NS)
        ppp_say(peer, "\2");
}

static void ppp_message(struct peer *peer, struct message *m) {
    if (peer->role == CLIENT)
        plain_answer(peer, m);
    else if (m->n != 1 || !frame_is(&m->frames[0], "\2", 1))
        echo(peer, m);
}

static void proxy_message(struct peer *peer, struct message *m) {
    if (peer->role == CLIENT)
        plain_answer(peer, m);
    else
        echo(peer, m);
}

const struct dialect plain_dialect = {
    .name = "plain",
    .about = "plain DEALER clients, PPP workers",
    .zmtp = true,
    .message = ppp_message,
    .open = ppp_open,
    .request = plain_request,
    .beat = ppp_beat,
};

const struct dialect proxy_dialect = {
    .name = "proxy",
    .about = "plain DEALER clients, workers that echo behind zmq_proxy",
    .zmtp = true,
    .message = proxy_message,
    .open = peer_ready,
    .request = plain_request,
};
