#include "body.h"

void body_init(struct body *body, size_t size) {
    size_t rest = size - BODY_TAG_SIZE;
    body->size = size;
    body->pattern = must(malloc(rest + 1));
    for (size_t i = 0; i < rest; i++)
        body->pattern[i] = (uint8_t)(i * 31 + (i >> 8) + 7);
    body->tail = (struct iovec){body->pattern, rest};
}

void body_free(struct body *body) { free(body->pattern); }

void body_put(const struct body *body, struct out *out, uint64_t tag) {
    put_u64(&out->bytes, tag);
    if (body->size < BODY_SHARED_MIN)
        bytes_put(&out->bytes, body->pattern, body->tail.iov_len);
    else
        out_mark(out);
}

bool body_sound(const struct body *body, const uint8_t *data, size_t size, uint64_t *tag) {
    if (size != body->size)
        return false;
    *tag = get_u64(data);
    data += BODY_TAG_SIZE;
    size -= BODY_TAG_SIZE;
    if (body->size < BODY_SHARED_MIN)
        return memcmp(data, body->pattern, size) == 0;
    size_t last = size - BODY_SAMPLE;
    return memcmp(data, body->pattern, BODY_SAMPLE) == 0 &&
           memcmp(data + last, body->pattern + last, BODY_SAMPLE) == 0;
}

bool body_echo(const struct body *body, struct out *out, const uint8_t *data, size_t size) {
    uint64_t tag;
    if (!body_sound(body, data, size, &tag))
        return false;
    body_put(body, out, tag);
    return true;
}
