/* PND/1 (docs/protocol.md): clients and workers that pack what is ready in a turn in one packet.
 *
 * A packet is built in the peer's outgoing bytes: its ZMTP header and the packet header are
 * reserved when the first record comes and filled in when the turn ends (seal). Attached bodies
 * follow it then. The long form of a ZMTP frame header is used whatever the size, so that its
 * place is known.
 *
 * The connection is never opened again, so a run without errors sees one epoch, no CANCEL, no
 * BYE and no ERROR; each of them is counted as an error.
 */
#include <stdlib.h>
#include <sys/random.h>

#include "load.h"

enum {
    SESSION_SIZE = 16,
    PACKET_HEADER_SIZE = 32,
    PACKET_COUNT_AT = 4,
    PACKET_SESSION_AT = 8,
    PACKET_DONE_AT = 24,
    RECORD_HEADER_SIZE = 16,
    KEY_SIZE = 16,
    TASK_KEY_AT = 8,
    TASK_HEAD_SIZE = TASK_KEY_AT + KEY_SIZE, /* before the service name */
    ERROR_HEAD_SIZE = 8,
    WELCOME_HEAD_SIZE = 28,
    KEYS_MAX = 256,                /* drawn at once */
    RECORDS_MAX = 65535,
    PACKET_BYTES_FIRST = 1 << 20,  /* until WELCOME tells */
    ATTACH_MIN = 4096,
    INTRODUCTION_NS = 1000 * MS_NS,
};

enum kind {
    KIND_REQUEST = 1,
    KIND_REPLY = 3,
    KIND_ERROR = 5,
    KIND_ACCEPTED = 6,
    KIND_READY = 7,
    KIND_TASK = 8,
    KIND_HEARTBEAT = 9,
    KIND_HELLO = 11,
    KIND_WELCOME = 12,
};

enum { FLAG_ATTACHED = 1, FLAG_META = 8 };

struct pnd {
    uint8_t session[SESSION_SIZE];
    uint8_t epoch[SESSION_SIZE];
    bool building;              /* a packet is open at packet_at */
    size_t packet_at;           /* offset of its ZMTP header in the outgoing bytes */
    uint32_t records;           /* in it */
    uint64_t *attached;         /* tags of the bodies that follow it */
    uint32_t attached_n;
    uint32_t attached_room;
    uint32_t frames_max;
    size_t packet_bytes_max;
    uint64_t heartbeat_ns;      /* from WELCOME */
    uint32_t tasks;             /* TASKs of the packets read since the last seal */
    uint32_t keys_n;            /* unused ones, the first of `keys` */
    uint8_t keys[KEYS_MAX][KEY_SIZE];
};

struct record {
    uint8_t kind;
    uint8_t flags;
    uint16_t parts;
    uint64_t id;
    const uint8_t *rest;        /* head and inline parts */
    size_t rest_size;
    const struct frame *attached;
};

static inline struct pnd *pnd_of(struct peer *peer) { return peer->own; }

/* --- writing */

static void begin_packet(struct peer *peer) {
    struct pnd *pnd = pnd_of(peer);
    struct bytes *out = &peer->out.bytes;
    pnd->building = true;
    pnd->packet_at = out->size;
    pnd->records = 0;
    bytes_reserve(out, ZMTP_LONG_HEADER_SIZE + PACKET_HEADER_SIZE);
    out->size += ZMTP_LONG_HEADER_SIZE + PACKET_HEADER_SIZE;
}

static void put_attached(struct peer *peer) {
    struct pnd *pnd = pnd_of(peer);
    const struct body *body = &peer->run->body;
    for (uint32_t i = 0; i < pnd->attached_n; i++) {
        uint8_t more = i + 1 < pnd->attached_n ? ZMTP_MORE : ZMTP_LAST;
        zmtp_put_header(&peer->out.bytes, more, body->size);
        body_put(body, &peer->out, pnd->attached[i]);
    }
    pnd->attached_n = 0;
}

/* pnd_seal fills in the two headers of the open packet, if there is one. */
static void pnd_seal(struct peer *peer) {
    struct pnd *pnd = pnd_of(peer);
    struct bytes *out = &peer->out.bytes;
    pnd->tasks = 0;
    if (!pnd->building)
        return;
    uint8_t *at = out->data + pnd->packet_at, *packet = at + ZMTP_LONG_HEADER_SIZE;
    uint64_t size = __builtin_bswap64(out->size - pnd->packet_at - ZMTP_LONG_HEADER_SIZE);
    uint64_t done = peer->role == CLIENT ? peer->window.done : 0;
    uint16_t count = (uint16_t)pnd->records;
    at[0] = ZMTP_LONG | (pnd->attached_n ? ZMTP_MORE : ZMTP_LAST);
    memcpy(at + 1, &size, sizeof size);
    memcpy(packet, "PND\1", PACKET_COUNT_AT);
    memcpy(packet + PACKET_COUNT_AT, &count, sizeof count);
    memset(packet + PACKET_COUNT_AT + sizeof count, 0, sizeof count);
    memcpy(packet + PACKET_SESSION_AT, pnd->session, SESSION_SIZE);
    memcpy(packet + PACKET_DONE_AT, &done, sizeof done);
    pnd->building = false;
    put_attached(peer);
}

/* begin_record opens a packet if need be and appends a record's header of `size` bytes in all. */
static void begin_record(struct peer *peer, uint8_t kind, uint8_t flags, uint16_t parts,
                         uint64_t id, size_t size) {
    struct pnd *pnd = pnd_of(peer);
    struct bytes *out = &peer->out.bytes;
    bool full = pnd->building &&
                (pnd->records == RECORDS_MAX || pnd->attached_n + 2 > pnd->frames_max ||
                 out->size - pnd->packet_at - ZMTP_LONG_HEADER_SIZE + size > pnd->packet_bytes_max);
    if (full)
        pnd_seal(peer);
    if (!pnd->building)
        begin_packet(peer);
    pnd->records++;
    put_u32(out, (uint32_t)size);
    put_u8(out, kind);
    put_u8(out, flags);
    put_u16(out, parts);
    put_u64(out, id);
    peer_dirty(peer);
}

static void put_part(struct bytes *out, const char *text) {
    put_u32(out, (uint32_t)strlen(text));
    bytes_put(out, text, strlen(text));
}

/* put_body ends a record with a body of this tag: inline, or attached behind the packet. */
static void put_body(struct peer *peer, uint64_t tag) {
    struct pnd *pnd = pnd_of(peer);
    const struct body *body = &peer->run->body;
    if (body->size < ATTACH_MIN) {
        put_u32(&peer->out.bytes, (uint32_t)body->size);
        body_put(body, &peer->out, tag);
        return;
    }
    if (pnd->attached_n == pnd->attached_room) {
        pnd->attached_room = pnd->attached_room ? 2 * pnd->attached_room : 8;
        pnd->attached = must(realloc(pnd->attached, pnd->attached_room * sizeof *pnd->attached));
    }
    pnd->attached[pnd->attached_n++] = tag;
}

static inline uint8_t body_flags(const struct peer *peer) {
    return peer->run->body.size < ATTACH_MIN ? 0 : FLAG_ATTACHED;
}

/* body_record_size returns the size of a record with this head and one body part. */
static inline size_t body_record_size(const struct peer *peer, size_t head) {
    size_t body = peer->run->body.size;
    return RECORD_HEADER_SIZE + head + (body < ATTACH_MIN ? sizeof(uint32_t) + body : 0);
}

/* next_key returns a random key for a request. */
static const uint8_t *next_key(struct peer *peer) {
    struct pnd *pnd = pnd_of(peer);
    if (!pnd->keys_n) {
        if (getrandom(pnd->keys, sizeof pnd->keys, 0) != sizeof pnd->keys)
            run_error(peer->run, "no random bytes");
        pnd->keys_n = KEYS_MAX;
    }
    return pnd->keys[--pnd->keys_n];
}

static void pnd_request(struct peer *client, uint64_t id) {
    uint8_t head[TASK_HEAD_SIZE] = {0}; /* no timeout, priority 0, default service */
    memcpy(head + TASK_KEY_AT, next_key(client), KEY_SIZE);
    size_t size = body_record_size(client, sizeof head);
    begin_record(client, KIND_REQUEST, body_flags(client), 1, id, size);
    bytes_put(&client->out.bytes, head, sizeof head);
    put_body(client, peer_tag(client, id));
}

static void put_reply(struct peer *worker, uint64_t token, uint64_t tag) {
    size_t size = body_record_size(worker, 0);
    begin_record(worker, KIND_REPLY, body_flags(worker), 1, token, size);
    put_body(worker, tag);
}

static void put_heartbeat(struct peer *peer) {
    begin_record(peer, KIND_HEARTBEAT, 0, 0, 0, RECORD_HEADER_SIZE);
}

/* introduce sends HELLO, or READY with no tasks held. */
static void introduce(struct peer *peer) {
    static const char label[] = "load";
    enum { LENGTH = sizeof(uint32_t), READY_HEAD = 3 * sizeof(uint32_t) + SESSION_SIZE };
    size_t size = RECORD_HEADER_SIZE + LENGTH + strlen(label);
    struct bytes *out = &peer->out.bytes;
    if (peer->role == CLIENT) {
        begin_record(peer, KIND_HELLO, 0, 1, 0, size + sizeof(uint32_t));
        put_u32(out, 0); /* features */
        put_part(out, label);
        return;
    }
    begin_record(peer, KIND_READY, 0, 2, 0, size + READY_HEAD + LENGTH);
    put_u32(out, peer->run->options->capacity);
    put_u32(out, 0); /* tokens */
    put_u32(out, 0); /* features */
    bytes_put(out, pnd_of(peer)->epoch, SESSION_SIZE);
    put_part(out, label);
    put_part(out, "");
}

/* --- reading */

/* one_part returns the only body part of a record whose head has `head` bytes; or false. */
static bool one_part(const struct record *record, size_t head, struct frame *part) {
    if (record->parts != 1 || record->flags & FLAG_META)
        return false;
    if (record->flags & FLAG_ATTACHED) {
        *part = *record->attached;
        return record->rest_size == head;
    }
    if (record->rest_size < head + sizeof(uint32_t))
        return false;
    const uint8_t *at = record->rest + head;
    *part = (struct frame){at + sizeof(uint32_t), get_u32(at)};
    return record->rest_size == head + sizeof(uint32_t) + part->size;
}

static void take_task(struct peer *worker, const struct record *record) {
    struct run *run = worker->run;
    struct frame body;
    uint64_t tag;
    size_t head = TASK_HEAD_SIZE;
    if (record->rest_size >= TASK_HEAD_SIZE)
        head += get_u16(record->rest + 6);
    if (++pnd_of(worker)->tasks > run->options->capacity && !run->options->work_us)
        run_error(run, "more tasks at once than the capacity of %u", run->options->capacity);
    if (!one_part(record, head, &body) || !body_sound(&run->body, body.data, body.size, &tag))
        run_error(run, "a TASK whose body is not what was sent");
    else
        peer_works(worker, record->id, tag);
}

static void take_reply(struct peer *client, const struct record *record) {
    struct frame body;
    if (one_part(record, 0, &body))
        peer_answered(client, record->id, body.data, body.size);
    else
        run_error(client->run, "a REPLY that is not of one part");
}

static void take_welcome(struct peer *peer, const struct record *record, const uint8_t *epoch) {
    struct pnd *pnd = pnd_of(peer);
    const uint8_t *head = record->rest;
    if (record->rest_size < WELCOME_HEAD_SIZE) {
        run_error(peer->run, "a WELCOME of %zu bytes", record->rest_size);
        return;
    }
    pnd->heartbeat_ns = get_u32(head) * (uint64_t)MS_NS;
    pnd->packet_bytes_max = get_u32(head + 12);
    pnd->frames_max = get_u32(head + 16);
    if (peer->ready && memcmp(epoch, pnd->epoch, SESSION_SIZE) != 0)
        run_error(peer->run, "another epoch: the broker was restarted");
    memcpy(pnd->epoch, epoch, SESSION_SIZE);
    if (peer->role == WORKER && !peer->ready)
        introduce(peer);
    peer_ready(peer);
}

static void take_error(struct peer *peer, const struct record *record) {
    struct frame text = {(const uint8_t *)"", 0};
    one_part(record, ERROR_HEAD_SIZE, &text);
    unsigned code = record->rest_size >= 2 ? get_u16(record->rest) : 0;
    run_error(peer->run, "ERROR %u: %.*s", code, (int)text.size, (const char *)text.data);
}

static void take_record(struct peer *peer, const struct record *record, const uint8_t *epoch) {
    switch (record->kind) {
    case KIND_TASK:
        take_task(peer, record);
        break;
    case KIND_REPLY:
        take_reply(peer, record);
        break;
    case KIND_WELCOME:
        take_welcome(peer, record, epoch);
        break;
    case KIND_ERROR:
        take_error(peer, record);
        break;
    case KIND_HEARTBEAT:
    case KIND_ACCEPTED:
        break;
    default:
        run_error(peer->run, "a record of kind %u, id %llu", record->kind,
                  (unsigned long long)record->id);
    }
}

/* read_record reads the record at `at`: its size, or 0 if it does not fit. */
static size_t read_record(const uint8_t *at, size_t left, struct record *record) {
    size_t size = left < RECORD_HEADER_SIZE ? 0 : get_u32(at);
    if (size < RECORD_HEADER_SIZE || size > left)
        return 0;
    *record = (struct record){at[4], at[5], get_u16(at + 6), get_u64(at + 8),
                              at + RECORD_HEADER_SIZE, size - RECORD_HEADER_SIZE, NULL};
    return size;
}

static void pnd_message(struct peer *peer, struct message *m) {
    const struct frame *packet = &m->frames[0];
    const uint8_t *data = packet->data;
    if (packet->size < PACKET_HEADER_SIZE || memcmp(data, "PND\1", 4) != 0) {
        run_error(peer->run, "no packet, %zu bytes", packet->size);
        return;
    }
    uint32_t attached = 1;
    size_t at = PACKET_HEADER_SIZE;
    for (uint32_t left = get_u16(data + PACKET_COUNT_AT); left; left--) {
        struct record record;
        size_t size = read_record(data + at, packet->size - at, &record);
        uint32_t claimed = size && record.flags & FLAG_ATTACHED ? record.parts : 0;
        if (!size || attached + claimed > m->n) {
            run_error(peer->run, "a record that does not fit its packet");
            return;
        }
        record.attached = &m->frames[attached];
        attached += claimed;
        at += size;
        take_record(peer, &record, data + PACKET_SESSION_AT);
    }
    if (at != packet->size || attached != m->n)
        run_error(peer->run, "bytes or frames left over in a packet");
}

/* --- life */

static void pnd_open(struct peer *peer) {
    struct pnd *pnd = must(calloc(1, sizeof *pnd));
    if (getrandom(pnd->session, sizeof pnd->session, 0) != sizeof pnd->session)
        run_error(peer->run, "no random bytes");
    pnd->packet_bytes_max = PACKET_BYTES_FIRST;
    pnd->frames_max = 2;
    pnd->heartbeat_ns = INTRODUCTION_NS;
    peer->own = pnd;
    introduce(peer);
}

/* pnd_beat repeats the introduction until WELCOME; then a silent worker says that it lives, and
 * a client that hears nothing asks. */
static void pnd_beat(struct peer *peer) {
    uint64_t now_ns = peer->run->now_ns;
    bool heard = peer->role == CLIENT && peer->heard_ns > peer->spoke_ns;
    uint64_t quiet_ns = now_ns - (heard ? peer->heard_ns : peer->spoke_ns);
    if (!peer->own)
        return;
    if (!peer->ready && now_ns - peer->spoke_ns > INTRODUCTION_NS)
        introduce(peer);
    else if (peer->ready && quiet_ns > pnd_of(peer)->heartbeat_ns - BEAT_NS)
        put_heartbeat(peer);
}

static void pnd_close(struct peer *peer) {
    if (peer->own)
        free(pnd_of(peer)->attached);
    free(peer->own);
}

const struct dialect pnd_dialect = {
    .name = "pnd",
    .about = "PND/1 clients and workers, as many records in a packet as are ready",
    .zmtp = true,
    .message = pnd_message,
    .open = pnd_open,
    .request = pnd_request,
    .reply = put_reply,
    .seal = pnd_seal,
    .beat = pnd_beat,
    .close = pnd_close,
};
