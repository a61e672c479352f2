/* How a thread waits and is woken.
 *
 * A wake pair is one eventfd on Linux, a pipe elsewhere. Ringing never blocks: a pair that is full
 * will wake its reader anyway.
 */
#ifndef POUND_WAKE_H
#define POUND_WAKE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* ppoll */
#endif
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "pound/_base/clock.h"

#ifdef __linux__
#include <sys/eventfd.h>
#endif

/* wake_open makes a pair: 0, or -1 with errno. */
static inline int wake_open(int *in, int *out) {
#ifdef __linux__
    *in = *out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return *in < 0 ? -1 : 0;
#else
    int ends[2];

    if (pipe(ends) != 0) {
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    *out = ends[0];
    *in = ends[1];
    return 0;
#endif
}

static inline void wake_close(int in, int out) {
    if (in >= 0) {
        close(in);
    }
    if (out >= 0 && out != in) {
        close(out);
    }
}

static inline void wake_ring(int in) {
    uint64_t one = 1;
    ssize_t written = write(in, &one, sizeof(one));

    (void)written;
}

static inline void wake_drain(int out) {
    uint64_t rings[8];
    ssize_t got = read(out, rings, sizeof(rings));

    (void)got;
}

/* wait_for waits `ns` at most, never less unless something comes; a signal ends it early. */
static inline void wait_for(struct pollfd *fds, int count, int64_t ns) {
#ifdef __linux__
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    if (ppoll(fds, count, &t, 0) < 0) {
#else
    if (poll(fds, count, (int)((ns + 999999) / 1000000)) < 0) {
#endif
        for (int i = 0; i < count; i++) {
            fds[i].revents = 0;
        }
    }
}

/* signals_leave keeps signals from this thread, as libzmq does from its own: one that came here
 * would not interrupt the main thread, which is to run its handler, and might interrupt libzmq
 * between two frames of a message. Faults stay where they are: faulthandler shows them. */
static inline void signals_leave(void) {
    sigset_t signals;

    sigfillset(&signals);
    sigdelset(&signals, SIGABRT);
    sigdelset(&signals, SIGBUS);
    sigdelset(&signals, SIGFPE);
    sigdelset(&signals, SIGILL);
    sigdelset(&signals, SIGSEGV);
    pthread_sigmask(SIG_BLOCK, &signals, 0);
}

#endif
