/* Messages of one connection: built once, sent, and checked when they come back. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

/* A well-mixed number for each input: keys, masks and payloads that repeat with the seed. */
uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

size_t put_head(unsigned char *at, unsigned first, size_t size, unsigned mask_bit) {
    at[0] = (unsigned char)first;
    if (size < 126) {
        at[1] = (unsigned char)(mask_bit | size);
        return 2;
    }
    if (size < 65536) {
        at[1] = (unsigned char)(mask_bit | 126);
        at[2] = (unsigned char)(size >> 8);
        at[3] = (unsigned char)size;
        return 4;
    }
    at[1] = (unsigned char)(mask_bit | 127);
    for (int i = 0; i < 8; i++) at[2 + i] = (unsigned char)((uint64_t)size >> (56 - 8 * i));
    return 10;
}

/* Printable words for deflate, which would not make random bytes any shorter. */
static void fill(const worker *w, uint32_t variant, unsigned char *payload) {
    static const char *const words[8] = {"\"price\":", "\"volume\":", "\"symbol\":", "1024.25,", "true,", "EUR", "{\"", "},"};
    const options *o = w->options;
    const char *word = "";
    for (size_t i = 0; i < o->size; i++) {
        uint64_t random = mix(w->seed + (uint64_t)variant * 1000003 + i);
        if (!o->deflate) {
            payload[i] = o->text ? (unsigned char)(' ' + (unsigned char)random % 95) : (unsigned char)random;
            continue;
        }
        if (!*word) word = words[random & 7];
        payload[i] = (unsigned char)*word++;
    }
    if (o->size) payload[0] = (unsigned char)('A' + variant);
}

/* One message as it is sent: in --fragments frames, all masked with a key of their own. Returns its end. */
static unsigned char *put_message(const worker *w, unsigned char *at, uint32_t number, const unsigned char *body,
                                  size_t length) {
    const options *o = w->options;
    size_t count = (size_t)o->fragments, done = 0;
    for (size_t f = 0; f < count; f++) {
        size_t piece = length * (f + 1) / count - done;
        unsigned first = (f == 0 ? w->plain_head[0] & 0x0fu : 0) | (f + 1 == count ? 0x80 : 0);
        if (f == 0 && o->deflate) first |= RSV1;
        uint64_t random = mix(w->seed ^ ((uint64_t)number << 32) ^ f << 56) | 0x01010101;
        at += put_head(at, first, piece, 0x80);
        unsigned char *key = at;
        memcpy(key, &random, 4);
        at += 4;
        for (size_t i = 0; i < piece; i++) at[i] = body[done + i] ^ key[i & 3];
        at += piece;
        done += piece;
    }
    return at;
}

/* Builds the messages once: what is sent, masked with another key each time, and what must come back. */
void messages_prepare(worker *w) {
    const options *o = w->options;
    unsigned char *bodies[VARIANTS];
    size_t lengths[VARIANTS], largest = 0, messages = VARIANTS + w->batch;
    w->plain_head_length = put_head(w->plain_head, o->text ? 0x81 : 0x82, o->size, 0);
    for (uint32_t v = 0; v < VARIANTS; v++) {
        reply *r = &w->replies[v];
        r->length = w->plain_head_length + o->size;
        r->frame = malloc(r->length);
        memcpy(r->frame, w->plain_head, w->plain_head_length);
        w->payloads[v] = malloc(o->size + 1);
        fill(w, v, w->payloads[v]);
        memcpy(r->frame + w->plain_head_length, w->payloads[v], o->size);
        bodies[v] = o->deflate ? deflate_payload(w->payloads[v], o->size, &lengths[v]) : w->payloads[v];
        if (!o->deflate) lengths[v] = o->size;
        if (lengths[v] > largest) largest = lengths[v];
    }
    w->out = malloc(messages * (largest + 14 * (size_t)o->fragments));
    w->out_at = malloc((messages + 1) * sizeof *w->out_at);
    unsigned char *at = w->out;
    for (uint32_t m = 0; m < messages; m++) {
        w->out_at[m] = (size_t)(at - w->out);
        at = put_message(w, at, m, bodies[m % VARIANTS], lengths[m % VARIANTS]);
    }
    w->out_at[messages] = (size_t)(at - w->out);
    for (uint32_t v = 0; v < VARIANTS && o->deflate; v++) free(bodies[v]);
}

/* At most w->batch messages, in one send; now is what their latency is taken from (where a ring keeps it). */
void client_send_messages(worker *w, client *c, uint32_t count, uint64_t now) {
    if (w->send_times) {
        uint64_t *ring = w->send_times + (size_t)index_of(w, c) * w->ring_size;
        for (uint32_t i = 0; i < count; i++) ring[(c->sent + i) & (w->ring_size - 1)] = now;
    }
    const size_t *at = w->out_at + c->sent % VARIANTS;
    c->sent += count;
    client_send_bytes(w, c, w->out + at[0], at[count] - at[0]);
}

/* One whole frame, of at most LARGEST_TEXT bytes. */
void client_send_frame(worker *w, client *c, unsigned opcode, const void *payload, size_t length) {
    unsigned char frame[14 + LARGEST_TEXT];
    uint64_t key = mix(w->seed ^ c->received ^ (uint64_t)index_of(w, c)) | 0x01010101;
    size_t head = put_head(frame, 0x80 | opcode, length, 0x80);
    memcpy(frame + head, &key, 4);
    for (size_t i = 0; i < length; i++) frame[head + 4 + i] = ((const unsigned char *)payload)[i] ^ frame[head + (i & 3)];
    client_send_bytes(w, c, frame, head + 4 + length);
}

void client_hold(client *c, const unsigned char *bytes, size_t length) {
    c->held = realloc(c->held, c->held_length + length);
    memcpy(c->held + c->held_length, bytes, length);
    c->held_length += (uint32_t)length;
}

static void release(client *c) {
    free(c->held);
    c->held = NULL;
    c->held_length = 0;
}

static void control_frame(worker *w, client *c) {
    unsigned opcode = c->head[0] & 0x0f;
    if (opcode == 9 && c->state == OPEN) {
        w->figures->pings++;
        client_send_frame(w, c, 10, c->held, c->held_length);
    } else if (opcode == 8 && c->state == OPEN) {
        char detail[32];
        snprintf(detail, sizeof detail, "close frame %d",
                 c->held_length >= 2 ? c->held[0] << 8 | c->held[1] : 1005);
        client_failed(w, c, CLOSED_EARLY, detail);
    } else if (opcode == 8) {
        client_close(w, c);
    }
    release(c);
}

/* Whether what comes in are replies, each of which is known beforehand. */
static int is_answered(const worker *w) {
    return w->options->mode == ECHO || w->options->mode == RATE;
}

/* Whether a data frame of such a size can be the reply that is due. */
static int can_be_reply(const worker *w, const client *c, uint64_t size) {
    if (!(c->head[0] & RSV1)) return !memcmp(c->head, w->plain_head, w->plain_head_length);
    return (c->head[0] & ~RSV1) == w->plain_head[0] && size <= w->options->size + MOST_INFLATION;
}

static void judge_head(worker *w, client *c, uint64_t size) {
    unsigned opcode = c->head[0] & 0x0f, reserved = c->head[0] & 0x70;
    int known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
    int shortest = c->head_length == 2 || (c->head_length == 4 ? size > 125 : size > 65535);
    int control_fits = opcode < 8 || (size <= 125 && c->head[0] & 0x80);
    if (w->options->deflate && (opcode == 1 || opcode == 2)) reserved &= ~RSV1;
    if (!known || !shortest || !control_fits || reserved || c->head[1] & 0x80) {
        client_failed(w, c, BAD_FRAME, "illegal frame header");
    } else if (opcode < 8 && is_answered(w) && !can_be_reply(w, c, size)) {
        client_failed(w, c, BAD_FRAME, "the reply has another opcode or length");
    }
}

/* Takes what is missing of a frame's head; returns the bytes taken, and sets *complete. */
static size_t take_head(worker *w, client *c, const unsigned char *bytes, size_t length, int *complete) {
    size_t taken = 0;
    *complete = 0;
    for (;;) {
        size_t wanted = 2;
        if (c->head_length >= 2) wanted = (c->head[1] & 0x7f) == 127 ? 10 : (c->head[1] & 0x7f) == 126 ? 4 : 2;
        if (c->head_length == wanted) break;
        if (taken == length) return taken;
        c->head[c->head_length++] = bytes[taken++];
    }
    uint64_t size = c->head[1] & 0x7f;
    if (c->head_length > 2) {
        size = 0;
        for (int i = 2; i < c->head_length; i++) size = size << 8 | c->head[i];
    }
    judge_head(w, c, size);
    c->payload_left = size;
    c->payload_at = 0;
    *complete = 1;
    return taken;
}

/* A compressed reply has come whole. The same message is compressed to the same bytes as a rule, since no context is
 * taken over: those are what is expected from now on, so that the next one costs a comparison and no inflation. */
static void judge_compressed(worker *w, client *c) {
    uint32_t variant = c->received % VARIANTS;
    reply *r = &w->replies[variant];
    if (!inflates_to(c->begun, c->begun_length, w->payloads[variant], w->options->size)) {
        client_failed(w, c, BAD_PAYLOAD, "the reply does not inflate to what was sent");
        return;
    }
    r->length = c->head_length + (size_t)c->begun_length;
    r->frame = realloc(r->frame, r->length);
    memcpy(r->frame, c->head, c->head_length);
    memcpy(r->frame + c->head_length, c->begun, c->begun_length);
    free(c->begun);
    c->begun = NULL;
    c->begun_length = 0;
}

/* A piece of a data frame. What it should be is known where messages are answered, unless it is compressed. */
static void take_data(worker *w, client *c, const unsigned char *bytes, size_t length) {
    if (w->options->mode == FANOUT || w->options->mode == ROOMS) {
        publications_heard(w, c, bytes, length);
    } else if (!is_answered(w)) {
        return;
    } else if (c->head[0] & RSV1) {
        if (!c->begun) c->begun = malloc(c->payload_left + 1);
        memcpy(c->begun + c->begun_length, bytes, length);
        c->begun_length += (uint32_t)length;
        if (length == c->payload_left) judge_compressed(w, c);
    } else if (memcmp(bytes, w->payloads[c->received % VARIANTS] + c->payload_at, length)) {
        client_failed(w, c, BAD_PAYLOAD, "the reply is not what was sent");
    }
}

/* A frame in pieces, or one that is no reply. Returns the bytes taken. */
static size_t receive_slowly(worker *w, client *c, const unsigned char *bytes, size_t length, uint32_t *replies) {
    size_t taken = 0;
    if (!c->payload_left && !c->payload_at) {
        int complete;
        taken = take_head(w, c, bytes, length, &complete);
        if (!complete || c->state == GONE) return taken;
    }
    size_t piece = length - taken < c->payload_left ? length - taken : c->payload_left;
    int control = c->head[0] & 8;
    if (!control) {
        take_data(w, c, bytes + taken, piece);
        if (c->state == GONE) return length;
    } else if (piece) {
        client_hold(c, bytes + taken, piece);
    }
    c->payload_at += (uint32_t)piece;
    c->payload_left -= piece;
    taken += piece;
    if (c->payload_left) return taken;
    c->payload_at = 0;
    if (control) {
        control_frame(w, c);
    } else if (w->options->mode != FANOUT && w->options->mode != ROOMS) {
        c->received++;
        (*replies)++;
    }
    c->head_length = 0;
    return taken;
}

void client_receive(worker *w, client *c, const unsigned char *bytes, size_t length) {
    uint32_t replies = 0;
    while (length && c->state != GONE) {
        const reply *expected = &w->replies[c->received % VARIANTS];
        size_t frame = expected->length;
        if (frame && !c->head_length && length >= frame && !memcmp(bytes, expected->frame, frame)) {
            c->received++;
            replies++;
            bytes += frame;
            length -= frame;
        } else {
            size_t taken = receive_slowly(w, c, bytes, length, &replies);
            bytes += taken;
            length -= taken;
        }
    }
    if (replies) client_replied(w, c, replies);
}
