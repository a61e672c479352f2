#include "cpu.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void thread_read(int pid, struct cpu_thread *thread) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", pid, thread->tid);
    FILE *file = fopen(path, "re");
    if (file) {
        unsigned long long ns = 0;
        if (fscanf(file, "%llu", &ns) == 1)
            thread->ns = ns;
        fclose(file);
    }
    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", pid, thread->tid);
    file = fopen(path, "re");
    if (file) {
        if (fgets(thread->name, sizeof thread->name, file))
            thread->name[strcspn(thread->name, "\n\"\\")] = 0;
        fclose(file);
    }
}

void cpu_read(int pid, struct cpu *cpu) {
    char path[32];
    struct dirent *entry;
    memset(cpu, 0, sizeof *cpu);
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = pid ? opendir(path) : NULL;
    if (!tasks)
        return;
    while ((entry = readdir(tasks)) && cpu->n < CPU_THREADS_MAX) {
        struct cpu_thread *thread = &cpu->threads[cpu->n];
        thread->tid = atoi(entry->d_name);
        if (!thread->tid)
            continue;
        thread_read(pid, thread);
        cpu->ns += thread->ns;
        cpu->n++;
    }
    closedir(tasks);
}

void cpu_subtract(struct cpu *later, const struct cpu *earlier) {
    for (uint32_t i = 0; i < later->n; i++)
        for (uint32_t j = 0; j < earlier->n; j++)
            if (later->threads[i].tid == earlier->threads[j].tid)
                later->threads[i].ns -= earlier->threads[j].ns;
    later->ns -= earlier->ns;
}

uint64_t cpu_own_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}
