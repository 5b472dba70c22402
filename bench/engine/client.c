/* One connection of the load engine. Everything it receives is checked; the first surprise is kept for the report. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "accept_key.h"
#include "load.h"

#define LARGEST_HEAD 8192
#define EXTENSIONS "\r\nSec-WebSocket-Extensions:"
#define OFFER                                                                                            \
    "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n"

static void key_of(const worker *w, const client *c, char *key) {
    uint64_t bytes[2] = {mix(w->seed + 2 * (uint64_t)index_of(w, c)), mix(w->seed + 2 * (uint64_t)index_of(w, c) + 1)};
    base64((unsigned char *)bytes, sizeof bytes, key);
}

void client_close(worker *w, client *c) {
    if (c->state == UNUSED || c->state == GONE) return;
    if (client_is_dialling(c)) w->dialling--;
    c->state = GONE;
    free(c->unsent);
    free(c->held);
    free(c->begun);
    c->unsent = NULL;
    c->held = c->begun = NULL;
    transport_close(c);
    w->figures->finished++;
}

void client_failed(worker *w, client *c, enum failure what, const char *detail) {
    figures *f = w->figures;
    /* It said goodbye, and however it ends, it ends; or it was to stop reading, and the server found it slow already. */
    if (c->state == LEAVING || (c->state == OPEN && rooms_will_stall(w, c))) {
        client_close(w, c);
        return;
    }
    if (!f->first_failure[0]) {
        int number = w->first_number + index_of(w, c);
        const char *who = c == w->publisher ? "publisher" : "connection";
        snprintf(f->first_failure, sizeof f->first_failure, "%s %d: %s", who, number, detail);
    }
    f->failures[what]++;
    if (w->options->mode == FANOUT || w->options->mode == ROOMS) w->shared->spoiled = 1; /* figures with failures are worth nothing */
    if (client_is_dialling(c)) f->settled++;
    client_close(w, c);
}

static void watch(worker *w, client *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)index_of(w, c)};
    epoll_ctl(w->epoll_fd, operation, c->fd, &event);
}

void client_send_bytes(worker *w, client *c, const void *bytes, size_t length) {
    size_t sent = 0;
    if (!c->unsent) {
        ssize_t took = transport_send(c, bytes, length);
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
    ssize_t took = transport_send(c, c->unsent + c->unsent_at, c->unsent_length - c->unsent_at);
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
    client_send_frame(w, c, 8, normal, sizeof normal);
}

void client_dial(worker *w, client *c) {
    c->state = DIALLING;
    c->started = now_ns();
    w->dialling++;
    if (transport_dial(w, c)) {
        client_failed(w, c, CANNOT_CONNECT, strerror(errno));
    } else {
        watch(w, c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
    }
}

static void request_upgrade(worker *w, client *c) {
    char key[KEY_LENGTH], path[LARGEST_TEXT], headers[LARGEST_TEXT], request[2 * LARGEST_TEXT + 1024];
    key_of(w, c, key);
    words_fill(w, c, c == w->publisher ? w->options->publish_path : w->options->path, path, sizeof path);
    headers[words_fill(w, c, w->options->headers, headers, sizeof headers)] = 0;
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %.*s\r\n%s%s\r\n",
                          path, c == w->publisher ? w->options->publish_port : w->options->port, KEY_LENGTH, key, w->options->deflate ? OFFER : "",
                          headers);
    c->state = UPGRADING;
    watch(w, c, EPOLL_CTL_MOD, EPOLLIN);
    client_send_bytes(w, c, request, (size_t)length);
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
    if (w->options->deflate && !has_token(head, EXTENSIONS, "permessage-deflate")) {
        client_failed(w, c, NOT_UPGRADED, "permessage-deflate is not accepted");
        return 0;
    }
    if (w->options->deflate && !has_token(head, EXTENSIONS, "server_no_context_takeover")) {
        client_failed(w, c, NOT_UPGRADED, "server_no_context_takeover is not accepted");
        return 0;
    }
    return size;
}

static void upgrade_received(worker *w, client *c, const unsigned char *bytes, size_t length) {
    if (c->held_length) {
        client_hold(c, bytes, length);
        bytes = c->held;
        length = c->held_length;
    }
    size_t head = judge_upgrade(w, c, bytes, length);
    if (c->state == GONE) return;
    if (!head) {
        if (!c->held_length) client_hold(c, bytes, length);
        return;
    }
    unsigned char *held = c->held;
    c->held = NULL;
    c->held_length = 0;
    c->state = OPEN;
    w->dialling--;
    histogram_add(&w->figures->handshakes, now_ns() - c->started, 1);
    w->figures->connected += c != w->publisher;
    w->figures->settled++;
    char subscribe[LARGEST_TEXT + 1];
    size_t said = c == w->publisher ? 0 : words_fill(w, c, w->options->subscribe, subscribe, sizeof subscribe);
    if (said) client_send_frame(w, c, w->options->text ? 1 : 2, subscribe, said);
    if (c->state == OPEN) client_receive(w, c, bytes + head, length - head);
    free(held);
}

/* TCP is there; the upgrade goes out as soon as TLS is, where it is wanted. */
static void connected(worker *w, client *c) {
    if (!w->options->tls) {
        request_upgrade(w, c);
        return;
    }
    c->state = SHAKING;
    switch (transport_shake(w, c)) {
        case SHAKEN: request_upgrade(w, c); break;
        case WANTS_TO_READ: watch(w, c, EPOLL_CTL_MOD, EPOLLIN); break;
        case WANTS_TO_WRITE: watch(w, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT); break;
        case NOT_SHAKEN: client_failed(w, c, CANNOT_CONNECT, "the TLS handshake failed"); break;
    }
}

static void dial_progressed(worker *w, client *c, uint32_t events) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        client_failed(w, c, CANNOT_CONNECT, strerror(error));
    } else if (events & EPOLLOUT || c->state == SHAKING) {
        connected(w, c);
    }
}

static void receive(worker *w, client *c) {
    ssize_t got = transport_receive(c, w->receive_buffer, RECEIVE_SIZE);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0) {
        w->figures->bytes += (uint64_t)got;
        if (c->state == UPGRADING) {
            upgrade_received(w, c, w->receive_buffer, (size_t)got);
        } else {
            client_receive(w, c, w->receive_buffer, (size_t)got);
        }
        /* TLS has read ahead; without the end of a record it waits for the socket again. */
        if (c->state != GONE && transport_has_more(c)) receive(w, c);
    } else if (c->state == LEAVING) {
        client_close(w, c);
    } else {
        enum failure what = c->state == UPGRADING ? NOT_UPGRADED : CLOSED_EARLY;
        client_failed(w, c, what, got ? strerror(errno) : "end of stream");
    }
}

void client_ready(worker *w, client *c, uint32_t events) {
    if (c->state == UNUSED || c->state == GONE) return;
    if (c->state == DIALLING || c->state == SHAKING) {
        dial_progressed(w, c, events);
        return;
    }
    if (events & EPOLLOUT && c->unsent) send_rest(w, c);
    if (c->state != GONE && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(w, c);
}
