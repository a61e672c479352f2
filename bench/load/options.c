#include "options.h"

#include <getopt.h>

enum { BYTES_MAX = 256 << 20, COUNT_MAX = 1 << 20 };

static const struct dialect *const dialects[] = {
    &plain_dialect, &proxy_dialect, &mdp1_dialect, &pnd_dialect, &floor_dialect,
    &nats_dialect, &gearman_dialect, &redis_dialect, &amqp_dialect,
};
enum { DIALECTS = sizeof dialects / sizeof *dialects };

static _Noreturn void usage(const char *complaint) {
    fprintf(stderr,
            "load: %s\n"
            "usage: load DIALECT --frontend HOST:PORT [--backend HOST:PORT] [options]\n"
            "  --clients N      8     --outstanding N  64  (requests each client keeps open)\n"
            "  --light N        0     (of the clients: they keep one request open each)\n"
            "  --workers N      16    --capacity N     1   (tasks a worker holds, where it says)\n"
            "  --work-us N      0     (for each task, in the mean; PND)\n"
            "  --bytes N        64    (of each body, from %d)\n"
            "  --warm-up-ms N   500   --duration-ms N  2000\n"
            "  --pid N                (of the subject: its CPU time is taken)\n"
            "  --distribution         (print the latency histogram too)\n"
            "  --fill-first           (the windows are filled before a worker comes; before and\n"
            "                          after that a line is printed, and one waited for)\n"
            "  --connects             (clients connect, are welcomed and go: that is counted)\n"
            "  --curve FILE           (encrypted; two lines of hexadecimal digits: the broker's\n"
            "                          public and our secret key) --sodium FILE  (libsodium)\n"
            "HOST is a numeric IPv4 address; a tcp:// before it is skipped.\ndialects:\n",
            complaint, BODY_TAG_SIZE);
    for (int i = 0; i < DIALECTS; i++)
        fprintf(stderr, "  %-7s %s\n", dialects[i]->name, dialects[i]->about);
    exit(2);
}

static const struct dialect *find_dialect(const char *name) {
    for (int i = 0; i < DIALECTS; i++)
        if (strcmp(name, dialects[i]->name) == 0)
            return dialects[i];
    usage("no such dialect");
}

static uint32_t number(const char *text, long least, long most) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || value < least || value > most)
        usage("a number is out of range");
    return (uint32_t)value;
}

static const char *endpoint(const char *text) {
    static const char scheme[] = "tcp://";
    if (strncmp(text, scheme, strlen(scheme)) == 0)
        text += strlen(scheme);
    if (!strrchr(text, ':'))
        usage("an endpoint is HOST:PORT");
    return text;
}

enum setting {
    FRONTEND, BACKEND, CLIENTS, OUTSTANDING, WORKERS, CAPACITY, BYTES, WARM_UP, DURATION, PID,
    DISTRIBUTION, FILL_FIRST, LIGHT, WORK, CONNECTS, CURVE, SODIUM,
};

static const struct option long_options[] = {
    {"frontend", required_argument, NULL, FRONTEND},
    {"backend", required_argument, NULL, BACKEND},
    {"clients", required_argument, NULL, CLIENTS},
    {"outstanding", required_argument, NULL, OUTSTANDING},
    {"workers", required_argument, NULL, WORKERS},
    {"capacity", required_argument, NULL, CAPACITY},
    {"bytes", required_argument, NULL, BYTES},
    {"warm-up-ms", required_argument, NULL, WARM_UP},
    {"duration-ms", required_argument, NULL, DURATION},
    {"pid", required_argument, NULL, PID},
    {"distribution", no_argument, NULL, DISTRIBUTION},
    {"fill-first", no_argument, NULL, FILL_FIRST},
    {"connects", no_argument, NULL, CONNECTS},
    {"curve", required_argument, NULL, CURVE},
    {"sodium", required_argument, NULL, SODIUM},
    {"light", required_argument, NULL, LIGHT},
    {"work-us", required_argument, NULL, WORK},
    {0},
};

static void set(struct options *o, int which, const char *value) {
    switch (which) {
    case FRONTEND: o->frontend = endpoint(value); break;
    case BACKEND: o->backend = endpoint(value); break;
    case CLIENTS: o->clients = number(value, 1, COUNT_MAX); break;
    case OUTSTANDING: o->outstanding = number(value, 1, COUNT_MAX); break;
    case WORKERS: o->workers = number(value, 0, COUNT_MAX); break;
    case CAPACITY: o->capacity = number(value, 1, UINT16_MAX); break;
    case BYTES: o->bytes = number(value, BODY_TAG_SIZE, BYTES_MAX); break;
    case WARM_UP: o->warm_up_ms = number(value, 0, INT32_MAX); break;
    case DURATION: o->duration_ms = number(value, 1, INT32_MAX); break;
    case PID: o->subject_pid = (int)number(value, 1, INT32_MAX); break;
    case DISTRIBUTION: o->distribution = true; break;
    case FILL_FIRST: o->fill_first = true; break;
    case CONNECTS: o->connects = true; break;
    case CURVE: o->curve = value; break;
    case SODIUM: o->sodium = value; break;
    case LIGHT: o->light = number(value, 0, COUNT_MAX); break;
    case WORK: o->work_us = number(value, 0, INT32_MAX); break;
    default: usage("no such option");
    }
}

void options_parse(struct options *o, int argc, char **argv) {
    int which;
    *o = (struct options){.clients = 8, .outstanding = 64, .workers = 16, .capacity = 1,
                          .bytes = 64, .warm_up_ms = 500, .duration_ms = 2000};
    while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        set(o, which, optarg);
    if (optind != argc - 1)
        usage("one dialect is wanted");
    o->dialect = find_dialect(argv[optind]);
    if (!o->frontend)
        usage("--frontend is wanted");
    if (o->curve && (!o->sodium || !o->dialect->zmtp || o->bytes >= BODY_SHARED_MIN))
        usage("--curve goes with --sodium, ZMTP, and bodies below 16 KiB");
    if (o->work_us && !o->dialect->reply)
        usage("workers of this dialect take no time");
    if (!o->backend)
        o->backend = o->frontend;
}
