/* scarce.so, for LD_PRELOAD: what Pound's extensions allocate is refused, as a test says.
 *
 * It stands in front of malloc, calloc, realloc and posix_memalign. The file that SCARCE names is
 * the plan, shared with the test: of the allocations of `least` to `most` bytes one in `one_in` is
 * refused (0: none), and `refused` counts them. Only Pound's are meant, told by the address that
 * the call came from: not Python's, nor the dispatcher's, which ends the process without memory
 * (see "Who owns what" in docs/architecture.md). With `zmq` those of libzmq are refused, too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, under names that nothing stands in front of. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static struct { uint32_t one_in, least, most, zmq, refused; } *plan;
static uint64_t dice = 88172645463325252; /* xorshift64's state */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SCARCE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *shared = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED)
        plan = shared;
    close(fd);
}

static int meant(const void *caller) {
    Dl_info info;
    if (!dladdr(caller, &info) || !info.dli_fname)
        return 0;
    if (strstr(info.dli_fname, "libzmq"))
        return plan->zmq;
    return strstr(info.dli_fname, "/pound/_") && !strstr(info.dli_fname, "/_dispatch/");
}

static int refused(size_t size, const void *caller) {
    if (!plan || !plan->one_in || size < plan->least || size > plan->most || !meant(caller))
        return 0;
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    if ((dice >> 20) % plan->one_in)
        return 0;
    __atomic_fetch_add(&plan->refused, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) {
    return refused(size, __builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return refused(count * size, __builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    return refused(size, __builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    if (refused(size, __builtin_return_address(0)))
        return ENOMEM;
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}
