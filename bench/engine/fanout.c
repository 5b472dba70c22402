/*
 * Fan-out: one publisher, and subscribers that must hear each publication once, in order. The next burst goes out when
 * every subscriber has heard the last one.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "load.h"

#define FIRST_RETRY_NS 100000000ull    /* until everyone has subscribed a publication may find nobody */
#define STALL_NS 10000000000ull        /* a burst takes no longer than this */

void fanout_prepare(worker *w) {
    publications_prepare(w);
    w->retry = FIRST_RETRY_NS;
    if (!w->publisher) return;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = BELL};
    epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->shared->bell, &event);
}

/* Takes the number of a publication that is right otherwise: is it the next one? */
void fanout_judge(worker *w, client *c, uint64_t number) {
    char detail[96];
    if (number >= w->shared->published) {
        client_failed(w, c, BAD_PAYLOAD, NOT_PUBLISHED);
        return;
    }
    if (!c->sent) c->received = (uint32_t)number; /* subscribed now: those before were for others */
    if (number != c->received) {
        snprintf(detail, sizeof detail, "publication %lu where %u was next", number, c->received);
        client_failed(w, c, number > c->received ? LOST : REPEATED, detail);
        return;
    }
    w->heard += c->sent ? 1 : c->received + 1;
    if (!c->sent) acknowledge_at_once(c);
    c->sent = 1; /* a subscriber sends no messages: this says that it has begun to hear */
    c->received++;
}

static void publish(worker *w) {
    const options *o = w->options;
    uint64_t count = w->shared->subscribed ? (uint64_t)o->burst : 1, first = w->shared->published;
    unsigned char *frames = malloc(count * (14 + strlen(o->publish) + o->size)), *at = frames;
    for (uint64_t number = first; number < first + count; number++) at = put_publication(w, at, o->publish, number);
    w->shared->published = first + count; /* before the first can be heard */
    w->burst_started = now_ns();
    if (!w->first_published) w->first_published = w->burst_started;
    client_send_bytes(w, w->publisher, frames, (size_t)(at - frames));
    free(frames);
}

static uint64_t deliveries_due(const worker *w) {
    return w->shared->published * (uint64_t)w->options->connections;
}

/* Some have not heard the last burst yet. */
static void be_patient(worker *w, uint64_t now) {
    if (w->shared->subscribed) {
        if (now - w->burst_started > STALL_NS) spoil(w, "a burst is not heard by everyone in time");
        return;
    }
    if ((double)(now - w->first_published) > 1e9 * w->options->connect_seconds) {
        char what[160];
        snprintf(what, sizeof what, "not every subscriber hears the publisher; the last word: %s", w->last_word);
        spoil(w, what);
    } else if (now - w->burst_started > w->retry) {
        w->retry *= 2;
        publish(w);
    }
}

/* The last burst took until now; it counts if it was begun in the measured window. */
static void count_burst(worker *w, uint64_t now) {
    uint64_t from = w->shared->measured_from;
    if (from && w->burst_started >= from) histogram_add(&w->figures->latencies, now - w->burst_started, 1);
}

/* After the events of each turn: adds what was heard, and publishes what is due. */
void fanout_turn(worker *w) {
    shared_state *s = w->shared;
    if (w->heard) {
        uint64_t heard = atomic_fetch_add(&s->heard, w->heard) + w->heard;
        w->figures->messages += w->heard;
        w->heard = 0;
        if (!w->publisher && heard == deliveries_due(w)) eventfd_write(s->bell, 1);
    }
    if (!w->publisher || s->spoiled || (s->phase != WARMING && s->phase != MEASURING)) return;
    uint64_t now = now_ns();
    if (s->heard < deliveries_due(w)) {
        be_patient(w, now);
        return;
    }
    if (s->published) {
        s->subscribed = 1;
        count_burst(w, now);
    }
    publish(w);
}

/* Waits for what was published before the end; what nobody brings any more has failed. The last burst was begun in the
 * window and counts, however long it takes: left out, the longest of all would be the one that nobody sees. */
void fanout_end(worker *w, uint64_t grace_ns, void (*turn)(worker *)) {
    shared_state *s = w->shared;
    uint64_t end = now_ns() + grace_ns;
    if (w->publisher) s->silent = 1;
    while ((!s->silent || s->heard < deliveries_due(w)) && !s->spoiled && now_ns() < end) turn(w);
    if (w->publisher && s->published) count_burst(w, now_ns());
    for (int i = 0; i < w->count && !s->spoiled; i++) {
        client *c = &w->clients[i];
        if (c->state == OPEN && c != w->publisher && c->received < s->published) {
            w->figures->failures[UNANSWERED] += s->published - c->received;
        }
    }
}
