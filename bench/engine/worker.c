/* One process of the load engine: dials its share of the connections, keeps the schedule of the mode, says goodbye. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define EVENTS 512
#define IDLE_WAIT_NS 20000000ull    /* how soon a change of phase is noticed */
#define ANSWER_GRACE_NS 1000000000ull /* rate: what may still come after the last message was due */
#define DELIVERY_GRACE_NS 5000000000ull /* fanout: the same for the last burst */
#define GOODBYE_NS 5000000000ull
#define LOOK_EVERY_NS 50000ull      /* fan-out, see spins */
#define RATE_BATCH 64               /* most overdue messages in one send */

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t own_cpu_ns(void) {
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t intended(const worker *w, const client *c, uint32_t message) {
    double turns = (double)index_of(w, c) + (double)message * (double)w->count;
    return w->schedule_start + (uint64_t)(turns * w->interval);
}

static void count_latency(worker *w, uint64_t sent, uint64_t now, uint64_t times) {
    histogram_add(&w->figures->latencies, now > sent ? now - sent : 0, times);
}

/* Rate: only messages meant for the measured window count, however late their answers come. */
static void count_scheduled(worker *w, const client *c, uint32_t message, uint64_t now) {
    uint64_t from = w->shared->measured_from, to = w->shared->measured_to, due = intended(w, c, message);
    if (from && due >= from && (!to || due < to)) count_latency(w, due, now, 1);
}

void client_replied(worker *w, client *c, uint32_t replies) {
    w->figures->messages += replies;
    if (w->options->mode != ECHO && w->options->mode != RATE) return;
    uint64_t now = now_ns();
    uint32_t first = c->received - replies;
    if (w->options->mode == RATE) {
        for (uint32_t i = 0; i < replies; i++) count_scheduled(w, c, first + i, now);
        return;
    }
    if (w->phase == MEASURING) {
        const uint64_t *ring = w->send_times + (size_t)index_of(w, c) * w->ring_size;
        for (uint32_t i = 0; i < replies; i++) count_latency(w, ring[(first + i) & (w->ring_size - 1)], now, 1);
    }
    if (c->state == OPEN && w->phase < STOPPING) client_send_messages(w, c, replies, now);
}

/* Messages that are due by now, each connection in turn; one whose socket is full catches up at a later turn. */
static void send_scheduled(worker *w) {
    uint64_t now = now_ns();
    uint64_t due = (uint64_t)((double)(now - w->schedule_start) / w->interval) + 1;
    while (w->scheduled < due) {
        uint64_t turn = w->scheduled++;
        client *c = &w->clients[turn % (uint64_t)w->count];
        if (c->state != OPEN || c->unsent) continue;
        uint32_t owed = (uint32_t)(turn / (uint64_t)w->count) + 1 - c->sent;
        client_send_messages(w, c, owed < w->batch ? owed : w->batch, now);
    }
}

static void give_up_dialling(worker *w) {
    for (int i = 0; i < w->count; i++) {
        client *c = &w->clients[i];
        if (client_is_dialling(c)) {
            client_failed(w, c, NOT_UPGRADED, "not upgraded in time");
        } else if (c->state == UNUSED) {
            c->state = GONE;
            w->figures->finished++;
            w->figures->settled++;
            w->figures->failures[CANNOT_CONNECT]++;
        }
    }
}

static int answers_missing(const worker *w) {
    for (int i = 0; i < w->count; i++) {
        if (w->clients[i].state == OPEN && w->clients[i].received != w->clients[i].sent) return 1;
    }
    return 0;
}

static void count_unanswered(worker *w) {
    uint64_t now = now_ns();
    for (int i = 0; i < w->count; i++) {
        client *c = &w->clients[i];
        if (c->state != OPEN) continue;
        w->figures->failures[UNANSWERED] += c->sent - c->received;
        for (uint32_t m = c->received; m != c->sent; m++) count_scheduled(w, c, m, now);
    }
}

static void enter(worker *w, int phase) {
    if (w->phase == CONNECTING) give_up_dialling(w);
    if (w->phase == CONNECTING && phase < STOPPING) {
        uint64_t now = now_ns();
        w->schedule_start = now;
        for (int i = 0; i < w->count && w->options->mode == ECHO; i++) {
            client *c = &w->clients[i];
            if (c->state == OPEN) client_send_messages(w, c, (uint32_t)w->options->inflight, now);
        }
    }
    w->phase = phase;
}

/*
 * Fan-out and rooms: a client that sleeps has to be woken by the server's sends, and one that looks at every event as it comes
 * shares its locks with them. Both cost the server the more the more idle its client is (a microsecond or two for each
 * burst and subscriber), which no client elsewhere would. So the client never sleeps and looks at fixed moments, as a
 * network card does that moderates its interrupts; the time between is not counted as its own.
 */
static int spins(const worker *w) {
    if (w->options->processes > 1 || (w->phase != WARMING && w->phase != MEASURING)) return 0;
    return w->options->mode == FANOUT || (w->options->mode == ROOMS && rooms_are_busy(w));
}

static void spend_until(worker *w, uint64_t end) {
    uint64_t start = own_cpu_ns(), now = now_ns();
    while (now < end) now = now_ns();
    w->figures->idle_ns += own_cpu_ns() - start; /* not the clock's: others may have had the CPU meanwhile */
    w->looked_at = now;
}

static uint64_t until(uint64_t start, uint64_t number, double interval) {
    uint64_t next = start + (uint64_t)((double)number * interval), now = now_ns();
    return next > now ? next - now : 0;
}

static uint64_t time_to_wait(const worker *w) {
    if (w->phase == CONNECTING) {
        int may_dial = w->next_to_dial < w->count && w->dialling < w->options->concurrency;
        return may_dial ? 0 : IDLE_WAIT_NS;
    }
    if (spins(w)) return 0;
    uint64_t left = IDLE_WAIT_NS;
    if (w->options->mode == RATE && w->phase != STOPPING) left = until(w->schedule_start, w->scheduled, w->interval);
    if (w->options->mode == ROOMS && rooms_are_busy(w)) left = rooms_wait(w);
    return left < IDLE_WAIT_NS ? left : IDLE_WAIT_NS;
}

static void turn(worker *w) {
    struct epoll_event events[EVENTS];
    uint64_t wait = time_to_wait(w);
    struct timespec timeout = {.tv_sec = 0, .tv_nsec = (long)wait};
    if (spins(w)) spend_until(w, w->looked_at + LOOK_EVERY_NS);
    int ready = epoll_pwait2(w->epoll_fd, events, EVENTS, &timeout, NULL);
    for (int i = 0; i < ready; i++) {
        if (events[i].data.u32 == BELL) {
            eventfd_t rung;
            eventfd_read(w->shared->bell, &rung);
        } else {
            client_ready(w, &w->clients[events[i].data.u32], events[i].events);
        }
    }
    if (w->options->mode == FANOUT) fanout_turn(w);
    if (w->options->mode == ROOMS) rooms_turn(w);
    if (w->options->mode == RATE && (w->phase == WARMING || w->phase == MEASURING)) send_scheduled(w);
}

static void say_goodbye(worker *w) {
    uint64_t end = now_ns() + ANSWER_GRACE_NS;
    if (w->options->mode == RATE) {
        while (answers_missing(w) && now_ns() < end) turn(w);
        count_unanswered(w);
    }
    if (w->options->mode == FANOUT) fanout_end(w, DELIVERY_GRACE_NS, turn);
    if (w->options->mode == ROOMS) rooms_end(w);
    for (int i = 0; i < w->count; i++) client_leave(w, &w->clients[i]);
    end = now_ns() + GOODBYE_NS;
    while (w->figures->finished < (uint64_t)w->count && now_ns() < end) turn(w);
    for (int i = 0; i < w->count; i++) client_close(w, &w->clients[i]);
}

static uint32_t power_of_two(uint32_t least) {
    uint32_t size = 1;
    while (size < least) size *= 2;
    return size;
}

static void prepare(worker *w, int number) {
    const options *o = w->options;
    int unit = o->mode == ROOMS ? o->connections / o->rooms : 1; /* a room is with one worker */
    int units = o->connections / unit, whole = units / o->processes, rest = units % o->processes;
    w->number = number;
    w->count = unit * (whole + (number < rest));
    w->first_number = unit * (number * whole + (number < rest ? number : rest));
    int publishes = o->mode == FANOUT && number == 0;
    w->count += publishes;
    w->seed = now_ns() ^ (uint64_t)getpid() << 40;
    w->batch = o->mode == ECHO ? (uint32_t)o->inflight : o->mode == RATE ? RATE_BATCH : 1;
    w->interval = o->mode == RATE ? 1e9 * o->processes / o->rate : 0;
    w->clients = calloc((size_t)w->count + 1, sizeof *w->clients);
    w->publisher = publishes ? &w->clients[w->count - 1] : NULL;
    w->receive_buffer = malloc(RECEIVE_SIZE);
    if (o->mode == ECHO) {
        w->ring_size = power_of_two((uint32_t)o->inflight);
        w->send_times = calloc((size_t)w->count * w->ring_size, sizeof *w->send_times);
    }
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    transport_prepare(w);
    if (o->mode == FANOUT) {
        fanout_prepare(w);
    } else if (o->mode == ROOMS) {
        rooms_prepare(w);
    } else {
        messages_prepare(w);
    }
}

void run_worker(const options *o, shared_state *shared, int number) {
    worker w = {.options = o, .shared = shared, .figures = &shared->workers[number]};
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* stops with its director, whatever happens to that */
    prctl(PR_SET_TIMERSLACK, 1);
    signal(SIGINT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    if (o->urgent) {
        struct sched_param least = {.sched_priority = 1};
        if (sched_setscheduler(0, SCHED_RR, &least)) setpriority(PRIO_PROCESS, 0, -20);
    }
    prepare(&w, number);
    for (;;) {
        int phase = atomic_load(&shared->phase);
        if (phase != w.phase) enter(&w, phase);
        if (phase == STOPPING) break;
        while (phase == CONNECTING && w.next_to_dial < w.count && w.dialling < o->concurrency) {
            client_dial(&w, &w.clients[w.next_to_dial++]);
        }
        turn(&w);
    }
    say_goodbye(&w);
    _exit(0);
}
