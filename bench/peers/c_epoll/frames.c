/*
 * Frames in, frames out. They are unmasked in the receive buffer, and the server's frames are packed over them (a
 * server's header is four bytes shorter), so that all of a read leave in one send: to the sender itself for an echo,
 * to every subscriber for fan-out, to every member of the sender's room.
 */
#include <stdlib.h>
#include <string.h>

#include "server.h"

#define CLOSE 8
#define PING 9
#define PONG 10

typedef struct {
    int *members; /* their descriptors, without gaps */
    uint32_t count, room;
} audience;

static audience audiences[1 + MOST_ROOMS]; /* the first hears the publishers, the others are rooms */

typedef uint64_t word4 __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint64_t word __attribute__((aligned(1), may_alias));

/* to may lie before from in the same buffer: each step reads before it writes, and never writes past what it read. */
static void unmask(unsigned char *to, const unsigned char *from, size_t length, const unsigned char *key) {
    uint32_t key32;
    memcpy(&key32, key, 4);
    uint64_t key64 = (uint64_t)key32 << 32 | key32;
    word4 key256 = {key64, key64, key64, key64};
    size_t i = 0;
    for (; i + 32 <= length; i += 32) *(word4 *)(to + i) = *(const word4 *)(from + i) ^ key256;
    for (; i + 8 <= length; i += 8) *(word *)(to + i) = *(const word *)(from + i) ^ key64;
    for (; i < length; i++) to[i] = from[i] ^ ((const unsigned char *)&key64)[i & 7];
}

/* The bytes of the frame's header with its key; *size those of its payload. 0: not all of it is there. -1: a frame that
 * this server does not know: unmasked, a fragment, or too large. */
static inline int frame_header(const unsigned char *frame, size_t length, uint64_t *size) {
    if (length < 6) return 0;
    if (!(frame[1] & 0x80) || !(frame[0] & 0x80)) return -1;
    int header = 6;
    *size = frame[1] & 0x7f;
    if (*size == 126) {
        if (length < 8) return 0;
        *size = (uint64_t)frame[2] << 8 | frame[3];
        header = 8;
    } else if (*size == 127) {
        if (length < 14) return 0;
        *size = 0;
        for (int i = 2; i < 10; i++) *size = *size << 8 | frame[i];
        if (*size > LARGEST_MESSAGE) return -1;
        header = 14;
    }
    return length - (size_t)header < *size ? 0 : header;
}

/* Writes the server's frame with the payload of this one; returns its length. A ping becomes its pong. */
static inline size_t answer(unsigned char *to, const unsigned char *frame, size_t header, size_t size) {
    unsigned char key[4];
    memcpy(key, frame + header - 4, 4);
    to[0] = (frame[0] & 0x0f) == PING ? 0x80 | PONG : frame[0];
    to[1] = frame[1] & 0x7f;
    if (header > 6) memmove(to + 2, frame + 2, header - 6);
    unmask(to + header - 4, frame + header, size, key);
    return header - 4 + size;
}

static ssize_t echo(int fd, unsigned char *bytes, size_t length, int *closing) {
    unsigned char *to = bytes;
    size_t at = 0;
    while (!*closing) {
        uint64_t size;
        int header = frame_header(bytes + at, length - at, &size);
        if (header < 0) return -1;
        if (!header) break;
        *closing = (bytes[at] & 0x0f) == CLOSE;
        to += answer(to, bytes + at, (size_t)header, size);
        at += (size_t)header + size;
    }
    if (to > bytes && send_all(fd, bytes, (size_t)(to - bytes)) < 0) return -1;
    return (ssize_t)at;
}

void audience_join(int fd, uint32_t number) {
    audience *a = &audiences[number];
    if (a->count == a->room) {
        a->room = a->room ? 2 * a->room : 8;
        a->members = realloc(a->members, a->room * sizeof *a->members);
    }
    connections[fd].audience = number;
    connections[fd].place = a->count;
    a->members[a->count++] = fd;
}

void audience_leave(int fd) {
    audience *a = &audiences[connections[fd].audience];
    int last = a->members[--a->count];
    a->members[connections[fd].place] = last;
    connections[last].place = connections[fd].place;
}

/* One send for each member. From the last to the first: one that is dropped gives its place to one that has been. */
static void broadcast(const audience *a, const unsigned char *bytes, size_t length) {
    for (uint32_t i = a->count; i-- > 0;) {
        int fd = a->members[i];
        const connection *c = &connections[fd];
        int too_slow = c->unsent && c->unsent_length + length > MOST_BEHIND;
        if (too_slow || send_all(fd, bytes, length) < 0) drop(fd);
    }
}

/* Control frames are answered one by one; data frames of a publisher go to all subscribers, those of a member to its
 * room, those of a subscriber nowhere. */
static ssize_t spread(int fd, unsigned char *bytes, size_t length, int *closing) {
    unsigned char *to = bytes;
    size_t at = 0;
    while (!*closing) {
        uint64_t size;
        int header = frame_header(bytes + at, length - at, &size);
        if (header < 0) return -1;
        if (!header) break;
        unsigned opcode = bytes[at] & 0x0f;
        if (opcode < CLOSE) {
            to += answer(to, bytes + at, (size_t)header, size);
        } else if (opcode != PONG) {
            unsigned char control[2 + 125];
            if (size > 125 || send_all(fd, control, answer(control, bytes + at, (size_t)header, size)) < 0) return -1;
            *closing = opcode == CLOSE;
        }
        at += (size_t)header + size;
    }
    if (to > bytes && connections[fd].role != HEARS) {
        broadcast(&audiences[connections[fd].audience], bytes, (size_t)(to - bytes));
    }
    return (ssize_t)at;
}

ssize_t frames_received(int fd, unsigned char *bytes, size_t length, int *closing) {
    return connections[fd].role == ECHOES ? echo(fd, bytes, length, closing) : spread(fd, bytes, length, closing);
}
