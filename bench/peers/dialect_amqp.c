/* AMQP 0-9-1 as RabbitMQ speaks it: requests to one queue, answers by its direct reply-to.
 *
 * Workers consume with a prefetch of their capacity and acknowledge everything of a turn at once,
 * behind the answers; clients consume the pseudo queue of direct reply-to without acknowledging.
 * One channel each, transient messages, no heartbeats. A message is three frames: method, header,
 * body; bodies must fit the frame size that the server grants (no body is split).
 */
#include "load.h"
#include "network.h"

enum {
    FRAME_METHOD = 1,
    FRAME_HEADER = 2,
    FRAME_BODY = 3,
    FRAME_HEARTBEAT = 8,
    FRAME_END = 0xCE,
    FRAME_HEAD_SIZE = 7,
    FRAME_MORE_SIZE = FRAME_HEAD_SIZE + 1, /* of a frame beyond its payload */
    FRAME_SIZE_AT = 3,
    SHORT_MAX = 256,
    CHANNEL = 1,
    CLASS_BASIC = 60,
    HEADER_FIXED_SIZE = 14,
    HAS_CORRELATION = 0x0400,
    HAS_REPLY_TO = 0x0200,
    NO_ACK = 2,
    MULTIPLE = 1,
};

/* A method: its class and its number. */
#define METHOD(class, number) ((uint32_t)(class) << 16 | (number))

static const uint32_t START = METHOD(10, 10), START_OK = METHOD(10, 11);
static const uint32_t TUNE = METHOD(10, 30), TUNE_OK = METHOD(10, 31);
static const uint32_t OPEN = METHOD(10, 40), OPEN_OK = METHOD(10, 41);
static const uint32_t CHANNEL_OPEN = METHOD(20, 10), CHANNEL_OPEN_OK = METHOD(20, 11);
static const uint32_t DECLARE = METHOD(50, 10), DECLARE_OK = METHOD(50, 11);
static const uint32_t QOS = METHOD(60, 10), QOS_OK = METHOD(60, 11);
static const uint32_t CONSUME = METHOD(60, 20), CONSUME_OK = METHOD(60, 21);
static const uint32_t PUBLISH = METHOD(60, 40), DELIVER = METHOD(60, 60), ACK = METHOD(60, 80);

struct amqp {
    size_t frame_at;          /* offset of the frame that is being written */
    uint64_t delivery;        /* number of the message that is being read */
    uint64_t answered;        /* number of the last answered one, 0 = all are acknowledged */
    uint64_t id;              /* of the message that is being read */
    char reply_to[SHORT_MAX];
};

static struct amqp *amqp_of(struct peer *peer) { return peer->own; }

/* --- writing */

static void put_frame_head(struct bytes *out, uint8_t kind, uint16_t channel, size_t size) {
    put_u8(out, kind);
    put_be16(out, channel);
    put_be32(out, (uint32_t)size);
}

static void begin(struct peer *peer, uint8_t kind, uint16_t channel) {
    amqp_of(peer)->frame_at = peer->out.bytes.size;
    put_frame_head(&peer->out.bytes, kind, channel, 0);
}

static void begin_method(struct peer *peer, uint16_t channel, uint32_t method) {
    begin(peer, FRAME_METHOD, channel);
    put_be32(&peer->out.bytes, method);
}

static void end(struct peer *peer) {
    struct bytes *out = &peer->out.bytes;
    size_t at = amqp_of(peer)->frame_at;
    uint32_t size = __builtin_bswap32((uint32_t)(out->size - at - FRAME_HEAD_SIZE));
    memcpy(out->data + at + FRAME_SIZE_AT, &size, sizeof size);
    put_u8(out, FRAME_END);
}

static void put_short(struct bytes *out, const char *text) {
    put_u8(out, (uint8_t)strlen(text));
    bytes_put(out, text, strlen(text));
}

static void put_publish(struct peer *peer, const char *key, uint64_t id, const char *reply_to) {
    struct bytes *out = &peer->out.bytes;
    begin_method(peer, CHANNEL, PUBLISH);
    put_be16(out, 0);
    put_short(out, "");
    put_short(out, key);
    put_u8(out, 0);
    end(peer);
    begin(peer, FRAME_HEADER, CHANNEL);
    put_be16(out, CLASS_BASIC);
    put_be16(out, 0);
    put_be64(out, peer->run->body.size);
    put_be16(out, HAS_CORRELATION | (reply_to ? HAS_REPLY_TO : 0));
    put_u8(out, sizeof id);
    put_u64(out, id);
    if (reply_to)
        put_short(out, reply_to);
    end(peer);
}

static void put_body(struct peer *peer, uint64_t tag) {
    const struct body *body = &peer->run->body;
    put_frame_head(&peer->out.bytes, FRAME_BODY, CHANNEL, body->size);
    body_put(body, &peer->out, tag);
    put_u8(&peer->out.bytes, FRAME_END);
}

static void amqp_request(struct peer *client, uint64_t id) {
    put_publish(client, SERVICE, id, "amq.rabbitmq.reply-to");
    put_body(client, peer_tag(client, id));
}

/* amqp_seal acknowledges what a worker answered in this turn. */
static void amqp_seal(struct peer *peer) {
    struct amqp *amqp = amqp_of(peer);
    if (!amqp->answered)
        return;
    begin_method(peer, CHANNEL, ACK);
    put_be64(&peer->out.bytes, amqp->answered);
    put_u8(&peer->out.bytes, MULTIPLE);
    end(peer);
    amqp->answered = 0;
}

/* --- the introduction: each step is the answer to the one before */

static void say_start_ok(struct peer *peer) {
    static const char secret[] = "\0guest\0guest";
    struct bytes *out = &peer->out.bytes;
    begin_method(peer, 0, START_OK);
    put_be32(out, 0);
    put_short(out, "PLAIN");
    put_be32(out, sizeof secret - 1);
    bytes_put(out, secret, sizeof secret - 1);
    put_short(out, "en_US");
    end(peer);
}

/* say_tune_ok takes the server's channels and frame size, without heartbeats, and opens. */
static void say_tune_ok(struct peer *peer, const uint8_t *offer) {
    struct bytes *out = &peer->out.bytes;
    uint32_t frame_max = get_be32(offer + 2);
    if (frame_max && peer->run->body.size + FRAME_MORE_SIZE > frame_max)
        run_error(peer->run, "bodies do not fit the server's frames of %u bytes", frame_max);
    begin_method(peer, 0, TUNE_OK);
    bytes_put(out, offer, 6);
    put_be16(out, 0);
    end(peer);
    begin_method(peer, 0, OPEN);
    put_short(out, "/");
    put_short(out, "");
    put_u8(out, 0);
    end(peer);
}

static void say_channel_open(struct peer *peer) {
    begin_method(peer, CHANNEL, CHANNEL_OPEN);
    put_short(&peer->out.bytes, "");
    end(peer);
}

static void say_declare(struct peer *peer) {
    struct bytes *out = &peer->out.bytes;
    begin_method(peer, CHANNEL, DECLARE);
    put_be16(out, 0);
    put_short(out, SERVICE);
    put_u8(out, 0);
    put_be32(out, 0);
    end(peer);
}

static void say_qos(struct peer *peer) {
    begin_method(peer, CHANNEL, QOS);
    put_be32(&peer->out.bytes, 0);
    put_be16(&peer->out.bytes, (uint16_t)peer->run->options->capacity);
    put_u8(&peer->out.bytes, 0);
    end(peer);
}

static void say_consume(struct peer *peer) {
    struct bytes *out = &peer->out.bytes;
    begin_method(peer, CHANNEL, CONSUME);
    put_be16(out, 0);
    put_short(out, peer->role == CLIENT ? "amq.rabbitmq.reply-to" : SERVICE);
    put_short(out, "");
    put_u8(out, peer->role == CLIENT ? NO_ACK : 0);
    put_be32(out, 0);
    end(peer);
}

static void amqp_open(struct peer *peer) {
    peer->own = must(calloc(1, sizeof(struct amqp)));
    bytes_put(&peer->out.bytes, "AMQP\0\0\x09\x01", 8);
    peer_dirty(peer);
}

/* --- reading */

/* take_deliver notes the number of a delivery, which stands behind the consumer's name. */
static void take_deliver(struct peer *peer, const struct frame *arguments) {
    size_t at = 1 + (arguments->size ? (size_t)arguments->data[0] : 0);
    if (arguments->size < at + sizeof(uint64_t))
        run_error(peer->run, "a delivery of %zu bytes", arguments->size);
    else
        amqp_of(peer)->delivery = get_be64(arguments->data + at);
}

static void take_method(struct peer *peer, uint32_t method, const struct frame *arguments) {
    if (method == DELIVER)
        take_deliver(peer, arguments);
    else if (method == START)
        say_start_ok(peer);
    else if (method == TUNE && arguments->size >= 8)
        say_tune_ok(peer, arguments->data);
    else if (method == OPEN_OK)
        say_channel_open(peer);
    else if (method == CHANNEL_OPEN_OK)
        (peer->role == WORKER ? say_declare : say_consume)(peer);
    else if (method == DECLARE_OK)
        say_qos(peer);
    else if (method == QOS_OK)
        say_consume(peer);
    else if (method == CONSUME_OK)
        peer_ready(peer);
    else
        run_error(peer->run, "method %u.%u: %.*s", method >> 16, method & 0xffff,
                  (int)(arguments->size > 3 ? arguments->size - 3 : 0),
                  (const char *)arguments->data + 3);
}

/* take_header notes the request's id and where its answer goes. */
static void take_header(struct peer *peer, const struct frame *header) {
    struct amqp *amqp = amqp_of(peer);
    const uint8_t *at = header->data + HEADER_FIXED_SIZE, *stop = header->data + header->size;
    uint16_t wanted = HAS_CORRELATION | (peer->role == WORKER ? HAS_REPLY_TO : 0);
    uint16_t flags = header->size < HEADER_FIXED_SIZE ? 0 : get_be16(at - sizeof flags);
    if (flags != wanted || at + 1 + sizeof amqp->id > stop || at[0] != sizeof amqp->id) {
        run_error(peer->run, "a header with the properties %#x", flags);
        return;
    }
    amqp->id = get_u64(at + 1);
    at += 1 + sizeof amqp->id;
    if (peer->role == CLIENT)
        return;
    if (at == stop || at + 1 + at[0] > stop) {
        run_error(peer->run, "a header that ends early");
        return;
    }
    memcpy(amqp->reply_to, at + 1, at[0]);
    amqp->reply_to[at[0]] = 0;
}

static void take_body(struct peer *peer, const struct frame *body) {
    struct amqp *amqp = amqp_of(peer);
    uint64_t tag;
    if (peer->role == CLIENT) {
        peer_answered(peer, amqp->id, body->data, body->size);
    } else if (body_sound(&peer->run->body, body->data, body->size, &tag)) {
        put_publish(peer, amqp->reply_to, amqp->id, NULL);
        put_body(peer, tag);
        amqp->answered = amqp->delivery;
    } else {
        run_error(peer->run, "a task whose body is not what was sent");
    }
}

static void take_frame(struct peer *peer, uint8_t kind, struct frame payload) {
    if (kind == FRAME_HEADER) {
        take_header(peer, &payload);
    } else if (kind == FRAME_BODY) {
        take_body(peer, &payload);
    } else if (kind == FRAME_METHOD && payload.size >= sizeof(uint32_t)) {
        uint32_t method = get_be32(payload.data);
        payload.data += sizeof method;
        payload.size -= sizeof method;
        take_method(peer, method, &payload);
    } else if (kind != FRAME_HEARTBEAT) {
        run_error(peer->run, "a frame of kind %u", kind);
    }
}

static size_t amqp_take(struct peer *peer, const uint8_t *data, size_t size) {
    size_t at = 0;
    peer->need = FRAME_MORE_SIZE;
    while (size - at >= FRAME_MORE_SIZE) {
        const uint8_t *head = data + at;
        size_t payload = get_be32(head + FRAME_SIZE_AT);
        peer->need = FRAME_MORE_SIZE + payload;
        if (size - at < peer->need)
            break;
        if (head[peer->need - 1] != FRAME_END) {
            run_error(peer->run, "a frame without an end");
            return size;
        }
        take_frame(peer, head[0], (struct frame){head + FRAME_HEAD_SIZE, payload});
        at += FRAME_MORE_SIZE + payload;
        peer->need = FRAME_MORE_SIZE;
    }
    if (!out_empty(&peer->out))
        peer_dirty(peer);
    return at;
}

static void amqp_close(struct peer *peer) { free(peer->own); }

const struct dialect amqp_dialect = {
    .name = "amqp",
    .about = "RabbitMQ: one queue, prefetch, direct reply-to",
    .take = amqp_take,
    .open = amqp_open,
    .request = amqp_request,
    .seal = amqp_seal,
    .close = amqp_close,
};
