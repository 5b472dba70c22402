/*
 * Fan-out: one publisher, and subscribers that must hear each publication once, in order.
 *
 * A payload is the marker, ten digits and a filling: printable, without quotes, so that it can stand in a JSON string.
 * Servers may wrap publications or join several in a message; a subscriber finds them by the marker, wherever they
 * stand, cut by the end of a read or of a frame, and compares all of it. The next burst goes out when every subscriber
 * has heard the last one.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "load.h"

#define MARKER 8 /* '~' and the number of the run; the filling has no '~' */
#define DIGITS 10
#define FIRST_RETRY_NS 100000000ull    /* until everyone has subscribed a publication may find nobody */
#define STALL_NS 10000000000ull        /* a burst takes no longer than this */

void fanout_prepare(worker *w) {
    const options *o = w->options;
    char marker[MARKER + 1];
    w->payload = malloc(o->size + 1);
    snprintf(marker, sizeof marker, "~%07x", o->run_number & 0xfffffff);
    memcpy(w->payload, marker, MARKER);
    memset(w->payload + MARKER, '0', DIGITS);
    for (size_t i = MARKER + DIGITS; i < o->size; i++) w->payload[i] = (unsigned char)('a' + i % 26);
    w->retry = FIRST_RETRY_NS;
    if (!w->publisher) return;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = BELL};
    epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->shared->bell, &event);
}

static void put_number(unsigned char *digits, uint64_t number) {
    for (int i = DIGITS; i-- > 0; number /= 10) digits[i] = (unsigned char)('0' + number % 10);
}

/*
 * Whoever has said something lately delays its acknowledgements, and the timers that send them in the end run on the
 * server's core: 2 us for each burst and subscriber of servers that are subscribed to by a message, and of no others.
 * Here all of them acknowledge what they read as they read it.
 */
static void acknowledge_at_once(const client *c) {
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* A whole payload that begins with the marker: is it the next one, and all of it right? */
static void judge(worker *w, client *c, const unsigned char *payload) {
    const size_t filling = MARKER + DIGITS;
    uint64_t number = 0;
    char detail[96];
    for (int i = MARKER; i < MARKER + DIGITS; i++) number = number * 10 + (uint64_t)(payload[i] - '0');
    int whole = !memcmp(payload + filling, w->payload + filling, w->options->size - filling);
    if (!whole || number >= w->shared->published) {
        client_failed(w, c, BAD_PAYLOAD, "a publication is not what was published");
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

static void begin(const worker *w, client *c, const unsigned char *bytes, size_t length) {
    c->begun = malloc(w->options->size);
    c->begun_length = (uint32_t)length;
    memcpy(c->begun, bytes, length);
}

static void look_for_payloads(worker *w, client *c, const unsigned char *bytes, size_t length) {
    const size_t size = w->options->size;
    const unsigned char *found;
    while (c->state != GONE && length && (found = memchr(bytes, '~', length))) {
        length -= (size_t)(found - bytes);
        bytes = found;
        if (memcmp(bytes, w->payload, length < MARKER ? length : MARKER)) {
            bytes++;
            length--;
        } else if (length < size) {
            begin(w, c, bytes, length);
            return;
        } else {
            judge(w, c, bytes);
            bytes += size;
            length -= size;
        }
    }
}

/* Takes a part of a data frame's payload. */
void fanout_heard(worker *w, client *c, const unsigned char *bytes, size_t length) {
    if (!c->sent && !w->shared->subscribed) {
        int shown = length < sizeof w->last_word - 1 ? (int)length : (int)sizeof w->last_word - 1;
        snprintf(w->last_word, sizeof w->last_word, "%.*s", shown, (const char *)bytes);
    }
    if (c == w->publisher) return;
    while (c->begun) {
        size_t missing = w->options->size - c->begun_length, piece = missing < length ? missing : length;
        memcpy(c->begun + c->begun_length, bytes, piece);
        c->begun_length += (uint32_t)piece;
        bytes += piece;
        length -= piece;
        if (piece < missing) return;
        unsigned char *whole = c->begun;
        c->begun = NULL;
        look_for_payloads(w, c, whole, w->options->size);
        free(whole);
    }
    look_for_payloads(w, c, bytes, length);
}

static void publish(worker *w) {
    const options *o = w->options;
    const char *hole = strstr(o->publish, PAYLOAD_HOLE), *rest = hole + strlen(PAYLOAD_HOLE);
    size_t before = (size_t)(hole - o->publish), after = strlen(rest), length = before + o->size + after;
    uint64_t count = w->shared->subscribed ? (uint64_t)o->burst : 1, first = w->shared->published;
    unsigned char *frames = malloc(count * (14 + length)), *at = frames;
    for (uint64_t number = first; number < first + count; number++) {
        uint64_t key = mix(w->seed ^ number) | 0x01010101;
        at += put_head(at, o->text ? 0x81 : 0x82, length, 0x80);
        unsigned char *mask = at, *payload = at + 4;
        memcpy(mask, &key, 4);
        memcpy(payload, o->publish, before);
        memcpy(payload + before, w->payload, o->size);
        put_number(payload + before + MARKER, number);
        memcpy(payload + before + o->size, rest, after);
        for (size_t i = 0; i < length; i++) payload[i] ^= mask[i & 3];
        at = payload + length;
    }
    w->shared->published = first + count; /* before the first can be heard */
    w->burst_started = now_ns();
    if (!w->first_published) w->first_published = w->burst_started;
    client_send_bytes(w, w->publisher, frames, (size_t)(at - frames));
    free(frames);
}

static uint64_t deliveries_due(const worker *w) {
    return w->shared->published * (uint64_t)w->options->connections;
}

static void spoil(worker *w, const char *what) {
    figures *f = w->figures;
    if (!f->first_failure[0]) snprintf(f->first_failure, sizeof f->first_failure, "%s", what);
    f->failures[UNANSWERED]++;
    w->shared->spoiled = 1;
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
