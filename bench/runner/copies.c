/* copies.so, for LD_PRELOAD: counts the bytes that a process copies in memory in large pieces.
 *
 * It stands in front of memcpy, memmove and their checked forms, for every object of the process,
 * libzmq and Pound's extensions included. A call of COPY_MIN bytes or more adds its size to two
 * counters, calls and bytes, in the file that BENCH_COPIES names (16 bytes, shared memory). What
 * the kernel copies in read and write is not in it; nor are copies that a compiler expands in
 * place, which it does only for small sizes that it knows.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COPY_MIN = 1024 };

typedef void *(*copy_fn)(void *, const void *, size_t);

static struct { uint64_t calls, bytes; } *counters;
static copy_fn real_memcpy, real_memmove;

__attribute__((constructor)) static void begin(void) {
    real_memcpy = (copy_fn)dlsym(RTLD_NEXT, "memcpy");
    real_memmove = (copy_fn)dlsym(RTLD_NEXT, "memmove");
    const char *path = getenv("BENCH_COPIES");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *shared = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED)
        counters = shared;
    close(fd);
}

static inline void count(size_t size) {
    if (size < COPY_MIN || !counters)
        return;
    __atomic_fetch_add(&counters->calls, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->bytes, size, __ATOMIC_RELAXED);
}

/* Before the constructor has run: the loader and libc copy too. */
static void *plain_move(void *to, const void *from, size_t size) {
    volatile uint8_t *t = to;
    const volatile uint8_t *f = from;
    if (t < f)
        for (size_t i = 0; i < size; i++)
            t[i] = f[i];
    else
        while (size--)
            t[size] = f[size];
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    count(size);
    return (real_memcpy ? real_memcpy : plain_move)(to, from, size);
}

void *memmove(void *to, const void *from, size_t size) {
    count(size);
    return (real_memmove ? real_memmove : plain_move)(to, from, size);
}

void *__memcpy_chk(void *to, const void *from, size_t size, size_t room) {
    if (size > room)
        abort();
    return memcpy(to, from, size);
}

void *__memmove_chk(void *to, const void *from, size_t size, size_t room) {
    if (size > room)
        abort();
    return memmove(to, from, size);
}
