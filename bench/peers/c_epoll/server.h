/*
 * The limit of the machine: a WebSocket server that does nothing but what every server must do.
 *
 * server.c   one thread, one level-triggered epoll: accepts, upgrades, one recv for each ready socket
 * frames.c   what is done with the frames of a read: echo, fan-out to all subscribers, or to a room
 *
 * There are no limits, no UTF-8 check, no timers and no fragments; an incomplete frame at the end of a read waits in a
 * copy of its own.
 */
#ifndef C_EPOLL_SERVER_H
#define C_EPOLL_SERVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BUFFER_SIZE (1 << 18)
#define LARGEST_MESSAGE (16u << 20)
#define MOST_ROOMS 65536
#define MOST_BEHIND (1u << 20) /* bytes that wait for a subscriber; with more it is dropped */

enum role {
    UPGRADING,
    ECHOES, /* on any path but the others: gets its own messages back */
    HEARS,  /* on /fanout: gets what the publishers say */
    SPEAKS, /* on /publish */
    MEMBER  /* on /rooms/NUMBER: gets what the members of the room say */
};

typedef struct {
    char *tail; /* the beginning of a frame whose end has not come yet, or of a request head */
    char *unsent;
    uint32_t tail_length;
    uint32_t unsent_length;
    uint32_t audience, place; /* HEARS, MEMBER: its index among those who hear the same */
    uint8_t role;
} connection;

extern connection *connections; /* by descriptor */

/* Frees what the connection has and closes it. */
void drop(int fd);

/* Sends, and keeps what the socket does not take until it can be written to. -1: the socket is broken. */
int send_all(int fd, const unsigned char *bytes, size_t length);

/* Audience 0 are the subscribers, 1 + NUMBER the members of a room. */
void audience_join(int fd, uint32_t number);
void audience_leave(int fd);

/*
 * Does what the connection's role says with the complete frames in bytes, which are overwritten, and returns how many
 * bytes they were. *closing is set once a close frame was answered. -1: the connection has to be dropped.
 */
ssize_t frames_received(int fd, unsigned char *bytes, size_t length, int *closing);

#endif
