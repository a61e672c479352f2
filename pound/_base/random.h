/* Random numbers of the system, good enough for secrets. */
#ifndef POUND_RANDOM_H
#define POUND_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __linux__
#include <errno.h>
#include <sys/random.h>

/* random_fill fills `size` bytes: 0, or -1: the system has none for us. */
static inline int random_fill(void *at, size_t size) {
    uint8_t *to = (uint8_t *)at;

    while (size > 0) {
        ssize_t drawn = getrandom(to, size, 0);

        if (drawn < 0 && errno != EINTR)
            return -1;
        if (drawn > 0) {
            to += drawn;
            size -= (size_t)drawn;
        }
    }
    return 0;
}
#else
#include <stdlib.h>

static inline int random_fill(void *at, size_t size) {
    arc4random_buf(at, size);
    return 0;
}
#endif

#endif
