/* How the bytes of a connection travel: over TCP or a Unix socket, in the clear or under TLS. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#include "load.h"

/* A reader that will stop looks like one on an Ethernet with little room: on the loopback interface, with segments of 64
 * KiB, the server's kernel would keep megabytes for it before the server itself had to. */
#define SLOW_SEGMENT 1460
#define SLOW_BUFFER 4096

#define PORTS_PER_ADDRESS 25000 /* of the 28,000 that Linux hands out by default */

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static int dial_unix(const worker *w, client *c) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return -1;
    strncpy(address.sun_path, w->options->unix_path, sizeof address.sun_path - 1);
    /* Blocking until it is in the backlog: a Unix socket that does not block is refused when that is full. */
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) return -1;
    return fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static int dial_tcp(const worker *w, client *c) {
    int number = w->first_number + index_of(w, c), one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return -1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (rooms_will_stall(w, c)) {
        int segment = SLOW_SEGMENT, buffer = SLOW_BUFFER;
        setsockopt(c->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    }
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (w->options->connections > PORTS_PER_ADDRESS) {
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(number / PORTS_PER_ADDRESS));
        if (bind(c->fd, (struct sockaddr *)&address, sizeof address)) return -1;
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)(c == w->publisher ? w->options->publish_port : w->options->port));
    return connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS ? -1 : 0;
}

int transport_dial(const worker *w, client *c) {
    return *w->options->unix_path ? dial_unix(w, c) : dial_tcp(w, c);
}

#ifdef WITH_TLS

void transport_prepare(worker *w) {
    SSL_CTX *context = w->options->tls ? SSL_CTX_new(TLS_client_method()) : NULL;
    if (!context) return;
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL); /* a throw-away certificate on the loopback interface */
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF); /* the frames say whether it was unexpected */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(context, 1); /* one recv for several records, or for one and its head */
    w->tls_context = context;
}

static ssize_t tls_result(SSL *tls, int returned) {
    if (returned > 0) return returned;
    switch (SSL_get_error(tls, returned)) {
        case SSL_ERROR_ZERO_RETURN: return 0;
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
        case SSL_ERROR_SYSCALL: errno = errno ? errno : ECONNRESET; return -1;
        default: errno = EPROTO; return -1;
    }
}

enum shaking transport_shake(const worker *w, client *c) {
    if (!c->tls) {
        c->tls = w->tls_context ? SSL_new(w->tls_context) : NULL;
        if (!c->tls) return NOT_SHAKEN;
        SSL_set_fd(c->tls, c->fd);
        SSL_set_tlsext_host_name((SSL *)c->tls, "localhost");
    }
    ERR_clear_error();
    int returned = SSL_connect(c->tls);
    if (returned == 1) return SHAKEN;
    switch (SSL_get_error(c->tls, returned)) {
        case SSL_ERROR_WANT_READ: return WANTS_TO_READ;
        case SSL_ERROR_WANT_WRITE: return WANTS_TO_WRITE;
        default: return NOT_SHAKEN;
    }
}

ssize_t transport_send(const client *c, const void *bytes, size_t length) {
    if (!c->tls) return send(c->fd, bytes, length, MSG_NOSIGNAL);
    ERR_clear_error();
    return tls_result(c->tls, SSL_write(c->tls, bytes, length < INT32_MAX ? (int)length : INT32_MAX));
}

ssize_t transport_receive(const client *c, void *bytes, size_t length) {
    if (!c->tls) return recv(c->fd, bytes, length, 0);
    ERR_clear_error();
    return tls_result(c->tls, SSL_read(c->tls, bytes, (int)length));
}

int transport_has_more(const client *c) {
    return c->tls && SSL_has_pending(c->tls);
}

void transport_close(client *c) {
    SSL_free(c->tls);
    c->tls = NULL;
    close(c->fd);
}

#else

void transport_prepare(worker *w) {
    (void)w;
}

enum shaking transport_shake(const worker *w, client *c) {
    (void)w;
    (void)c;
    return NOT_SHAKEN;
}

ssize_t transport_send(const client *c, const void *bytes, size_t length) {
    return send(c->fd, bytes, length, MSG_NOSIGNAL);
}

ssize_t transport_receive(const client *c, void *bytes, size_t length) {
    return recv(c->fd, bytes, length, 0);
}

int transport_has_more(const client *c) {
    (void)c;
    return 0;
}

void transport_close(client *c) {
    close(c->fd);
}

#endif
