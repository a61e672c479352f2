/* The client protocol of NATS: requests to a queue group, answers to an inbox of each client.
 *
 * Every reply subject of a client is its one inbox, and the tag in a body tells which request it
 * answers. (NATS' own clients make a new subject for each request, under one wildcard: the server
 * then finds none of them in its cache and does a third less.) Workers are members of one queue
 * group; the server hands each request to one of them at random and knows no capacity. Delivery
 * is at most once.
 */
#include "load.h"
#include "text.h"

enum {
    INBOX_MAX = 64,
    WORDS_MAX = 5,        /* MSG subject sid reply size */
    EOL_SIZE = 2,
};

static const char GREETING[] =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"load\",\"lang\":\"c\","
    "\"version\":\"1\"}\r\n";

static void put_eol(struct peer *peer) { put_text(&peer->out.bytes, "\r\n"); }

static void nats_open(struct peer *peer) {
    struct bytes *out = &peer->out.bytes;
    char inbox[INBOX_MAX];
    snprintf(inbox, sizeof inbox, "SUB _INBOX.%u 1\r\n", peer->number);
    put_text(out, GREETING);
    put_text(out, peer->role == CLIENT ? inbox : "SUB echo workers 1\r\n");
    put_text(out, "PING\r\n");
    peer_dirty(peer);
}

static void nats_request(struct peer *client, uint64_t id) {
    struct bytes *out = &client->out.bytes;
    put_text(out, "PUB echo _INBOX.");
    put_decimal(out, client->number);
    put_text(out, " ");
    put_decimal(out, client->run->body.size);
    put_eol(client);
    body_put(&client->run->body, &client->out, peer_tag(client, id));
    put_eol(client);
}

static void nats_task(struct peer *worker, const struct frame *reply, const struct frame *body) {
    struct bytes *out = &worker->out.bytes;
    put_text(out, "PUB ");
    bytes_put(out, reply->data, reply->size);
    put_text(out, " ");
    put_decimal(out, body->size);
    put_eol(worker);
    if (!body_echo(&worker->run->body, &worker->out, body->data, body->size))
        run_error(worker->run, "a task whose body is not what was sent");
    put_eol(worker);
    peer_dirty(worker);
}

static void nats_answer(struct peer *client, const struct frame *body) {
    if (body->size < BODY_TAG_SIZE)
        run_error(client->run, "an answer of %zu bytes", body->size);
    else
        peer_answered(client, id_of_tag(get_u64(body->data)), body->data, body->size);
}

/* split finds the words of a line without its end, WORDS_MAX at most. */
static uint32_t split(const uint8_t *line, size_t size, struct frame *words) {
    uint32_t n = 0;
    const uint8_t *end = line + size;
    while (line < end && n < WORDS_MAX) {
        const uint8_t *space = memchr(line, ' ', (size_t)(end - line));
        const uint8_t *stop = space ? space : end;
        words[n++] = (struct frame){line, (size_t)(stop - line)};
        line = stop + 1;
    }
    return n;
}

/* take_message eats one MSG, whose line has `line` bytes; 0 if its body has not come. */
static size_t take_message(struct peer *peer, const uint8_t *data, size_t size, size_t line) {
    struct frame words[WORDS_MAX], body;
    uint32_t n = split(data, line - EOL_SIZE, words);
    const struct frame *last = &words[n - 1];
    body.size = text_decimal(last->data, last->data + last->size);
    body.data = data + line;
    peer->need = line + body.size + EOL_SIZE;
    if (size < peer->need)
        return 0;
    if (n != (peer->role == CLIENT ? 4 : 5))
        run_error(peer->run, "a MSG of %u words", n);
    else if (peer->role == CLIENT)
        nats_answer(peer, &body);
    else
        nats_task(peer, &words[3], &body);
    return peer->need;
}

static bool starts(const uint8_t *line, size_t size, const char *word) {
    return size >= strlen(word) && memcmp(line, word, strlen(word)) == 0;
}

static size_t take_one(struct peer *peer, const uint8_t *data, size_t size) {
    size_t line = text_line(data, size);
    peer->need = 0;
    if (!line)
        return 0;
    if (starts(data, line, "MSG "))
        return take_message(peer, data, size, line);
    if (starts(data, line, "PONG")) {
        peer_ready(peer);
    } else if (starts(data, line, "PING")) {
        put_text(&peer->out.bytes, "PONG\r\n");
        peer_dirty(peer);
    } else if (!starts(data, line, "INFO ") && !starts(data, line, "+OK")) {
        run_error(peer->run, "%.*s", (int)(line - EOL_SIZE), (const char *)data);
    }
    return line;
}

static size_t nats_take(struct peer *peer, const uint8_t *data, size_t size) {
    size_t at = 0, taken;
    while (at < size && (taken = take_one(peer, data + at, size - at)))
        at += taken;
    return at;
}

const struct dialect nats_dialect = {
    .name = "nats",
    .about = "NATS: requests to a queue group, one inbox of each client",
    .take = nats_take,
    .open = nats_open,
    .request = nats_request,
};
