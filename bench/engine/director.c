/* The director: phases of a run, and what it reports. See load.h for the whole. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define EXIT_GRACE_S 8.0
#define DELIVERY_GRACE_S 5.0 /* rooms: what a step may still bring after its end */
#define PROGRESS_EVERY_S 0.5
#define ROOMS_LOOK_EVERY_S 0.02 /* whether a step is overloaded */
#define LONGEST_LINE 200     /* of standard input */

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
    while (!interrupted && !shared->spoiled && !shared->overloaded) {
        uint64_t now = now_ns();
        if (now >= end) return;
        double left = (double)(end - now) / 1e9;
        double most = o->mode == ROOMS ? ROOMS_LOOK_EVERY_S : PROGRESS_EVERY_S;
        if (left > most) left = most;
        if (mind_stdin) {
            struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
            if (poll(&input, 1, (int)(left * 1000)) > 0) return;
        } else {
            wait_a_moment(left);
        }
        if (o->mode != ROOMS) say(o, shared, phase);
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
    printf("{\"mode\":\"%s\",\"connections\":%d,\"connected\":%lu,\"processes\":%d,\"pings\":%lu,", mode_names[o->mode],
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

/* Warming up, and the measured window. */
static void run_phases(const options *o, shared_state *shared, reading *readings) {
    if (o->mode != IDLE) spend(o, shared, o->warmup, "warming", 0);
    readings[2] = take_reading(o, shared);
    shared->measured_from = readings[2].at;
    shared->phase = MEASURING;
    say(o, shared, "measuring");
    spend(o, shared, o->seconds, o->mode == IDLE ? "holding" : "measuring", o->until_stdin);
    readings[3] = take_reading(o, shared);
    shared->measured_to = readings[3].at;
}

/* Whether all workers agree, in the time: to have begun the step, or to have said all of it and heard everything. */
static int wait_step(const options *o, shared_state *shared, int over, double seconds) {
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    do {
        int agree = 1;
        for (int i = 0; i < o->processes; i++) {
            const figures *f = &shared->workers[i];
            agree &= over ? f->silent == shared->step && f->heard >= f->due : f->step == shared->step;
        }
        if (agree) return 1;
        wait_a_moment(0.001);
    } while (!interrupted && !shared->spoiled && now_ns() < end);
    return 0;
}

static void fail(shared_state *shared, enum failure what, uint64_t times, const char *detail) {
    figures *f = &shared->workers[0];
    if (!f->first_failure[0]) snprintf(f->first_failure, sizeof f->first_failure, "%s", detail);
    f->failures[what] += times;
    shared->spoiled = 1;
}

static void run_step(const options *o, shared_state *shared, double rate, double warmup, double seconds,
                     reading *readings) {
    shared->measured_from = shared->measured_to = 0;
    shared->overloaded = 0;
    shared->rate = rate;
    shared->step++;
    if (!wait_step(o, shared, 0, EXIT_GRACE_S)) fail(shared, UNANSWERED, 1, "a step does not begin");
    spend(o, shared, warmup, "warming", 0);
    readings[2] = take_reading(o, shared);
    shared->measured_from = readings[2].at;
    say(o, shared, "measuring");
    spend(o, shared, seconds, "measuring", 0);
    readings[3] = take_reading(o, shared);
    shared->measured_to = readings[3].at;
    shared->quiet = shared->step;
    if (!wait_step(o, shared, 1, DELIVERY_GRACE_S) && !shared->spoiled) {
        uint64_t missing = 0;
        for (int i = 0; i < o->processes; i++) missing += shared->workers[i].due - shared->workers[i].heard;
        fail(shared, UNANSWERED, missing ? missing : 1, "publications of a step are not heard in time");
    }
}

/* One line of standard input, without its end; 0 at the end of it, or when there is nothing more to do. */
static int next_line(const shared_state *shared, char *line) {
    static char held[LONGEST_LINE + 1];
    static size_t length;
    for (;;) {
        char *end = memchr(held, '\n', length);
        if (end) {
            size_t taken = (size_t)(end + 1 - held);
            memcpy(line, held, taken);
            line[taken - 1] = 0;
            memmove(held, end + 1, length -= taken);
            return 1;
        }
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        int ready = poll(&input, 1, (int)(1000 * PROGRESS_EVERY_S));
        if (interrupted || shared->spoiled || length == LONGEST_LINE) return 0;
        if (ready <= 0) continue;
        ssize_t got = read(STDIN_FILENO, held + length, LONGEST_LINE - length);
        if (got <= 0) return 0;
        length += (size_t)got;
    }
}

/* Rooms: does what standard input says, line by line, until its end. */
static void run_steps(const options *o, shared_state *shared, reading *readings) {
    char line[LONGEST_LINE + 1];
    double rate, warmup, seconds;
    while (next_line(shared, line)) {
        if (!strcmp(line, "stall")) {
            shared->stalling = 1;
        } else if (sscanf(line, "%lf %lf %lf", &rate, &warmup, &seconds) == 3 && rate > 0 && rate <= 1e7) {
            run_step(o, shared, rate, warmup, seconds, readings);
            if (!shared->spoiled) report(o, shared, readings);
            fflush(stdout);
        } else {
            fail(shared, UNANSWERED, 1, "a line of standard input is neither 'stall' nor 'RATE WARMUP SECONDS'");
        }
    }
}

int direct(const options *o) {
    shared_state *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        fputs("load: no memory\n", stderr);
        return 2;
    }
    shared->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    reading readings[4] = {take_reading(o, shared)};
    for (int i = 0; i < o->processes; i++) {
        pid_t pid = fork();
        if (pid == 0) run_worker(o, shared, i);
        if (pid < 0) {
            fputs("load: cannot start another process\n", stderr);
            return 2; /* those already there end with this one */
        }
        shared->workers[i].pid = pid;
    }
    wait_connected(o, shared);
    readings[1] = readings[2] = readings[3] = take_reading(o, shared);
    if (o->mode != CONNECT && !interrupted && !shared->spoiled) {
        shared->phase = WARMING;
        if (o->mode == FANOUT || o->mode == ROOMS) wait_subscribed(o, shared);
        if (o->mode == ROOMS) {
            run_steps(o, shared, readings);
        } else {
            run_phases(o, shared, readings);
        }
    }
    shared->phase = STOPPING;
    collect_workers(o, shared);
    report(o, shared, readings);
    return 0;
}
