/* The CPU time of another process, thread by thread, as the kernel counts it.
 *
 * A snapshot costs one small read per thread. It needs /proc/PID/task/TID/schedstat, in ns.
 */
#ifndef BENCH_CPU_H
#define BENCH_CPU_H

#include <stdint.h>

enum { CPU_THREADS_MAX = 64, CPU_NAME_MAX = 16 };

struct cpu_thread {
    int tid;
    char name[CPU_NAME_MAX];
    uint64_t ns; /* on a CPU since the thread began, user and kernel */
};

struct cpu {
    uint32_t n;
    uint64_t ns; /* of all threads */
    struct cpu_thread threads[CPU_THREADS_MAX];
};

/* cpu_read fills `cpu` for the process `pid`; n is 0 if there is no such process. */
void cpu_read(int pid, struct cpu *cpu);

/* cpu_subtract makes `later` the time since `earlier`. */
void cpu_subtract(struct cpu *later, const struct cpu *earlier);

/* cpu_own_ns returns the CPU time of this process. */
uint64_t cpu_own_ns(void);

#endif
