/* Bytes that libzmq still holds for a peer, counted by messages that say when it is done with them.
 *
 * A counted message adds its bytes to its peer's pipe_t and to the broker's pipes_t; whoever lets go
 * of it last, mostly libzmq's thread, takes them away again. That may be long after the peer, the
 * broker and its context are gone, so both structs live until nobody counts in them any more:
 *
 *   pipe_t.bytes   the bytes, and one for its owner (a peer): at 0 it is freed
 *   pipes_t.refs   its owner (a broker) and one for each pipe_t: likewise
 *
 * Any thread may call pipe_done; all else is the loop's thread's.
 */
#ifndef POUND_PIPES_H
#define POUND_PIPES_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

typedef struct pipes_t {
    int64_t bytes;
    int64_t refs;
} pipes_t;

typedef struct pipe_t {
    int64_t bytes;
    pipes_t *all;
} pipe_t;

static inline pipes_t *pipes_new(void) {
    pipes_t *all = (pipes_t *)calloc(1, sizeof(pipes_t));

    if (all != 0) {
        all->refs = 1;
    }
    return all;
}

static inline void pipes_release(pipes_t *all) {
    if (__atomic_sub_fetch(&all->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        free(all);
    }
}

static inline int64_t pipes_bytes(const pipes_t *all) {
    return __atomic_load_n(&all->bytes, __ATOMIC_RELAXED);
}

static inline pipe_t *pipe_new(pipes_t *all) {
    pipe_t *pipe = (pipe_t *)malloc(sizeof(pipe_t));

    if (pipe != 0) {
        pipe->bytes = 1;
        pipe->all = all;
        __atomic_add_fetch(&all->refs, 1, __ATOMIC_RELAXED);
    }
    return pipe;
}

static inline void pipe_add(pipe_t *pipe, int64_t bytes) {
    __atomic_add_fetch(&pipe->all->bytes, bytes, __ATOMIC_RELAXED);
    __atomic_add_fetch(&pipe->bytes, bytes, __ATOMIC_RELAXED);
}

static inline void pipe_sub(pipe_t *pipe, int64_t bytes) {
    pipes_t *all = pipe->all;

    if (__atomic_sub_fetch(&pipe->bytes, bytes, __ATOMIC_ACQ_REL) == 0) {
        free(pipe);
        pipes_release(all);
    }
}

static inline void pipe_done(pipe_t *pipe, int64_t bytes) {
    __atomic_sub_fetch(&pipe->all->bytes, bytes, __ATOMIC_RELAXED);
    pipe_sub(pipe, bytes);
}

static inline void pipe_release(pipe_t *pipe) {
    pipe_sub(pipe, 1);
}

/* pipe_bytes gives the bytes that libzmq holds; for the owner, or NULL. */
static inline int64_t pipe_bytes(const pipe_t *pipe) {
    return pipe == 0 ? 0 : __atomic_load_n(&pipe->bytes, __ATOMIC_RELAXED) - 1;
}

/* taken_mark returns a number that changes when the other end of a connection takes what it was
 * sent: bytes acknowledged (TCP), or bytes not read yet (ipc). Any descriptor may be asked. */
static inline int64_t taken_mark(int fd) {
    int queued = 0;
#ifdef __linux__
    enum { ACKED = 120 }; /* tcpi_bytes_acked in Linux's tcp_info; many a libc's lacks it */
    uint64_t acked;
    char info[ACKED + sizeof(acked)];
    socklen_t size = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0 && size == sizeof(info)) {
        memcpy(&acked, info + ACKED, sizeof(acked));
        return (int64_t)acked;
    }
#endif
    return ioctl(fd, TIOCOUTQ, &queued) == 0 ? queued : 0;
}

#endif
