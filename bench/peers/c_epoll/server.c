/* Sockets: see server.h for the whole. Usage: server [PORT]   (0 = any free one; printed) */
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
#include "server.h"

#define EVENTS 512
#define ACCEPT_BATCH 128

connection *connections;
static unsigned char shared_buffer[BUFFER_SIZE];
static int epoll_fd;

void drop(int fd) {
    connection *c = &connections[fd];
    if (c->role == HEARS || c->role == MEMBER) audience_leave(fd);
    free(c->tail);
    free(c->unsent);
    memset(c, 0, sizeof *c);
    close(fd);
}

static void watch(int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

static void keep_unsent(connection *c, const unsigned char *bytes, size_t length) {
    c->unsent = realloc(c->unsent, c->unsent_length + length);
    memcpy(c->unsent + c->unsent_length, bytes, length);
    c->unsent_length += (uint32_t)length;
}

int send_all(int fd, const unsigned char *bytes, size_t length) {
    connection *c = &connections[fd];
    if (c->unsent) {
        keep_unsent(c, bytes, length);
        return 0;
    }
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent < 0) sent = 0;
    if ((size_t)sent == length) return 0;
    keep_unsent(c, bytes + sent, length - (size_t)sent);
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

static enum role role_for(const char *head) {
    if (!strncmp(head, "GET /fanout ", 12)) return HEARS;
    if (!strncmp(head, "GET /publish ", 13)) return SPEAKS;
    if (!strncmp(head, "GET /rooms/", 11)) return MEMBER;
    return ECHOES;
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
        if (send(fd, answer, used + ACCEPT_LENGTH + 4, MSG_NOSIGNAL) < 0) return -1;
        connections[fd].role = role_for((const char *)bytes);
        if (connections[fd].role == HEARS) audience_join(fd, 0);
        if (connections[fd].role == MEMBER) {
            audience_join(fd, 1 + (uint32_t)strtoul((const char *)bytes + 11, NULL, 10) % MOST_ROOMS);
        }
        return (ssize_t)head;
    }
    return -1;
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
    size_t length = c->tail_length + (size_t)got;
    int closing = 0;
    unsigned char *bytes = (unsigned char *)c->tail;
    c->tail_length = (uint32_t)length;
    ssize_t used = frames_received(fd, bytes, length, &closing);
    if (used < 0 || length > LARGEST_MESSAGE + BUFFER_SIZE) {
        drop(fd);
        return;
    }
    if (closing) shutdown(fd, SHUT_WR);
    if (!used) return;
    c->tail = NULL;
    c->tail_length = 0;
    keep_tail(c, bytes + used, length - (size_t)used);
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
    ssize_t used = 0;
    int closing = 0;
    if (c->role == UPGRADING) used = upgrade(fd, shared_buffer, length);
    if (used >= 0 && c->role != UPGRADING) {
        ssize_t frames = frames_received(fd, shared_buffer + used, length - (size_t)used, &closing);
        used = frames < 0 ? -1 : used + frames;
    }
    if (used < 0) {
        drop(fd);
        return;
    }
    if (closing) shutdown(fd, SHUT_WR);
    if (c->tail_length || (size_t)used < length) keep_tail(c, shared_buffer + used, length - (size_t)used);
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
