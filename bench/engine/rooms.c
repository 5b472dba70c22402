/*
 * Rooms: every connection is a member of one, members speak in turns on a fixed schedule, and all members of the room,
 * the speaker too, have to hear each publication once.
 *
 * A run has steps: publishing at a rate for a time, then silence until everything was heard. The number of a
 * publication says when it was due, in which room and who spoke, so that nothing has to be kept of it. Members of a room
 * speak on connections of their own, so the order in which they are heard is not theirs; what each member has heard is
 * compared as a sum at the end. Members who will stop reading neither speak nor count, before they stop as after.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "load.h"

#define GREETING 9999999999ull
#define FIRST_RETRY_NS 200000000ull /* until everyone is there a greeting may miss some */
#define OVERLOAD_S 0.5              /* so far behind the schedule: it cannot be kept */
#define OVERLOAD_LEAST 64           /* publications; fewer may be on their way at any rate */
#define OVERLOAD_MOST 20000
#define MOST_IN_A_TURN 256          /* publications that are overdue; then what came is read */

struct rooms {
    int count, size, speakers; /* of this worker; members of each; those who speak and count: who will not stall */
    int missing;               /* members who have heard nothing yet */
    int step, stalled, complete;
    uint32_t *order;           /* in which the rooms speak */
    uint8_t *present;          /* by member: has heard something */
    uint32_t *heard;           /* by member: publications */
    uint64_t *heard_sums;
    uint32_t *said;            /* by room */
    uint64_t *said_sums;
    uint64_t published, first, started; /* by this worker; before this step; ns: the step began */
    double interval;                    /* ns between two publications of this worker */
    uint64_t greeted, retry, first_greeting;
    unsigned char *frame;
    char *text;
};

int room_number(const worker *w, const client *c) {
    if (w->options->mode != ROOMS) return 0;
    return (w->first_number + index_of(w, c)) / w->rooms->size;
}

/* A reader that will stop: the last ones of each room. */
int rooms_will_stall(const worker *w, const client *c) {
    return w->options->mode == ROOMS && index_of(w, c) % w->rooms->size >= w->rooms->speakers;
}

void rooms_prepare(worker *w) {
    const options *o = w->options;
    struct rooms *r = w->rooms = calloc(1, sizeof *r);
    size_t members = (size_t)w->count;
    r->size = o->connections / o->rooms;
    r->speakers = r->size - o->stalled;
    r->count = w->count / r->size;
    r->missing = w->count;
    r->order = calloc((size_t)r->count, sizeof *r->order);
    r->said = calloc((size_t)r->count, sizeof *r->said);
    r->said_sums = calloc((size_t)r->count, sizeof *r->said_sums);
    r->present = calloc(members, 1);
    r->heard = calloc(members, sizeof *r->heard);
    r->heard_sums = calloc(members, sizeof *r->heard_sums);
    r->text = malloc(LARGEST_TEXT + 1);
    r->frame = malloc(LARGEST_TEXT + o->size + 14);
    r->retry = FIRST_RETRY_NS;
    for (int i = 0; i < r->count; i++) { /* not the order in which they were made */
        int other = (int)(mix(w->seed + (uint64_t)i) % (uint64_t)(i + 1));
        r->order[i] = r->order[other];
        r->order[other] = (uint32_t)i;
    }
    publications_prepare(w);
}

static void say(worker *w, int room, int member, uint64_t number) {
    struct rooms *r = w->rooms;
    client *c = &w->clients[room * r->size + member];
    if (c->state != OPEN || !words_fill(w, c, w->options->publish, r->text, LARGEST_TEXT)) return;
    const unsigned char *end = put_publication(w, r->frame, r->text, number);
    client_send_bytes(w, c, r->frame, (size_t)(end - r->frame));
}

static void publish(worker *w) {
    struct rooms *r = w->rooms;
    uint64_t number = r->published++;
    uint32_t room = r->order[number % (uint64_t)r->count];
    r->said[room]++;
    r->said_sums[room] += mix(number);
    w->figures->due += (uint64_t)r->speakers;
    say(w, (int)room, (int)(number / (uint64_t)r->count % (uint64_t)r->speakers),
        number * (uint64_t)w->options->processes + (uint64_t)w->number);
}

/* ns at which it was meant to be said; only of this step. */
static uint64_t due(const struct rooms *r, uint64_t number) {
    return r->started + (uint64_t)((double)(number - r->first) * r->interval);
}

static void greeted(worker *w, client *c) {
    struct rooms *r = w->rooms;
    if (r->present[index_of(w, c)]) return;
    r->present[index_of(w, c)] = 1;
    r->missing--;
    acknowledge_at_once(c);
}

/* Takes the number of a publication that is whole and right otherwise. */
void rooms_judge(worker *w, client *c, uint64_t shown) {
    struct rooms *r = w->rooms;
    uint64_t processes = (uint64_t)w->options->processes, number = shown / processes;
    int member = index_of(w, c), room = member / r->size;
    if (shown == GREETING) {
        greeted(w, c);
        return;
    }
    if (shown % processes != (uint64_t)w->number || number >= r->published) {
        client_failed(w, c, BAD_PAYLOAD, NOT_PUBLISHED);
        return;
    }
    if ((int)r->order[number % (uint64_t)r->count] != room) {
        client_failed(w, c, BAD_PAYLOAD, "a publication of another room");
        return;
    }
    if (rooms_will_stall(w, c)) return;
    r->heard[member]++;
    r->heard_sums[member] += mix(number);
    w->heard++;
    uint64_t from = w->shared->measured_from, to = w->shared->measured_to, meant, now;
    if (!from || number < r->first) return;
    meant = due(r, number);
    if (meant < from || (to && meant >= to)) return;
    now = now_ns();
    histogram_add(&w->figures->latencies, now > meant ? now - meant : 0, 1);
}

/* Until everybody has heard something, the first speaker of each room in which somebody has not says something. */
static void greet(worker *w, uint64_t now) {
    struct rooms *r = w->rooms;
    if (!r->first_greeting) r->first_greeting = now;
    if ((double)(now - r->first_greeting) > 1e9 * w->options->connect_seconds) {
        char what[160];
        snprintf(what, sizeof what, "%d members do not hear their rooms; the last word: %s", r->missing, w->last_word);
        spoil(w, what);
        return;
    }
    if (r->greeted && now - r->greeted < r->retry) return;
    if (r->greeted) r->retry *= 2;
    r->greeted = now;
    for (int room = 0; room < r->count; room++) {
        if (memchr(r->present + room * r->size, 0, (size_t)r->size)) say(w, room, 0, GREETING);
    }
}

/* From now on some members of each room read nothing any more; their sockets fill. */
static void stall(worker *w) {
    struct rooms *r = w->rooms;
    for (int i = 0; i < w->count; i++) {
        client *c = &w->clients[i];
        if (c->state == OPEN && rooms_will_stall(w, c)) epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    }
    r->stalled = 1;
}

static void begin_step(worker *w, uint64_t now) {
    struct rooms *r = w->rooms;
    memset(&w->figures->latencies, 0, sizeof w->figures->latencies);
    r->step = w->shared->step;
    r->first = r->published;
    r->interval = 1e9 * w->options->processes / w->shared->rate;
    r->started = w->looked_at = now;
    w->figures->step = r->step;
}

/* Says what is due at that time; whether that is all. */
static int publish_what_is_due(worker *w, uint64_t at) {
    struct rooms *r = w->rooms;
    uint64_t until = r->first + (uint64_t)((double)(at - r->started) / r->interval) + 1;
    uint64_t owed = until > r->published ? until - r->published : 0;
    double behind = (double)owed + (double)(w->figures->due - w->figures->heard) / r->speakers;
    double most = OVERLOAD_LEAST + OVERLOAD_S * 1e9 / r->interval;
    if (behind > most || behind > OVERLOAD_MOST) w->shared->overloaded = 1;
    for (int i = 0; i < MOST_IN_A_TURN && r->published < until && !w->shared->spoiled; i++) publish(w);
    return r->published >= until;
}

/* Whether a step is under way, so that the worker does not sleep; see spins. */
int rooms_are_busy(const worker *w) {
    const struct rooms *r = w->rooms;
    return r->step == w->shared->step && r->step && w->figures->silent != r->step;
}

/* ns until the next publication is due; only while a step is under way. */
uint64_t rooms_wait(const worker *w) {
    const struct rooms *r = w->rooms;
    uint64_t next = due(r, r->published), now = now_ns();
    return next > now ? next - now : 0;
}

/* After the events of each turn: adds what was heard, and publishes what is due. */
void rooms_turn(worker *w) {
    shared_state *s = w->shared;
    struct rooms *r = w->rooms;
    uint64_t now = now_ns();
    w->figures->heard += w->heard;
    w->figures->messages += w->heard;
    w->heard = 0;
    if (s->spoiled || (s->phase != WARMING && s->phase != MEASURING)) return;
    if (!r->complete) {
        r->complete = !r->missing;
        if (!r->complete) {
            greet(w, now);
        } else if (atomic_fetch_add(&s->complete, 1) + 1 == w->options->processes) {
            s->subscribed = 1;
        }
        return;
    }
    if (s->stalling && !r->stalled) stall(w);
    if (s->step != r->step) begin_step(w, now);
    if (!r->step || w->figures->silent == r->step) return;
    /* What was due before the end of the window is said, however late: left out, a stall at the end would not show. */
    int is_over = s->quiet == r->step;
    int all_said = s->overloaded || publish_what_is_due(w, is_over ? s->measured_to : now);
    if (s->overloaded || (is_over && all_said)) w->figures->silent = r->step;
}

/* At the end of the run: has every member heard what was said in its room, and no more? */
void rooms_end(worker *w) {
    const struct rooms *r = w->rooms;
    for (int i = 0; i < w->count; i++) {
        client *c = &w->clients[i];
        int room = i / r->size;
        if (c->state != OPEN) continue;
        if (rooms_will_stall(w, c)) {
            if (r->stalled) client_close(w, c); /* with all that it has not read: a reset */
        } else if (r->heard[i] < r->said[room]) {
            client_failed(w, c, LOST, "less was heard than said in a room");
        } else if (r->heard[i] > r->said[room] || r->heard_sums[i] != r->said_sums[room]) {
            client_failed(w, c, REPEATED, "something was heard twice in a room");
        }
    }
}
