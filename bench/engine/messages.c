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

/* Builds the messages once: what is sent, masked with another key each time, and what must come back. */
void frames_prepare(worker *w) {
    const options *o = w->options;
    unsigned first = o->text ? 0x81 : 0x82;
    unsigned char head[10];
    w->expected_head = put_head(head, first, o->size, 0);
    w->expected_frame = w->expected_head + o->size;
    w->out_frame = w->expected_frame + 4;
    w->expected = malloc(VARIANTS * w->expected_frame);
    w->out = malloc((VARIANTS + w->batch) * w->out_frame);
    for (uint32_t v = 0; v < VARIANTS; v++) {
        unsigned char *frame = w->expected + v * w->expected_frame, *payload = frame + w->expected_head;
        put_head(frame, first, o->size, 0);
        for (size_t i = 0; i < o->size; i++) {
            unsigned char byte = (unsigned char)mix(w->seed + (uint64_t)v * 1000003 + i);
            payload[i] = o->text ? (unsigned char)(' ' + byte % 95) : byte;
        }
        if (o->size) payload[0] = (unsigned char)('A' + v);
    }
    for (uint32_t f = 0; f < VARIANTS + w->batch; f++) {
        unsigned char *frame = w->out + f * w->out_frame;
        size_t length = put_head(frame, first, o->size, 0x80);
        uint64_t random = mix(w->seed ^ ((uint64_t)f << 32)) | 0x01010101;
        memcpy(frame + length, &random, 4);
        const unsigned char *payload = w->expected + f % VARIANTS * w->expected_frame + w->expected_head;
        for (size_t i = 0; i < o->size; i++) frame[length + 4 + i] = payload[i] ^ frame[length + (i & 3)];
    }
}

/* At most w->batch messages, in one send; now is what their latency is taken from (where a ring keeps it). */
void client_send_messages(worker *w, client *c, uint32_t count, uint64_t now) {
    if (w->send_times) {
        uint64_t *ring = w->send_times + (size_t)index_of(w, c) * w->ring_size;
        for (uint32_t i = 0; i < count; i++) ring[(c->sent + i) & (w->ring_size - 1)] = now;
    }
    const unsigned char *frames = w->out + c->sent % VARIANTS * w->out_frame;
    c->sent += count;
    client_send_bytes(w, c, frames, count * w->out_frame);
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
    return w->options->mode == ECHO || w->options->mode == RATE || w->options->mode == CONNECT;
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
    unsigned opcode = c->head[0] & 0x0f;
    int known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
    int shortest = c->head_length == 2 || (c->head_length == 4 ? size > 125 : size > 65535);
    int control_fits = opcode < 8 || (size <= 125 && c->head[0] & 0x80);
    if (!known || !shortest || !control_fits || c->head[0] & 0x70 || c->head[1] & 0x80) {
        client_failed(w, c, BAD_FRAME, "illegal frame header");
    } else if (opcode < 8 && is_answered(w) && memcmp(c->head, w->expected, w->expected_head)) {
        client_failed(w, c, BAD_FRAME, "the reply has another opcode or length");
    }
    c->payload_left = size;
    c->payload_at = 0;
    *complete = 1;
    return taken;
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
    if (control) {
        if (piece) client_hold(c, bytes + taken, piece);
    } else if (w->options->mode == FANOUT) {
        fanout_heard(w, c, bytes + taken, piece);
        if (c->state == GONE) return length;
    } else if (w->options->mode != IDLE) {
        const unsigned char *expected = w->expected + c->received % VARIANTS * w->expected_frame + w->expected_head;
        if (memcmp(bytes + taken, expected + c->payload_at, piece)) {
            client_failed(w, c, BAD_PAYLOAD, "the reply is not what was sent");
            return length;
        }
    }
    c->payload_at += (uint32_t)piece;
    c->payload_left -= piece;
    taken += piece;
    if (c->payload_left) return taken;
    c->payload_at = 0;
    if (control) {
        control_frame(w, c);
    } else if (w->options->mode != FANOUT) {
        c->received++;
        (*replies)++;
    }
    c->head_length = 0;
    return taken;
}

void client_receive(worker *w, client *c, const unsigned char *bytes, size_t length) {
    uint32_t replies = 0;
    const size_t frame = w->expected_frame;
    while (length && c->state != GONE) {
        const unsigned char *expected = w->expected + c->received % VARIANTS * frame;
        if (frame && !c->head_length && length >= frame && !memcmp(bytes, expected, frame)) {
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
