/*
 * The load engine: WebSocket clients by the thousand, to measure servers with.
 *
 * load.c          options
 * director.c      phases of the run, what it did: one JSON object at the end, and one for each step of rooms
 * worker.c        one process: its epoll loop, connecting, the schedules of the modes
 * client.c        one connection: dialling, upgrade, bytes out and in, its end
 * transport.c     TCP and Unix sockets, TLS
 * messages.c      frames out, frames in and whether they are right
 * deflate.c       permessage-deflate
 * publications.c  what is spread, and how it is found in what comes
 * fanout.c        one publisher whose subscribers have all heard a burst before the next goes out
 * rooms.c         many rooms, whose members speak and hear on a schedule
 * words.c         what differs from connection to connection
 *
 * The first process sleeps and directs; the workers it forks own the sockets. They share one mapping: a phase that only
 * the first writes, and figures that only their worker writes.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "histogram.h"

#define MOST_PROCESSES 64
#define MOST_CONNECTIONS 2000000
#define MOST_SECONDS 7200
#define MOST_SERVER_PIDS 64
#define VARIANTS 8          /* payloads that follow each other on a connection, so that a lost reply shows */
#define RECEIVE_SIZE (1 << 18)
#define LARGEST_TEXT 4096   /* of what is sent as told: subscription, publication */
#define MOST_BURST 256
#define MOST_FRAGMENTS 1024
#define RSV1 0x40           /* of a frame's first byte: compressed */
#define MOST_INFLATION 1024 /* bytes by which a compressed reply may be longer than its payload */
#define LONGEST_WORD 2000
#define PAYLOAD_HOLE "{payload}"
#define NOT_PUBLISHED "a publication is not what was published"
#define LEAST_PUBLICATION 24 /* bytes of payload */
#define BELL UINT32_MAX     /* epoll's data of shared_state.bell */

#ifdef WITH_TLS
#define HAS_TLS 1
#else
#define HAS_TLS 0
#endif
#ifdef WITH_DEFLATE
#define HAS_DEFLATE 1
#else
#define HAS_DEFLATE 0
#endif

enum mode { ECHO, RATE, IDLE, CONNECT, FANOUT, ROOMS, MODES };
enum phase { CONNECTING, WARMING, MEASURING, STOPPING };
enum failure { CANNOT_CONNECT, NOT_UPGRADED, BAD_FRAME, BAD_PAYLOAD, CLOSED_EARLY, UNANSWERED, LOST, REPEATED, FAILURES };

typedef struct {
    enum mode mode;
    int port, connections, processes, concurrency, inflight, text, progress, until_stdin, abrupt, urgent;
    int fragments, deflate, tls;
    size_t size; /* payload bytes */
    double warmup, seconds, connect_seconds, rate; /* rate: messages per second over all connections */
    const char *path, *unix_path; /* unix_path: "" for TCP */
    const char *subscribe;              /* what a connection says after its upgrade; "": nothing */
    const char *publish_path, *publish; /* fanout: of the publisher; what it sends, with {payload} in it */
    int publish_port;                   /* fanout: of the publisher's server */
    int burst;                          /* fanout: publications in one write */
    uint32_t run_number;                /* fanout, rooms: tells the publications of this run from others */
    int rooms, stalled;                 /* rooms; readers of each who will stop */
    char **words;                       /* lines of a file, one for each connection in turn */
    int word_count;
    char headers[2048]; /* more lines for the upgrade request, each with its CRLF */
    int server_pids[MOST_SERVER_PIDS], server_pid_count;
} options;

/* Written by one worker, read by the director. */
typedef struct {
    _Alignas(128) pid_t pid;
    _Atomic uint64_t connected, settled, messages, bytes, pings, finished, idle_ns; /* idle: looked and found nothing */
    _Atomic uint64_t due, heard; /* rooms: deliveries */
    _Atomic int step, silent;    /* rooms: the last step that was begun; the last one in which all is said */
    _Atomic uint64_t failures[FAILURES];
    char first_failure[160];
    histogram handshakes, latencies;
} figures;

typedef struct {
    _Atomic int phase;
    _Atomic uint64_t measured_from, measured_to; /* monotonic ns; 0 = not yet */
    _Atomic uint64_t published, heard; /* fanout: publications sent; deliveries, of all workers */
    _Atomic int subscribed;            /* fanout, rooms: every subscriber has heard something */
    _Atomic int spoiled;               /* fanout, rooms: something failed, the run may end */
    _Atomic int complete;              /* rooms: workers whose members have all heard something */
    _Atomic int step, quiet;           /* rooms: the step that goes on; the one in which nothing more is said */
    _Atomic int overloaded;            /* rooms: the server cannot keep the rate of this step */
    _Atomic int stalling;              /* rooms: those who will stop have stopped */
    double rate;                       /* rooms: publications per second of the step, written before its number */
    _Atomic int silent;                /* fanout: nothing is published any more */
    int bell;                          /* fanout: eventfd that wakes the publisher's worker */
    figures workers[MOST_PROCESSES];
} shared_state;

enum client_state { UNUSED, DIALLING, SHAKING, UPGRADING, OPEN, LEAVING, GONE };
enum shaking { SHAKEN, WANTS_TO_READ, WANTS_TO_WRITE, NOT_SHAKEN };

/* One connection, and a ring of send times where latency is taken from the sending. */
typedef struct {
    char *unsent;           /* heap copy of what the socket did not take */
    unsigned char *begun;   /* a publication or compressed reply of which the end is still to come */
    void *tls;              /* an SSL of OpenSSL, under --tls */
    unsigned char *held;    /* a response head or control frame that came in parts: allocated while needed */
    uint64_t started;       /* ns: connect() was called */
    uint64_t payload_left;  /* of the frame that is being received */
    uint32_t payload_at;
    uint32_t unsent_length, unsent_at;
    uint32_t sent, received; /* messages; fanout: received is the number of the next publication */
    uint32_t held_length, begun_length;
    int fd;
    uint8_t state, head_length;
    unsigned char head[10]; /* of the frame that is being received, as far as it has come */
} client;

_Static_assert(sizeof(client) <= 96, "a connection of the engine is small, so that a million fit beside the server");

typedef struct {
    unsigned char *frame;
    size_t length;
} reply;

typedef struct {
    const options *options;
    shared_state *shared;
    figures *figures;
    client *clients;
    int number, count, first_number; /* its own; connections of this worker; number of its first one among all */
    int epoll_fd, dialling, next_to_dial, phase;
    uint64_t seed;
    unsigned char *payloads[VARIANTS];
    reply replies[VARIANTS]; /* as the server must send them; none in fanout */
    unsigned char plain_head[10]; /* of an uncompressed reply */
    size_t plain_head_length;
    unsigned char *out;     /* VARIANTS + batch masked messages, one after the other */
    size_t *out_at;         /* where each of them begins, and the end */
    uint32_t batch;         /* most messages in one send */
    void *tls_context;      /* an SSL_CTX of OpenSSL, under --tls */
    uint64_t *send_times;   /* count rings of ring_size */
    uint32_t ring_size;
    double interval;        /* rate: ns between two messages of this worker */
    uint64_t schedule_start, scheduled; /* rate: ns; messages that are due */
    uint64_t looked_at;     /* fan-out: ns of the last look at the sockets */
    unsigned char *receive_buffer;
    client *publisher;      /* fanout: of the first worker, else NULL */
    struct rooms *rooms;    /* rooms */
    unsigned char *payload; /* fanout, rooms: a publication, up to its number */
    uint64_t burst_started, first_published, retry; /* fanout: ns */
    uint32_t heard;         /* fanout, rooms: deliveries not yet added to the shared ones */
    char last_word[80];     /* fanout, rooms: what came before everybody was subscribed */
} worker;

static inline int index_of(const worker *w, const client *c) {
    return (int)(c - w->clients);
}

static inline int client_is_dialling(const client *c) {
    return c->state >= DIALLING && c->state <= UPGRADING;
}

extern const char *const mode_names[MODES];

uint64_t now_ns(void);
uint64_t mix(uint64_t x);
size_t put_head(unsigned char *at, unsigned first, size_t size, unsigned mask_bit);
int direct(const options *o); /* the exit code */
void run_worker(const options *o, shared_state *shared, int number) __attribute__((noreturn));
void client_failed(worker *w, client *c, enum failure what, const char *detail);
void client_dial(worker *w, client *c);
void client_ready(worker *w, client *c, uint32_t events);
void client_send_messages(worker *w, client *c, uint32_t count, uint64_t now);
void client_send_bytes(worker *w, client *c, const void *bytes, size_t length);
void client_send_frame(worker *w, client *c, unsigned opcode, const void *payload, size_t length);
void client_receive(worker *w, client *c, const unsigned char *bytes, size_t length);
void client_hold(client *c, const unsigned char *bytes, size_t length);
void client_leave(worker *w, client *c);
void client_close(worker *w, client *c);
void client_replied(worker *w, client *c, uint32_t replies);
void messages_prepare(worker *w);
unsigned char *deflate_payload(const unsigned char *payload, size_t size, size_t *length);
int inflates_to(const unsigned char *compressed, size_t length, const unsigned char *payload, size_t size);
void transport_prepare(worker *w);
int transport_dial(const worker *w, client *c); /* -1: errno says why */
enum shaking transport_shake(const worker *w, client *c);
ssize_t transport_send(const client *c, const void *bytes, size_t length); /* like send(2) and recv(2) */
ssize_t transport_receive(const client *c, void *bytes, size_t length);
int transport_has_more(const client *c); /* bytes came that transport_receive has not returned yet */
void transport_close(client *c);
void publications_prepare(worker *w);
unsigned char *put_publication(const worker *w, unsigned char *at, const char *text, uint64_t number);
void publications_heard(worker *w, client *c, const unsigned char *bytes, size_t length);
void acknowledge_at_once(const client *c);
void spoil(worker *w, const char *what);
void fanout_prepare(worker *w);
void fanout_judge(worker *w, client *c, uint64_t number);
void fanout_turn(worker *w);
void fanout_end(worker *w, uint64_t grace_ns, void (*turn)(worker *));
void rooms_prepare(worker *w);
void rooms_judge(worker *w, client *c, uint64_t shown);
void rooms_turn(worker *w);
void rooms_end(worker *w);
int rooms_are_busy(const worker *w);
int rooms_will_stall(const worker *w, const client *c);
uint64_t rooms_wait(const worker *w);
int room_number(const worker *w, const client *c); /* 0 where there are no rooms */
const char *words_read(options *o, const char *path);
size_t words_fill(const worker *w, const client *c, const char *text, char *to, size_t size);

#endif
