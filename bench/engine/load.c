/* The director of the load engine: options, phases and the report. See load.h for the whole. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define EXIT_GRACE_S 8.0
#define PROGRESS_EVERY_S 0.5

static const char usage[] =
    "usage: load MODE --port PORT|--unix PATH [options]\n"
    "  echo      every connection keeps --inflight messages on their way\n"
    "  rate      --rate messages a second on a fixed schedule; latency counts from when a message was due\n"
    "  idle      holds the connections, answers pings\n"
    "  connect   upgrades only\n"
    "  fanout    one more connection publishes; the next burst goes out when all others have heard the last one;\n"
    "            messages are deliveries, latency is the time until the last subscriber has a burst\n"
    "options (default):\n"
    "  --connections N (100)   --processes N (1)       --concurrency N dialling at once, each process (256)\n"
    "  --path PATH (/echo)     --header 'Name: value'  --server-pid PID to read CPU time of; both may be repeated\n"
    "  --size BYTES (64; 128)  --text                  --inflight N (1)       --rate PER_SECOND (1000)\n"
    "  --warmup S (0.5)        --seconds S (3)         --connect-seconds S (60)\n"
    "  --fragments N (1) frames of each message (echo, rate)   --tls, without verification\n"
    "  --deflate               compressed messages, no context taken over; replies may be compressed or not\n"
    "  --subscribe TEXT        what every connection but the publisher says after its upgrade (idle, fanout)\n"
    "  --publish-path PATH (--path)   --publish TEXT with {payload} in it ({payload})   --burst N in a write (1)\n"
    "  --until-stdin           idle: until a line or the end of standard input, at most --seconds\n"
    "  --connect-seconds       bounds the dialling, and then what it takes until every subscriber hears the publisher\n"
    "  --abrupt                end with resets, not close frames\n"
    "  --urgent                comes before other processes on its CPU, as far as the system allows\n"
    "  --progress              JSON lines on standard error\n";

#define MODES 5
static const char *const modes[MODES] = {"echo", "rate", "idle", "connect", "fanout"};

typedef struct {
    uint64_t at, messages, bytes;
    double client_cpu, server_cpu;
} reading;

static volatile sig_atomic_t interrupted;

static void interrupt(int number) {
    (void)number;
    interrupted = 1;
}

static double cpu_seconds(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    if (pid == 0) return 0; /* not started yet */
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static reading take_reading(const options *o, const shared_state *shared) {
    reading r = {.at = now_ns(), .client_cpu = cpu_seconds(getpid())};
    for (int i = 0; i < o->server_pid_count; i++) r.server_cpu += cpu_seconds(o->server_pids[i]);
    for (int i = 0; i < o->processes; i++) {
        r.messages += shared->workers[i].messages;
        r.bytes += shared->workers[i].bytes;
        r.client_cpu += cpu_seconds(shared->workers[i].pid) - (double)shared->workers[i].idle_ns / 1e9;
    }
    return r;
}

static void say(const options *o, const shared_state *shared, const char *phase) {
    if (!o->progress) return;
    uint64_t connected = 0, settled = 0, messages = 0;
    for (int i = 0; i < o->processes; i++) {
        connected += shared->workers[i].connected;
        settled += shared->workers[i].settled;
        messages += shared->workers[i].messages;
    }
    fprintf(stderr, "{\"phase\":\"%s\",\"connected\":%lu,\"settled\":%lu,\"messages\":%lu}\n", phase, connected,
            settled, messages);
}

static void wait_a_moment(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    nanosleep(&t, NULL);
}

static void wait_connected(const options *o, const shared_state *shared) {
    uint64_t start = now_ns(), said = start;
    while (!interrupted && (double)(now_ns() - start) / 1e9 < o->connect_seconds) {
        uint64_t settled = 0;
        for (int i = 0; i < o->processes; i++) settled += shared->workers[i].settled;
        if (settled >= (uint64_t)(o->connections + (o->mode == FANOUT))) break;
        if ((double)(now_ns() - said) / 1e9 > PROGRESS_EVERY_S) {
            say(o, shared, "connecting");
            said = now_ns();
        }
        wait_a_moment(0.001);
    }
    say(o, shared, "connected");
}

/* Until each subscriber hears the publisher, or some do not: the publisher says so in time, if it is there at all. */
static void wait_subscribed(const options *o, shared_state *shared) {
    uint64_t end = now_ns() + (uint64_t)((o->connect_seconds + EXIT_GRACE_S) * 1e9);
    while (!interrupted && !shared->subscribed && !shared->spoiled && now_ns() < end) wait_a_moment(0.001);
    if (!shared->subscribed) shared->spoiled = 1;
}

/* Sleeps, with progress; ends early when interrupted or spoiled or, if asked, when standard input says something. */
static void spend(const options *o, const shared_state *shared, double seconds, const char *phase, int mind_stdin) {
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (!interrupted && !shared->spoiled) {
        uint64_t now = now_ns();
        if (now >= end) return;
        double left = (double)(end - now) / 1e9;
        if (left > PROGRESS_EVERY_S) left = PROGRESS_EVERY_S;
        if (mind_stdin) {
            struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
            if (poll(&input, 1, (int)(left * 1000)) > 0) return;
        } else {
            wait_a_moment(left);
        }
        say(o, shared, phase);
    }
}

static void print_histogram(const char *name, const histogram *h) {
    double us = 1e-3;
    double mean = h->count ? us * (double)h->sum / (double)h->count : 0;
    printf("\"%s\":{\"count\":%lu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,", name, h->count, mean,
           us * (double)histogram_quantile(h, .5), us * (double)histogram_quantile(h, .9));
    printf("\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", us * (double)histogram_quantile(h, .99),
           us * (double)histogram_quantile(h, .999), us * (double)h->largest);
}

static void print_span(const char *name, const reading *from, const reading *to) {
    printf("\"%s\":{\"seconds\":%.6f,\"messages\":%lu,\"bytes\":%lu,\"server_cpu_s\":%.6f,\"client_cpu_s\":%.6f,", name,
           (double)(to->at - from->at) / 1e9, to->messages - from->messages, to->bytes - from->bytes,
           to->server_cpu - from->server_cpu, to->client_cpu - from->client_cpu);
}

static void print_failures(const options *o, const shared_state *shared) {
    static const char *const names[FAILURES] = {"cannot_connect", "not_upgraded", "bad_frame",
                                                "bad_payload",    "closed_early", "unanswered",
                                                "lost",           "repeated"};
    const char *first = "";
    uint64_t all = 0;
    printf("\"failures\":{");
    for (int f = 0; f < FAILURES; f++) {
        uint64_t count = 0;
        for (int i = 0; i < o->processes; i++) count += shared->workers[i].failures[f];
        all += count;
        printf("\"%s\":%lu,", names[f], count);
    }
    for (int i = 0; i < o->processes && !*first; i++) first = shared->workers[i].first_failure;
    printf("\"all\":%lu},\"first_failure\":\"", all);
    for (; *first; first++) putchar(*first < ' ' || *first > '~' || *first == '"' || *first == '\\' ? '?' : *first);
    printf("\"");
}

static void report(const options *o, const shared_state *shared, const reading readings[4]) {
    histogram *all = calloc(2, sizeof *all);
    uint64_t connected = 0, pings = 0;
    for (int i = 0; i < o->processes; i++) {
        const figures *f = &shared->workers[i];
        histogram_merge(&all[0], &f->handshakes);
        histogram_merge(&all[1], &f->latencies);
        connected += f->connected;
        pings += f->pings;
    }
    printf("{\"mode\":\"%s\",\"connections\":%d,\"connected\":%lu,\"processes\":%d,\"pings\":%lu,", modes[o->mode],
           o->connections, connected, o->processes, pings);
    print_span("connect", &readings[0], &readings[1]);
    print_histogram("handshake_us", &all[0]);
    printf("},");
    print_span("run", &readings[2], &readings[3]);
    print_histogram("latency_us", &all[1]);
    printf("},");
    print_failures(o, shared);
    printf("}\n");
    free(all);
}

static void collect_workers(const options *o, shared_state *shared) {
    uint64_t end = now_ns() + (uint64_t)(EXIT_GRACE_S * 1e9);
    int left = o->processes;
    while (left > 0) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid > 0) {
            left--;
        } else if (pid < 0) {
            return;
        } else if (now_ns() > end) {
            for (int i = 0; i < o->processes; i++) kill(shared->workers[i].pid, SIGKILL);
            end = UINT64_MAX;
        } else {
            wait_a_moment(0.005);
        }
    }
}

static void refuse(const char *why) {
    fprintf(stderr, "load: %s\n%s", why, usage);
    exit(2);
}

static enum mode mode_named(const char *name) {
    for (int i = 0; i < MODES; i++) {
        if (!strcmp(name, modes[i])) return (enum mode)i;
    }
    refuse("unknown mode");
    return ECHO;
}

static void check_publication(options *o) {
    const char *hole = strstr(o->publish, PAYLOAD_HOLE);
    if (!hole || strstr(hole + 1, PAYLOAD_HOLE)) refuse("--publish has {payload} in it, once");
    if (strlen(o->publish) > LARGEST_TEXT) refuse("--publish is at most 4096 bytes");
    if (o->size < LEAST_PUBLICATION) refuse("--size of a publication is at least 24");
    if (o->burst < 1 || o->burst > MOST_BURST) refuse("--burst is 1 to 256");
    if (!o->publish_path) o->publish_path = o->path;
    o->run_number = (uint32_t)mix(now_ns());
}

static void check_variants(const options *o) {
    int answered = o->mode == ECHO || o->mode == RATE;
    if (o->fragments < 1 || o->fragments > MOST_FRAGMENTS) refuse("--fragments is 1 to 1024");
    if (o->fragments > 1 && (!answered || (size_t)o->fragments > o->size)) {
        refuse("--fragments goes with echo and rate, and is at most --size");
    }
    if (o->deflate && o->mode == FANOUT) refuse("--deflate does not go with fanout");
    if (o->deflate && !HAS_DEFLATE) refuse("--deflate is not built in: zlib.h (zlib1g-dev) was missing");
    if (o->tls && !HAS_TLS) refuse("--tls is not built in: openssl/ssl.h (libssl-dev) was missing");
}

static void check(options *o) {
    struct rlimit files;
    if (!*o->unix_path && (o->port < 1 || o->port > 65535)) refuse("--port is 1 to 65535");
    if (strlen(o->unix_path) > 107) refuse("--unix is at most 107 bytes");
    if (strlen(o->path) > 1024 || (o->publish_path && strlen(o->publish_path) > 1024)) refuse("--path is too long");
    check_variants(o);
    if (o->connections < 1 || o->connections > MOST_CONNECTIONS) refuse("--connections is 1 to 2,000,000");
    if (o->processes < 1 || o->processes > MOST_PROCESSES) refuse("--processes is 1 to 64");
    if (o->connections < o->processes) o->processes = o->connections;
    if (o->concurrency < 1) refuse("--concurrency is at least 1");
    if (o->inflight < 1 || o->inflight > 4096) refuse("--inflight is 1 to 4096");
    if (o->size > 16u << 20 || o->size * (size_t)o->inflight > 256u << 20) {
        refuse("--size is at most 16 MiB, and 256 MiB in flight on a connection");
    }
    if (*o->subscribe && o->mode != IDLE && o->mode != FANOUT) refuse("--subscribe goes with idle and fanout");
    if (strlen(o->subscribe) > LARGEST_TEXT) refuse("--subscribe is at most 4096 bytes");
    if (o->mode == FANOUT) check_publication(o);
    if (!(o->rate > 0) || o->rate > 1e8) refuse("--rate is more than 0");
    if (!(o->seconds >= 0 && o->seconds <= MOST_SECONDS)) refuse("--seconds is 0 to 7200");
    if (!(o->warmup >= 0 && o->warmup <= MOST_SECONDS)) refuse("--warmup is 0 to 7200");
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if ((rlim_t)(o->connections / o->processes) + 32 > files.rlim_max) {
        refuse("more connections than descriptors (ulimit -n): use more --processes");
    }
}

static void add_header(options *o, const char *line) {
    size_t used = strlen(o->headers);
    if (used + strlen(line) + 3 > sizeof o->headers) refuse("--header: too much");
    if (strpbrk(line, "\r\n")) refuse("--header: without line ends");
    strcat(strcat(o->headers, line), "\r\n");
}

static void parse(options *o, int argc, char **argv) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"processes", 1, 0, 'P'}, {"concurrency", 1, 0, 'd'},
        {"path", 1, 0, 'a'}, {"header", 1, 0, 'h'}, {"server-pid", 1, 0, 'i'}, {"size", 1, 0, 's'}, {"text", 0, 0, 't'},
        {"inflight", 1, 0, 'k'}, {"rate", 1, 0, 'r'}, {"warmup", 1, 0, 'w'}, {"seconds", 1, 0, 'S'},
        {"connect-seconds", 1, 0, 'C'}, {"until-stdin", 0, 0, 'u'}, {"abrupt", 0, 0, 'x'}, {"progress", 0, 0, 'g'},
        {"subscribe", 1, 0, 'b'}, {"publish-path", 1, 0, 'A'}, {"publish", 1, 0, 'B'}, {"burst", 1, 0, 'n'},
        {"urgent", 0, 0, 'U'}, {"fragments", 1, 0, 'f'}, {"deflate", 0, 0, 'z'}, {"tls", 0, 0, 'T'},
        {"unix", 1, 0, 'X'}, {0}};
    if (argc < 2) refuse("which mode?");
    o->mode = mode_named(argv[1]);
    if (o->mode == FANOUT) o->size = 128;
    for (int option; (option = getopt_long(argc - 1, argv + 1, "", known, NULL)) != -1;) {
        switch (option) {
            case 'p': o->port = atoi(optarg); break;
            case 'c': o->connections = atoi(optarg); break;
            case 'P': o->processes = atoi(optarg); break;
            case 'd': o->concurrency = atoi(optarg); break;
            case 'a': o->path = optarg; break;
            case 'h': add_header(o, optarg); break;
            case 'i':
                if (o->server_pid_count < MOST_SERVER_PIDS) o->server_pids[o->server_pid_count++] = atoi(optarg);
                break;
            case 's': o->size = strtoul(optarg, NULL, 10); break;
            case 't': o->text = 1; break;
            case 'k': o->inflight = atoi(optarg); break;
            case 'r': o->rate = atof(optarg); break;
            case 'w': o->warmup = atof(optarg); break;
            case 'S': o->seconds = atof(optarg); break;
            case 'C': o->connect_seconds = atof(optarg); break;
            case 'u': o->until_stdin = 1; break;
            case 'x': o->abrupt = 1; break;
            case 'b': o->subscribe = optarg; break;
            case 'A': o->publish_path = optarg; break;
            case 'B': o->publish = optarg; break;
            case 'n': o->burst = atoi(optarg); break;
            case 'f': o->fragments = atoi(optarg); break;
            case 'z': o->deflate = 1; break;
            case 'T': o->tls = 1; break;
            case 'X': o->unix_path = optarg; break;
            case 'U': o->urgent = 1; break;
            case 'g': o->progress = 1; break;
            default: refuse("unknown option");
        }
    }
    check(o);
}

int main(int argc, char **argv) {
    options o = {.connections = 100, .processes = 1, .concurrency = 256, .inflight = 1, .size = 64, .warmup = 0.5,
                 .seconds = 3, .connect_seconds = 60, .rate = 1000, .path = "/echo", .subscribe = "", .publish = PAYLOAD_HOLE,
                 .burst = 1, .unix_path = "", .fragments = 1};
    parse(&o, argc, argv);
    shared_state *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) refuse("no memory");
    shared->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    reading readings[4] = {take_reading(&o, shared)};
    for (int i = 0; i < o.processes; i++) {
        pid_t pid = fork();
        if (pid == 0) run_worker(&o, shared, i);
        if (pid < 0) refuse("cannot start another process"); /* those already there end with this one */
        shared->workers[i].pid = pid;
    }
    wait_connected(&o, shared);
    readings[1] = readings[2] = readings[3] = take_reading(&o, shared);
    if (o.mode != CONNECT && !interrupted && !shared->spoiled) {
        shared->phase = WARMING;
        if (o.mode == FANOUT) wait_subscribed(&o, shared);
        if (o.mode != IDLE) spend(&o, shared, o.warmup, "warming", 0);
        readings[2] = take_reading(&o, shared);
        shared->measured_from = readings[2].at;
        shared->phase = MEASURING;
        say(&o, shared, "measuring");
        spend(&o, shared, o.seconds, o.mode == IDLE ? "holding" : "measuring", o.until_stdin);
        readings[3] = take_reading(&o, shared);
        shared->measured_to = readings[3].at;
    }
    shared->phase = STOPPING;
    collect_workers(&o, shared);
    report(&o, shared, readings);
    return 0;
}
