/* Conditions that are waited for until a time of clock.h. */
#ifndef POUND_LOCKS_H
#define POUND_LOCKS_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "pound/_base/clock.h"

/* condition_init makes a condition for condition_wait: 0, or an error: no memory. */
static inline int condition_init(pthread_cond_t *condition) {
#ifdef __APPLE__
    return pthread_cond_init(condition, 0);
#else
    pthread_condattr_t attributes;
    int failed;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, POUND_CLOCK);
    failed = pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
    return failed;
#endif
}

/* condition_wait waits for a signal until `until` (POUND_FAR: without limit); it may end early. */
static inline void condition_wait(
    pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t until) {
    struct timespec t;

    if (until == POUND_FAR) {
        pthread_cond_wait(condition, mutex);
        return;
    }
#ifdef __APPLE__
    until -= clock_ns();
    until = until > 0 ? until : 0;
#endif
    t.tv_sec = until / 1000000000;
    t.tv_nsec = until % 1000000000;
#ifdef __APPLE__
    pthread_cond_timedwait_relative_np(condition, mutex, &t);
#else
    pthread_cond_timedwait(condition, mutex, &t);
#endif
}

#endif
