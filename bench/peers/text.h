/* The lines of the text protocols: words and decimal numbers, ended by CR LF. */
#ifndef BENCH_TEXT_H
#define BENCH_TEXT_H

#include "bytes.h"

enum { TEXT_DIGITS_MAX = 20 };

static inline void put_text(struct bytes *b, const char *text) { bytes_put(b, text, strlen(text)); }

static inline void put_decimal(struct bytes *b, uint64_t value) {
    uint8_t digits[TEXT_DIGITS_MAX];
    size_t at = sizeof digits;
    do
        digits[--at] = (uint8_t)('0' + value % 10);
    while (value /= 10);
    bytes_put(b, digits + at, sizeof digits - at);
}

/* text_decimal returns the number that ends where a byte is no digit, or `end` comes. */
static inline uint64_t text_decimal(const uint8_t *at, const uint8_t *end) {
    uint64_t value = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

/* text_line returns the size of the first line with its CR LF, or 0 if its end has not come. */
static inline size_t text_line(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, '\n', size);
    return end ? (size_t)(end - data) + 1 : 0;
}

#endif
