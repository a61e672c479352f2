/* Request and reply over lists of Redis: LPUSH to `tasks` and to a list of each client, and the
 * blocking pop from them.
 *
 * A worker pops up to its capacity at once, a client all answers that are there (BLMPOP, the
 * BRPOP that can take several, from Redis 7 on). A connection that blocks in a pop does nothing
 * else, so each has one pop under way, sent after everything else of a turn: a client whose pop
 * waits has its window full and nothing to send. What a worker popped is lost with it.
 *
 * No reply address travels: the tag in a body tells the client, as a head of the same size would.
 */
#include "load.h"
#include "text.h"

enum {
    KEY_MAX = 32,
    CLIENT_SHIFT = 40,   /* of the client's number in a tag */
    EOL_SIZE = 2,
    POP_REPLY_PARTS = 2, /* the list's name and what was popped from it */
};

enum awaits {
    NOTHING,
    NAME,                /* the pop's reply has begun */
    COUNT,
    ELEMENTS,
};

struct redis {
    bool popping;        /* a pop is under way */
    enum awaits awaits;  /* of its reply */
    uint64_t left;       /* elements to come */
};

static void put_bulk(struct bytes *out, const char *text) {
    put_text(out, "$");
    put_decimal(out, strlen(text));
    put_text(out, "\r\n");
    put_text(out, text);
    put_text(out, "\r\n");
}

/* put_push starts an LPUSH up to its element of `size` bytes. */
static void put_push(struct bytes *out, const char *key, size_t size) {
    put_text(out, "*3\r\n$5\r\nLPUSH\r\n");
    put_bulk(out, key);
    put_text(out, "$");
    put_decimal(out, size);
    put_text(out, "\r\n");
}

static void reply_key(char *key, uint64_t client) {
    snprintf(key, KEY_MAX, "answers:%u", (unsigned)client);
}

static void put_pop(struct peer *peer) {
    struct bytes *out = &peer->out.bytes;
    const struct options *options = peer->run->options;
    char key[KEY_MAX] = "tasks", count[KEY_MAX];
    if (peer->role == CLIENT)
        reply_key(key, peer->number);
    snprintf(count, sizeof count, "%u",
             peer->role == CLIENT ? options->outstanding : options->capacity);
    put_text(out, "*7\r\n$6\r\nBLMPOP\r\n$1\r\n0\r\n$1\r\n1\r\n");
    put_bulk(out, key);
    put_text(out, "$5\r\nRIGHT\r\n$5\r\nCOUNT\r\n");
    put_bulk(out, count);
}

static void redis_open(struct peer *peer) {
    peer->own = must(calloc(1, sizeof(struct redis)));
    put_text(&peer->out.bytes, "*1\r\n$4\r\nPING\r\n");
    peer_dirty(peer);
}

static void redis_request(struct peer *client, uint64_t id) {
    put_push(&client->out.bytes, "tasks", client->run->body.size);
    body_put(&client->run->body, &client->out, peer_tag(client, id));
    put_text(&client->out.bytes, "\r\n");
}

/* redis_seal ends a turn's commands with a pop, unless one is under way. */
static void redis_seal(struct peer *peer) {
    struct redis *redis = peer->own;
    bool wanted = peer->ready && (peer->role == WORKER || peer->window.open);
    if (!wanted || redis->popping)
        return;
    put_pop(peer);
    redis->popping = true;
    redis->awaits = NOTHING;
}

static void take_task(struct peer *worker, const struct frame *body) {
    char key[KEY_MAX];
    uint64_t tag;
    if (!body_sound(&worker->run->body, body->data, body->size, &tag)) {
        run_error(worker->run, "a task whose body is not what was sent");
        return;
    }
    reply_key(key, tag >> CLIENT_SHIFT);
    put_push(&worker->out.bytes, key, body->size);
    body_put(&worker->run->body, &worker->out, tag);
    put_text(&worker->out.bytes, "\r\n");
}

static void take_element(struct peer *peer, const struct frame *element) {
    struct redis *redis = peer->own;
    if (redis->awaits == NAME) {
        redis->awaits = COUNT;
        return;
    }
    if (redis->awaits != ELEMENTS || element->size < BODY_TAG_SIZE) {
        run_error(peer->run, "an element of %zu bytes out of turn", element->size);
        return;
    }
    if (peer->role == WORKER)
        take_task(peer, element);
    else
        peer_answered(peer, id_of_tag(get_u64(element->data)), element->data, element->size);
    if (--redis->left == 0) {
        redis->popping = false;
        peer_dirty(peer);
    }
}

static void take_array(struct peer *peer, uint64_t n) {
    struct redis *redis = peer->own;
    if (redis->awaits == NOTHING && n == POP_REPLY_PARTS) {
        redis->awaits = NAME;
    } else if (redis->awaits == COUNT && n) {
        redis->awaits = ELEMENTS;
        redis->left = n;
    } else {
        run_error(peer->run, "an array of %llu out of turn", (unsigned long long)n);
    }
}

/* take_one eats one line, with the bytes that it announces; 0 if they have not come. */
static size_t take_one(struct peer *peer, const uint8_t *data, size_t size) {
    size_t line = text_line(data, size);
    peer->need = 0;
    if (!line)
        return 0;
    uint64_t number = text_decimal(data + 1, data + line);
    if (data[0] == '$') {
        peer->need = line + number + EOL_SIZE;
        if (size < peer->need)
            return 0;
        take_element(peer, &(struct frame){data + line, number});
        return peer->need;
    }
    if (data[0] == '*') {
        take_array(peer, number);
    } else if (data[0] == '+') {
        peer_ready(peer);
        peer_dirty(peer);
    } else if (data[0] != ':') {
        run_error(peer->run, "%.*s", (int)(line - EOL_SIZE), (const char *)data);
    }
    return line;
}

static size_t redis_take(struct peer *peer, const uint8_t *data, size_t size) {
    size_t at = 0, taken;
    while (at < size && (taken = take_one(peer, data + at, size - at)))
        at += taken;
    return at;
}

static void redis_close(struct peer *peer) { free(peer->own); }

const struct dialect redis_dialect = {
    .name = "redis",
    .about = "lists of Redis: LPUSH, and BLMPOP of as many as a peer may hold",
    .take = redis_take,
    .open = redis_open,
    .request = redis_request,
    .seal = redis_seal,
    .close = redis_close,
};
