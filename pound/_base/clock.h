/* The clock of broker, clients and workers: nanoseconds, as Python's time.monotonic(). */
#ifndef POUND_CLOCK_H
#define POUND_CLOCK_H

#include <stdint.h>
#include <time.h>

#ifdef __APPLE__
#define POUND_CLOCK CLOCK_UPTIME_RAW
#else
#define POUND_CLOCK CLOCK_MONOTONIC
#endif

#define POUND_FAR INT64_MAX /* a time that never comes */

static inline int64_t clock_ns(void) {
    struct timespec t;

    clock_gettime(POUND_CLOCK, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* wall_ns gives the time since 1970, for what people name by a date. It may jump. */
static inline int64_t wall_ns(void) {
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#endif
