/*
 * The limit of the machine: a WebSocket echo server that does nothing but what every server must do.
 *
 * One thread, one level-triggered epoll. Per ready socket one recv and one send: frames are unmasked in the receive
 * buffer, their replies are packed over them (a reply's header is four bytes shorter), and all of them leave in one
 * send. There are no limits, no UTF-8 check, no timers and no fragments; an incomplete frame at the end of a read
 * waits in a copy of its own. Usage: echo [PORT]   (0 = any free one; printed)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../engine/accept_key.h"

#define BUFFER_SIZE (1 << 18)
#define LARGEST_MESSAGE (16u << 20)
#define EVENTS 512
#define ACCEPT_BATCH 128

typedef struct {
    char *tail; /* the beginning of a frame whose end has not come yet, or of a request head */
    char *unsent;
    uint32_t tail_length;
    uint32_t unsent_length;
    uint8_t open;
} connection;

static connection *connections; /* by descriptor */
static unsigned char shared_buffer[BUFFER_SIZE];
static int epoll_fd;

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

static void drop(int fd) {
    connection *c = &connections[fd];
    free(c->tail);
    free(c->unsent);
    memset(c, 0, sizeof *c);
    close(fd);
}

static void watch(int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

static int send_all(int fd, const unsigned char *bytes, size_t length) {
    connection *c = &connections[fd];
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent < 0) sent = 0;
    if ((size_t)sent == length) return 0;
    c->unsent_length = (uint32_t)(length - (size_t)sent);
    c->unsent = malloc(c->unsent_length);
    memcpy(c->unsent, bytes + sent, c->unsent_length);
    watch(fd, EPOLLOUT);
    return 0;
}

static void send_rest(int fd) {
    connection *c = &connections[fd];
    ssize_t sent = send(fd, c->unsent, c->unsent_length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) {
        drop(fd);
        return;
    }
    c->unsent_length -= (uint32_t)sent;
    memmove(c->unsent, c->unsent + sent, c->unsent_length);
    if (c->unsent_length) return;
    free(c->unsent);
    c->unsent = NULL;
    watch(fd, EPOLLIN);
}

/* Answers the upgrade; returns the bytes of the head, 0 if it is not complete, -1 if it cannot be answered. */
static ssize_t upgrade(int fd, const unsigned char *bytes, size_t length) {
    const char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end) return length > 16384 ? -1 : 0;
    static const char name[] = "\r\nSec-WebSocket-Key:";
    size_t head = (size_t)(end + 4 - (const char *)bytes);
    for (size_t i = 0; i + sizeof name - 1 + KEY_LENGTH + 1 < head; i++) {
        if (bytes[i] != '\r' || strncasecmp((const char *)bytes + i, name, sizeof name - 1)) continue;
        const char *key = (const char *)bytes + i + sizeof name - 1;
        key += *key == ' ';
        char answer[160] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: ";
        size_t used = strlen(answer);
        accept_key(key, answer + used);
        memcpy(answer + used + ACCEPT_LENGTH, "\r\n\r\n", 4);
        connections[fd].open = 1;
        if (send(fd, answer, used + ACCEPT_LENGTH + 4, MSG_NOSIGNAL) < 0) return -1;
        return (ssize_t)head;
    }
    return -1;
}

/*
 * Turns the frames in bytes into their replies, packed at the same place. Returns the bytes of the replies, sets *used
 * to the bytes of complete frames; *closing is set once a close frame was answered. -1: not a frame for an echo server.
 */
static ssize_t reply_in_place(unsigned char *bytes, size_t length, size_t *used, int *closing) {
    unsigned char *to = bytes;
    size_t at = 0;
    while (length - at >= 6 && !*closing) {
        const unsigned char *frame = bytes + at;
        unsigned first = frame[0];
        uint64_t size = frame[1] & 0x7f;
        size_t header = 6;
        if (!(frame[1] & 0x80) || !(first & 0x80)) return -1;
        if (size == 126) {
            if (length - at < 8) break;
            size = (uint64_t)frame[2] << 8 | frame[3];
            header = 8;
        } else if (size == 127) {
            if (length - at < 14) break;
            size = 0;
            for (int i = 2; i < 10; i++) size = size << 8 | frame[i];
            header = 14;
            if (size > LARGEST_MESSAGE) return -1;
        }
        if (length - at < header + size) break;
        unsigned char key[4];
        memcpy(key, frame + header - 4, 4);
        to[0] = (first & 0x0f) == 9 ? 0x8a : (unsigned char)first;
        to[1] = frame[1] & 0x7f;
        if (header > 6) memmove(to + 2, frame + 2, header - 6);
        unmask(to + header - 4, frame + header, size, key);
        to += header - 4 + size;
        at += header + size;
        *closing = (first & 0x0f) == 8;
    }
    *used = at;
    return to - bytes;
}

static void keep_tail(connection *c, const unsigned char *bytes, size_t length) {
    if (length > c->tail_length || !length) {
        free(c->tail);
        c->tail = length ? malloc(length) : NULL;
    }
    if (length) memcpy(c->tail, bytes, length);
    c->tail_length = (uint32_t)length;
}

/* A frame larger than the shared buffer is gathered in its tail, which grows by what each read brings. */
static void receive_large(int fd) {
    connection *c = &connections[fd];
    c->tail = realloc(c->tail, c->tail_length + BUFFER_SIZE);
    ssize_t got = recv(fd, c->tail + c->tail_length, BUFFER_SIZE, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) drop(fd);
        return;
    }
    size_t used = 0, length = c->tail_length + (size_t)got;
    int closing = 0;
    unsigned char *bytes = (unsigned char *)c->tail;
    c->tail_length = (uint32_t)length;
    ssize_t replies = reply_in_place(bytes, length, &used, &closing);
    if (replies < 0 || length > LARGEST_MESSAGE + BUFFER_SIZE || (replies && send_all(fd, bytes, (size_t)replies))) {
        drop(fd);
        return;
    }
    if (closing) shutdown(fd, SHUT_WR);
    if (!used) return;
    c->tail = NULL;
    c->tail_length = 0;
    keep_tail(c, bytes + used, length - used);
    free(bytes);
}

static void receive(int fd) {
    connection *c = &connections[fd];
    if (c->tail_length > BUFFER_SIZE / 2) {
        receive_large(fd);
        return;
    }
    size_t length = c->tail_length;
    if (length) memcpy(shared_buffer, c->tail, length);
    ssize_t got = recv(fd, shared_buffer + length, BUFFER_SIZE - length, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) drop(fd);
        return;
    }
    length += (size_t)got;
    unsigned char *bytes = shared_buffer;
    if (!c->open) {
        ssize_t head = upgrade(fd, bytes, length);
        if (head < 0) {
            drop(fd);
            return;
        }
        bytes += head;
        length -= (size_t)head;
    }
    size_t used = 0;
    int closing = 0;
    ssize_t replies = c->open ? reply_in_place(bytes, length, &used, &closing) : 0;
    if (replies < 0 || (replies && send_all(fd, bytes, (size_t)replies) < 0)) {
        drop(fd);
        return;
    }
    if (closing) shutdown(fd, SHUT_WR);
    if (c->tail_length || used < length) keep_tail(c, bytes + used, length - used);
}

static void accept_some(int listener, size_t most) {
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if ((size_t)fd >= most) {
            close(fd);
            return;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 65535)) {
        perror("listen");
        exit(3);
    }
    getsockname(fd, (struct sockaddr *)&address, &size);
    printf("listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    connections = calloc(files.rlim_max, sizeof *connections);
    int listener = listen_on(argc > 1 ? atoi(argv[1]) : 0);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, EVENTS, -1), accepting = 0;
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accepting = 1;
            } else if (events[i].events & EPOLLOUT) {
                send_rest(fd);
            } else {
                receive(fd);
            }
        }
        if (accepting) accept_some(listener, files.rlim_max);
    }
}
