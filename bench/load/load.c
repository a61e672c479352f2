/* load: drives a broker with many clients and workers from one thread, and measures.
 *
 * It speaks each protocol itself over epoll, so that it takes as little as possible of the cores
 * that it shares with its subject. Prints one line of JSON. Exit code 0; 1 if anything was wrong
 * (a lost, wrong or second answer, a closed connection); 2 if it could not start.
 */
#include "load.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cpu.h"
#include "loop.h"
#include "options.h"

enum {
    OPENING_MAX = 32,  /* connections in the making at once: below any listen backlog */
    SPARE_FILES = 64,
};

static const uint64_t PATIENCE_NS = 30000000000; /* for all peers to come in, and for each: */
static const uint64_t PATIENCE_EACH_NS = 10000000;
static const uint64_t ENDING_NS = 5000000000;    /* for the last answers, work apart, and for each: */
static const uint64_t ENDING_EACH_NS = 20000;

/* What a run measured; the times are of the measured phase only. */
struct result {
    double seconds;
    double own_cpu;      /* of one core */
    struct cpu subject;
    uint64_t reads, writes, messages;
    uint64_t lost;
};

static _Noreturn void fail(const struct run *run, const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, run->errors ? run->first_error : "no reason seen");
    exit(2);
}

/* --- the phases */

/* run_open connects peers [from, until) and returns when all have introduced themselves. */
static void run_open(struct run *run, uint32_t from, uint32_t until) {
    uint64_t end_ns = clock_ns() + PATIENCE_NS + until * PATIENCE_EACH_NS;
    uint32_t next = from, base = run->ready_n;
    while (run->ready_n - base < until - from) {
        while (next < until && next - from - (run->ready_n - base) < OPENING_MAX)
            run_connect(run, &run->peers[next++]);
        run_turn(run);
        if (run->errors || run->now_ns > end_ns)
            fail(run, "not all peers came in");
    }
}

static void run_until(struct run *run, uint64_t end_ns) {
    do
        run_turn(run);
    while (run->now_ns < end_ns);
}

/* run_fill lets every client send until its window is full. */
static void run_fill(struct run *run) {
    run->phase = PHASE_WARMING;
    run->now_ns = clock_ns();
    for (uint32_t i = run->options->workers; i < run->peers_n; i++)
        if (!run->options->connects)
            peer_fill(&run->peers[i]);
    run_flush(run);
}

/* run_hold says where the run is and goes on, turning, until a line comes on stdin. */
static void run_hold(struct run *run, const char *where) {
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char line[16];
    printf("{\"hold\": \"%s\"}\n", where);
    fflush(stdout);
    while (poll(&in, 1, 0) == 0)
        run_turn(run);
    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        fail(run, "nobody says when to go on");
}

/* run_begin brings all peers in and fills the windows: in the end, or before a worker comes. */
static void run_begin(struct run *run) {
    uint32_t workers = run->options->workers;
    if (!run->options->fill_first) {
        run_open(run, 0, workers);
        run_open(run, workers, run->peers_n);
        run_fill(run);
        return;
    }
    run_open(run, workers, run->peers_n);
    run_hold(run, "empty");
    run_fill(run);
    run_hold(run, "full");
    run_open(run, 0, workers);
}

static void run_warm(struct run *run) {
    run_until(run, clock_ns() + (uint64_t)run->options->warm_up_ms * MS_NS);
}

static void run_measure(struct run *run, struct result *result) {
    struct cpu before;
    uint64_t begin_ns = clock_ns(), own_ns = cpu_own_ns();
    cpu_read(run->options->subject_pid, &before);
    run->phase = PHASE_MEASURING;
    run->reads = run->writes = run->messages = 0;
    run_until(run, begin_ns + (uint64_t)run->options->duration_ms * MS_NS);
    cpu_read(run->options->subject_pid, &result->subject);
    cpu_subtract(&result->subject, &before);
    double passed_ns = (double)(run->now_ns - begin_ns);
    result->seconds = passed_ns / 1e9;
    result->own_cpu = (double)(cpu_own_ns() - own_ns) / passed_ns;
    result->reads = run->reads;
    result->writes = run->writes;
    result->messages = run->messages;
}

/* run_end waits for the answers that are still open; those that never come are lost. */
static void run_end(struct run *run, struct result *result) {
    const struct options *o = run->options;
    uint64_t slots = (uint64_t)o->workers * o->capacity;
    uint64_t work_ns = slots ? run->open * o->work_us * 1000 / slots : 0;
    uint64_t end_ns = run->now_ns + ENDING_NS + run->open * ENDING_EACH_NS + 2 * work_ns;
    run->phase = PHASE_ENDING;
    while (run->open && run->now_ns < end_ns)
        run_turn(run);
    result->lost = run->open;
}

/* --- the report */

static void print_threads(const struct cpu *cpu, double requests) {
    const char *comma = "";
    printf(", \"threads\": [");
    for (uint32_t i = 0; i < cpu->n; i++) {
        const struct cpu_thread *thread = &cpu->threads[i];
        if (thread->ns < MS_NS)
            continue;
        printf("%s[\"%s\", %.4f]", comma, thread->name, (double)thread->ns / 1e3 / requests);
        comma = ", ";
    }
    printf("]");
}

static void print_distribution(const struct histogram *h) {
    const char *comma = "";
    printf(", \"distribution_us\": [");
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (!h->counts[i])
            continue;
        printf("%s[%.3f, %llu]", comma, (double)histogram_upper(i) / 1e3,
               (unsigned long long)h->counts[i]);
        comma = ", ";
    }
    printf("]");
}

/* print_text prints a JSON string; what could end it or is not plain ASCII becomes a dot. */
static void print_text(const char *text) {
    putchar('"');
    for (; *text; text++)
        putchar(*text < ' ' || *text > '~' || *text == '"' || *text == '\\' ? '.' : *text);
    putchar('"');
}

static void print_report(const struct run *run, const struct result *result) {
    const struct options *o = run->options;
    const struct histogram *h = &run->latency;
    double requests = h->total ? (double)h->total : 1;
    printf("{\"dialect\": \"%s\", \"clients\": %u, \"outstanding\": %u, \"workers\": %u, "
           "\"capacity\": %u, \"work_us\": %u, \"bytes\": %zu, \"answers\": %llu, ",
           o->dialect->name, o->clients, o->outstanding, o->workers, o->capacity, o->work_us,
           o->bytes, (unsigned long long)run->answers);
    printf("\"seconds\": %.4f, \"requests\": %llu, \"per_s\": %.1f, ", result->seconds,
           (unsigned long long)h->total, requests / result->seconds);
    printf("\"reads\": %.4f, \"writes\": %.4f, \"messages\": %.4f, ",
           (double)result->reads / requests, (double)result->writes / requests,
           (double)result->messages / requests);
    printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f, ",
           (double)histogram_quantile(h, 0.5) / 1e3, (double)histogram_quantile(h, 0.99) / 1e3,
           (double)histogram_quantile(h, 0.999) / 1e3, (double)h->highest_ns / 1e3);
    if (run->light.total)
        printf("\"light_p50_us\": %.2f, \"light_p99_us\": %.2f, \"light_requests\": %llu, ",
               (double)histogram_quantile(&run->light, 0.5) / 1e3,
               (double)histogram_quantile(&run->light, 0.99) / 1e3,
               (unsigned long long)run->light.total);
    printf("\"errors\": %llu, \"lost\": %llu, \"first_error\": ", (unsigned long long)run->errors,
           (unsigned long long)result->lost);
    print_text(run->first_error);
    printf(", \"load_cpu\": %.3f", result->own_cpu);
    if (result->subject.n && h->total) {
        printf(", \"subject_us\": %.4f", (double)result->subject.ns / 1e3 / requests);
        print_threads(&result->subject, requests);
    }
    if (o->distribution)
        print_distribution(h);
    puts("}");
}

/* --- the program */

static void raise_file_limit(uint32_t peers) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < peers + SPARE_FILES)
        limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void run_init(struct run *run, const struct options *options) {
    memset(run, 0, sizeof *run);
    run->options = options;
    run->dialect = options->dialect;
    run->peers_n = options->workers + options->clients;
    run->peers = must(calloc(run->peers_n, sizeof *run->peers));
    run->dirty = must(calloc(run->peers_n, sizeof *run->dirty));
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    body_init(&run->body, options->bytes);
    if (options->curve)
        curve_load(&run->keys, options->curve, options->sodium);
    for (uint32_t i = 0; i < run->peers_n; i++) {
        bool worker = i < options->workers;
        run->peers[i] = (struct peer){.run = run, .fd = -1, .role = worker ? WORKER : CLIENT,
                                      .number = worker ? i : i - options->workers};
        if (!worker)
            window_init(&run->peers[i].window, options->outstanding);
    }
}

static void run_free(struct run *run) {
    for (uint32_t i = 0; i < run->peers_n; i++)
        peer_free(&run->peers[i]);
    close(run->epoll);
    free(run->peers);
    free(run->dirty);
    bytes_free(&run->scratch);
    free(run->work.pieces);
    body_free(&run->body);
}

int main(int argc, char **argv) {
    static struct run run;
    struct options options;
    struct result result = {0};
    options_parse(&options, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit(options.workers + options.clients);
    run_init(&run, &options);
    run_begin(&run);
    run_warm(&run);
    run_measure(&run, &result);
    run_end(&run, &result);
    print_report(&run, &result);
    run_free(&run);
    return run.errors || result.lost ? 1 : 0;
}
