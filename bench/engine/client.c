/* One connection of the load engine. Everything it receives is checked; the first surprise is kept for the report. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accept_key.h"
#include "load.h"

#define PORTS_PER_ADDRESS 25000 /* of the 28,000 that Linux hands out by default */
#define LARGEST_HEAD 8192

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

/* A well-mixed number for each input: keys, masks and payloads that repeat with the seed. */
static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static void key_of(const worker *w, const client *c, char *key) {
    uint64_t bytes[2] = {mix(w->seed + 2 * (uint64_t)index_of(w, c)), mix(w->seed + 2 * (uint64_t)index_of(w, c) + 1)};
    base64((unsigned char *)bytes, sizeof bytes, key);
}

static size_t put_head(unsigned char *at, unsigned first, size_t size, unsigned mask_bit) {
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

void client_close(worker *w, client *c) {
    if (c->state == UNUSED || c->state == GONE) return;
    if (c->state == DIALLING || c->state == UPGRADING) w->dialling--;
    c->state = GONE;
    free(c->unsent);
    free(c->held);
    c->unsent = NULL;
    c->held = NULL;
    close(c->fd);
    w->figures->finished++;
}

void client_failed(worker *w, client *c, enum failure what, const char *detail) {
    figures *f = w->figures;
    if (c->state == LEAVING) { /* said goodbye: however it ends, it ends */
        client_close(w, c);
        return;
    }
    if (!f->first_failure[0]) {
        int number = w->first_number + index_of(w, c);
        snprintf(f->first_failure, sizeof f->first_failure, "connection %d: %s", number, detail);
    }
    f->failures[what]++;
    if (c->state == DIALLING || c->state == UPGRADING) f->settled++;
    client_close(w, c);
}

static void watch(worker *w, client *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)index_of(w, c)};
    epoll_ctl(w->epoll_fd, operation, c->fd, &event);
}

static void send_bytes(worker *w, client *c, const void *bytes, size_t length) {
    size_t sent = 0;
    if (!c->unsent) {
        ssize_t took = send(c->fd, bytes, length, MSG_NOSIGNAL);
        if (took < 0 && errno != EAGAIN) {
            client_failed(w, c, CLOSED_EARLY, strerror(errno));
            return;
        }
        sent = took > 0 ? (size_t)took : 0;
        if (sent == length) return;
        watch(w, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    size_t waiting = c->unsent_length - c->unsent_at, more = length - sent;
    char *kept = malloc(waiting + more);
    if (waiting) memcpy(kept, c->unsent + c->unsent_at, waiting);
    memcpy(kept + waiting, (const char *)bytes + sent, more);
    free(c->unsent);
    c->unsent = kept;
    c->unsent_at = 0;
    c->unsent_length = (uint32_t)(waiting + more);
}

static void send_rest(worker *w, client *c) {
    ssize_t took = send(c->fd, c->unsent + c->unsent_at, c->unsent_length - c->unsent_at, MSG_NOSIGNAL);
    if (took < 0) {
        if (errno != EAGAIN) client_failed(w, c, CLOSED_EARLY, strerror(errno));
        return;
    }
    c->unsent_at += (uint32_t)took;
    if (c->unsent_at < c->unsent_length) return;
    free(c->unsent);
    c->unsent = NULL;
    c->unsent_at = c->unsent_length = 0;
    watch(w, c, EPOLL_CTL_MOD, EPOLLIN);
}

/* At most w->batch messages, in one send; now is what their latency is taken from (where a ring keeps it). */
void client_send_messages(worker *w, client *c, uint32_t count, uint64_t now) {
    if (w->send_times) {
        uint64_t *ring = w->send_times + (size_t)index_of(w, c) * w->ring_size;
        for (uint32_t i = 0; i < count; i++) ring[(c->sent + i) & (w->ring_size - 1)] = now;
    }
    const unsigned char *frames = w->out + c->sent % VARIANTS * w->out_frame;
    c->sent += count;
    send_bytes(w, c, frames, count * w->out_frame);
}

static void send_control(worker *w, client *c, unsigned opcode, const unsigned char *payload, size_t length) {
    unsigned char frame[6 + 125];
    uint64_t key = mix(w->seed ^ c->received ^ (uint64_t)index_of(w, c)) | 0x01010101;
    frame[0] = (unsigned char)(0x80 | opcode);
    frame[1] = (unsigned char)(0x80 | length);
    memcpy(frame + 2, &key, 4);
    for (size_t i = 0; i < length; i++) frame[6 + i] = payload[i] ^ frame[2 + (i & 3)];
    send_bytes(w, c, frame, 6 + length);
}

void client_leave(worker *w, client *c) {
    static const unsigned char normal[2] = {1000 >> 8, 1000 & 0xff};
    if (c->state != OPEN) return;
    if (w->options->abrupt) {
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        client_close(w, c);
        return;
    }
    c->state = LEAVING; /* first, so that a failing send closes a client that is leaving */
    send_control(w, c, 8, normal, sizeof normal);
}

void client_dial(worker *w, client *c) {
    int number = w->first_number + index_of(w, c), one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c->state = DIALLING;
    c->started = now_ns();
    w->dialling++;
    if (c->fd < 0) {
        client_failed(w, c, CANNOT_CONNECT, strerror(errno));
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (w->options->connections > PORTS_PER_ADDRESS) {
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(number / PORTS_PER_ADDRESS));
        if (bind(c->fd, (struct sockaddr *)&address, sizeof address)) {
            client_failed(w, c, CANNOT_CONNECT, strerror(errno));
            return;
        }
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)w->options->port);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
        client_failed(w, c, CANNOT_CONNECT, strerror(errno));
        return;
    }
    watch(w, c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void request_upgrade(worker *w, client *c) {
    char key[KEY_LENGTH], request[4096];
    key_of(w, c, key);
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %.*s\r\n%s\r\n",
                          w->options->path, w->options->port, KEY_LENGTH, key, w->options->headers);
    c->state = UPGRADING;
    watch(w, c, EPOLL_CTL_MOD, EPOLLIN);
    send_bytes(w, c, request, (size_t)length);
}

static int has_token(const char *head, const char *name, const char *value) {
    const char *line = strcasestr(head, name);
    if (!line) return 0;
    const char *end = strstr(line + 2, "\r\n"), *found = strcasestr(line + 2, value);
    return found && end && found < end;
}

/* Returns the bytes of the response head; 0: not complete, or the connection has failed. */
static size_t judge_upgrade(worker *w, client *c, const unsigned char *bytes, size_t length) {
    const unsigned char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end) {
        if (length > LARGEST_HEAD) client_failed(w, c, NOT_UPGRADED, "the response head does not end");
        return 0;
    }
    size_t size = (size_t)(end + 4 - bytes);
    char head[LARGEST_HEAD + 8], key[KEY_LENGTH], accept[ACCEPT_LENGTH + 1] = "";
    if (size > LARGEST_HEAD) {
        client_failed(w, c, NOT_UPGRADED, "the response head is too long");
        return 0;
    }
    memcpy(head, bytes, size);
    head[size] = 0;
    if (strncmp(head, "HTTP/1.1 101 ", 13)) {
        head[strcspn(head, "\r")] = 0;
        client_failed(w, c, NOT_UPGRADED, head);
        return 0;
    }
    key_of(w, c, key);
    accept_key(key, accept);
    const char *given = strcasestr(head, "\r\nSec-WebSocket-Accept:");
    if (!given || strncmp(given + 23 + (given[23] == ' '), accept, ACCEPT_LENGTH)) {
        client_failed(w, c, NOT_UPGRADED, "wrong Sec-WebSocket-Accept");
        return 0;
    }
    if (!has_token(head, "\r\nUpgrade:", "websocket") || !has_token(head, "\r\nConnection:", "upgrade")) {
        client_failed(w, c, NOT_UPGRADED, "Upgrade or Connection header missing in the 101");
        return 0;
    }
    return size;
}

static void hold(client *c, const unsigned char *bytes, size_t length) {
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
        send_control(w, c, 10, c->held, c->held_length);
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
    } else if (opcode < 8 && w->options->mode != IDLE && memcmp(c->head, w->expected, w->expected_head)) {
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
        if (piece) hold(c, bytes + taken, piece);
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
    } else {
        c->received++;
        (*replies)++;
    }
    c->head_length = 0;
    return taken;
}

static void receive_frames(worker *w, client *c, const unsigned char *bytes, size_t length) {
    uint32_t replies = 0;
    const size_t frame = w->expected_frame;
    while (length && c->state != GONE) {
        const unsigned char *expected = w->expected + c->received % VARIANTS * frame;
        if (!c->head_length && length >= frame && !memcmp(bytes, expected, frame)) {
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

static void upgrade_received(worker *w, client *c, const unsigned char *bytes, size_t length) {
    if (c->held_length) {
        hold(c, bytes, length);
        bytes = c->held;
        length = c->held_length;
    }
    size_t head = judge_upgrade(w, c, bytes, length);
    if (c->state == GONE) return;
    if (!head) {
        if (!c->held_length) hold(c, bytes, length);
        return;
    }
    unsigned char *held = c->held;
    c->held = NULL;
    c->held_length = 0;
    c->state = OPEN;
    w->dialling--;
    histogram_add(&w->figures->handshakes, now_ns() - c->started, 1);
    w->figures->connected++;
    w->figures->settled++;
    receive_frames(w, c, bytes + head, length - head);
    free(held);
}

void client_ready(worker *w, client *c, uint32_t events) {
    if (c->state == UNUSED || c->state == GONE) return;
    if (c->state == DIALLING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            client_failed(w, c, CANNOT_CONNECT, strerror(error));
        } else if (events & EPOLLOUT) {
            request_upgrade(w, c);
        }
        return;
    }
    if (events & EPOLLOUT && c->unsent) send_rest(w, c);
    if (c->state == GONE || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    ssize_t got = recv(c->fd, w->receive_buffer, RECEIVE_SIZE, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0) {
        w->figures->bytes += (uint64_t)got;
        if (c->state == UPGRADING) {
            upgrade_received(w, c, w->receive_buffer, (size_t)got);
        } else {
            receive_frames(w, c, w->receive_buffer, (size_t)got);
        }
    } else if (c->state == LEAVING) {
        client_close(w, c);
    } else {
        enum failure what = c->state == UPGRADING ? NOT_UPGRADED : CLOSED_EARLY;
        client_failed(w, c, what, got ? strerror(errno) : "end of stream");
    }
}
