/*
 * Publications: what is spread, and how it is found in what a subscriber gets.
 *
 * A payload is the marker, ten digits and a filling: printable, without quotes, so that it can stand in a JSON string.
 * Servers may wrap publications or join several in a message; a subscriber finds them by the marker, wherever they
 * stand, cut by the end of a read or of a frame, and compares all of it.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "load.h"

#define MARKER 8 /* '~' and the number of the run; the filling has no '~' */
#define DIGITS 10

void publications_prepare(worker *w) {
    const options *o = w->options;
    char marker[MARKER + 1];
    w->payload = malloc(o->size + 1);
    snprintf(marker, sizeof marker, "~%07x", o->run_number & 0xfffffff);
    memcpy(w->payload, marker, MARKER);
    memset(w->payload + MARKER, '0', DIGITS);
    for (size_t i = MARKER + DIGITS; i < o->size; i++) w->payload[i] = (unsigned char)('a' + i % 26);
}

static void put_number(unsigned char *digits, uint64_t number) {
    for (int i = DIGITS; i-- > 0; number /= 10) digits[i] = (unsigned char)('0' + number % 10);
}

/* Writes the masked frame of one publication: `text` with the payload of that number in its hole. Returns its end. */
unsigned char *put_publication(const worker *w, unsigned char *at, const char *text, uint64_t number) {
    const options *o = w->options;
    const char *hole = strstr(text, PAYLOAD_HOLE), *rest = hole + strlen(PAYLOAD_HOLE);
    size_t before = (size_t)(hole - text), after = strlen(rest), length = before + o->size + after;
    uint64_t key = mix(w->seed ^ number) | 0x01010101;
    at += put_head(at, o->text ? 0x81 : 0x82, length, 0x80);
    unsigned char *mask = at, *payload = at + 4;
    memcpy(mask, &key, 4);
    memcpy(payload, text, before);
    memcpy(payload + before, w->payload, o->size);
    put_number(payload + before + MARKER, number);
    memcpy(payload + before + o->size, rest, after);
    for (size_t i = 0; i < length; i++) payload[i] ^= mask[i & 3];
    return payload + length;
}

/*
 * Whoever has said something lately delays its acknowledgements, and the timers that send them in the end run on the
 * server's core: 2 us for each burst and subscriber of servers that are subscribed to by a message, and of no others.
 * Here all of them acknowledge what they read as they read it.
 */
void acknowledge_at_once(const client *c) {
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* A whole payload that begins with the marker. */
static void judge(worker *w, client *c, const unsigned char *payload) {
    const size_t filling = MARKER + DIGITS;
    uint64_t number = 0;
    for (int i = MARKER; i < MARKER + DIGITS; i++) number = number * 10 + (uint64_t)(payload[i] - '0');
    if (memcmp(payload + filling, w->payload + filling, w->options->size - filling)) {
        client_failed(w, c, BAD_PAYLOAD, NOT_PUBLISHED);
    } else if (w->options->mode == ROOMS) {
        rooms_judge(w, c, number);
    } else {
        fanout_judge(w, c, number);
    }
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
void publications_heard(worker *w, client *c, const unsigned char *bytes, size_t length) {
    if (!w->shared->subscribed) { /* for the report of a failure: why somebody does not hear */
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

/* A run that cannot become right any more ends. */
void spoil(worker *w, const char *what) {
    figures *f = w->figures;
    if (!f->first_failure[0]) snprintf(f->first_failure, sizeof f->first_failure, "%s", what);
    f->failures[UNANSWERED]++;
    w->shared->spoiled = 1;
}
