/* The C half of uWebSockets in one unit: sockets, and the event loop on epoll, without TLS. */
#include "bsd.c"
#include "context.c"
#include "loop.c"
#include "socket.c"
#include "udp.c"
#include "eventing/epoll_kqueue.c"
