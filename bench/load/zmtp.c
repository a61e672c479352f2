#include "zmtp.h"

/* frame_header returns the size of the header and fills flags and size, or 0 if it is cut. */
static size_t frame_header(const uint8_t *data, size_t left, uint8_t *flags, size_t *size) {
    if (left < 2)
        return 0;
    *flags = data[0];
    if (!(*flags & ZMTP_LONG)) {
        *size = data[1];
        return 2;
    }
    if (left < ZMTP_LONG_HEADER_SIZE)
        return 0;
    uint64_t wire;
    memcpy(&wire, data + 1, sizeof wire);
    *size = __builtin_bswap64(wire);
    return ZMTP_LONG_HEADER_SIZE;
}

ptrdiff_t zmtp_message(const uint8_t *data, size_t size, struct message *m) {
    size_t at = 0;
    m->n = 0;
    m->need = 0;
    for (;;) {
        uint8_t flags;
        size_t body, header = frame_header(data + at, size - at, &flags, &body);
        if (!header)
            return ZMTP_INCOMPLETE;
        if (flags > 7 || body > PTRDIFF_MAX / 2 || m->n == ZMTP_FRAMES_MAX)
            return ZMTP_BROKEN;
        if (size - at - header < body) {
            m->need = at + header + body;
            return ZMTP_INCOMPLETE;
        }
        m->command = flags & ZMTP_COMMAND;
        m->frames[m->n++] = (struct frame){data + at + header, body};
        at += header + body;
        if (!(flags & ZMTP_MORE))
            return (ptrdiff_t)at;
    }
}

size_t zmtp_frame(const uint8_t *data, size_t size, uint8_t *flags, struct frame *frame) {
    size_t body, header = frame_header(data, size, flags, &body);
    if (!header || size - header < body)
        return 0;
    *frame = (struct frame){data + header, body};
    return header + body;
}

bool zmtp_greeting_sound(const uint8_t *g) {
    return g[0] == 0xFF && g[9] == 0x7F && g[10] >= 3 && memcmp(g + 12, "NULL\0", 5) == 0;
}

void zmtp_put_greeting(struct bytes *out) {
    static const uint8_t greeting[ZMTP_GREETING_SIZE] = {
        0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 3, 0, 'N', 'U', 'L', 'L'};
    bytes_put(out, greeting, sizeof greeting);
}

static void put_property(struct bytes *out, const char *name, const char *value) {
    uint32_t size = __builtin_bswap32((uint32_t)strlen(value));
    put_u8(out, (uint8_t)strlen(name));
    bytes_put(out, name, strlen(name));
    put_u32(out, size);
    bytes_put(out, value, strlen(value));
}

void zmtp_put_metadata(struct bytes *out) {
    put_property(out, "Socket-Type", "DEALER");
    put_property(out, "Identity", "");
}

void zmtp_put_ready(struct bytes *out) {
    struct bytes command = {0};
    bytes_put(&command, "\5READY", 6);
    zmtp_put_metadata(&command);
    zmtp_put_frame(out, ZMTP_COMMAND, command.data, command.size);
    bytes_free(&command);
}

void zmtp_put_pong(struct bytes *out, const struct frame *command) {
    enum { PING_SIZE = 5, TTL_SIZE = 2 };
    if (command->size < PING_SIZE + TTL_SIZE || memcmp(command->data, "\4PING", PING_SIZE) != 0)
        return;
    const size_t skipped = PING_SIZE + TTL_SIZE, context = command->size - skipped;
    zmtp_put_header(out, ZMTP_COMMAND, PING_SIZE + context);
    bytes_put(out, "\4PONG", PING_SIZE);
    bytes_put(out, command->data + skipped, context);
}
