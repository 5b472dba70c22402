/* System calls that fail as they may, when a test wants them to.
 *
 * Preloaded (LD_PRELOAD) into a process, this stands between one part of it and libc. The test holds the other end of
 * `struct control`, a file mapped by both, and may change it at any moment; shim.py describes the fields.
 *
 * Only calls whose caller lies in an object file with `caller` in its name are counted and hit, so that the test's own
 * sockets in the same process stay sound. What a fault does is what the kernel would have done: a connection that is
 * reported as reset takes and gives nothing from then on and is noted in `broken` (its peer then knows why it is gone),
 * one that is aborted before it is accepted is really reset, `close` really closes, and epoll events are only fewer or
 * in another order.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ACCEPT, CLOSE, ADD, WAIT, RECEIVE, SEND, SHUTDOWN, CALLS };
enum { KINDS = 16, CALLERS = 4096 };
enum { ONE = -1, HALF = -2, FEW = -3, SHUFFLED = -4 };    /* faults that are no errno */

struct call {
    uint64_t count;
    uint32_t rate;              /* of 65,536 calls */
    uint32_t kinds;             /* how many of the following are in use */
    int32_t faults[KINDS];
    uint64_t hits[KINDS];
};

struct control {
    char caller[64];
    int64_t pid;                /* of the process that is hit; 0 none */
    uint64_t random;
    int32_t single_call;        /* the call that is hit once, when `single_countdown` gets to 0; -1 none */
    int32_t single_countdown;
    int32_t single_fault;
    int32_t single_done;
    struct call calls[CALLS];
    uint8_t broken[65536 / 8];  /* by port of the peer */
};

static struct control *control;
static pid_t here;
static struct { void *address; int known, wanted; } callers[CALLERS];

static void in_child(void) { here = -1; }

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("TORTURE_SHIM");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped;

    if (fd < 0)
        return;
    mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        return;
    here = getpid();
    pthread_atfork(NULL, NULL, in_child);
    control = mapped;
}

static int wanted(void *address)
{
    size_t slot = ((uintptr_t)address >> 2) % CALLERS;
    Dl_info info;

    if (control == NULL || control->pid != here)
        return 0;
    if (callers[slot].address != address || !callers[slot].known) {
        callers[slot].wanted = control->caller[0] && dladdr(address, &info) && info.dli_fname != NULL
                               && strstr(info.dli_fname, control->caller) != NULL;
        callers[slot].address = address;
        callers[slot].known = 1;
    }
    return callers[slot].wanted;
}

static uint32_t draw(uint32_t below)
{
    uint64_t x = control->random ? control->random : 1;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    control->random = x;
    return (uint32_t)((x * 2685821657736338717ULL) >> 33) % below;
}

/* What happens to this call: 0 nothing, an errno, or one of the faults that are none. */
static int fate(int which, void *address)
{
    struct call *call;
    uint32_t kind;

    if (!wanted(address))
        return 0;
    call = &control->calls[which];
    call->count++;
    if (control->single_call == which && !control->single_done && --control->single_countdown <= 0) {
        control->single_done = 1;
        return control->single_fault;
    }
    if (!call->kinds || call->rate <= draw(65536))
        return 0;
    kind = draw(call->kinds);
    call->hits[kind]++;
    return call->faults[kind];
}

static void note(const struct sockaddr_storage *peer)
{
    uint16_t port;

    if (peer->ss_family != AF_INET && peer->ss_family != AF_INET6)
        return;
    port = ntohs(((const struct sockaddr_in *)peer)->sin_port);     /* at the same place for both */
    control->broken[port >> 3] |= 1 << (port & 7);
}

static int passing(int fault) { return fault == EAGAIN || fault == EINTR || fault == ENOBUFS || fault == ENOMEM; }

/* The call fails; if the connection cannot live on after it, that is noted for its peer. */
static int fails(int fd, int fault, int ends)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);

    if (ends && getpeername(fd, (struct sockaddr *)&peer, &size) == 0)
        note(&peer);
    errno = fault;
    return -1;
}

/* Reading or writing fails. After an error that is no passing one nothing more gets through, whoever tries. */
static int breaks(int fd, int fault)
{
    static int (*real)(int, int);

    if (passing(fault))
        return fails(fd, fault, 0);
    fails(fd, fault, 1);
    if (real == NULL)
        real = (int (*)(int, int))dlsym(RTLD_NEXT, "shutdown");
    real(fd, SHUT_RDWR);
    errno = fault;
    return -1;
}

static int connected(int fd)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    int before = errno, yes = getpeername(fd, (struct sockaddr *)&peer, &size) == 0;

    errno = before;
    return yes;
}

static size_t shorter(size_t size, int fault) { return size < 2 ? size : fault == ONE ? 1 : fault == HALF ? size / 2 : size; }

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (real == NULL) \
        real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)
#define CALLER __builtin_return_address(0)

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    REAL(ssize_t, recv, int, void *, size_t, int);
    int fault = fate(RECEIVE, CALLER);

    return fault > 0 ? breaks(fd, fault) : real(fd, buffer, shorter(size, fault), flags);
}

ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
    REAL(ssize_t, send, int, const void *, size_t, int);
    int fault = fate(SEND, CALLER);

    return fault > 0 ? breaks(fd, fault) : real(fd, buffer, shorter(size, fault), flags);
}

/* What an event loop uses for the sockets of its transports; its pipes and counters are left alone. */

ssize_t read(int fd, void *buffer, size_t size)
{
    REAL(ssize_t, read, int, void *, size_t);
    int fault = wanted(CALLER) && connected(fd) ? fate(RECEIVE, CALLER) : 0;

    return fault > 0 ? breaks(fd, fault) : real(fd, buffer, shorter(size, fault));
}

ssize_t write(int fd, const void *buffer, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    int fault = wanted(CALLER) && connected(fd) ? fate(SEND, CALLER) : 0;

    return fault > 0 ? breaks(fd, fault) : real(fd, buffer, shorter(size, fault));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, writev, int, const struct iovec *, int);
    int fault = wanted(CALLER) && connected(fd) ? fate(SEND, CALLER) : 0;
    struct iovec first;

    if (fault >= 0 || count < 1)
        return fault > 0 ? breaks(fd, fault) : real(fd, parts, count);
    first.iov_base = parts[0].iov_base;
    first.iov_len = shorter(parts[0].iov_len, fault);
    return real(fd, &first, 1);
}

static int accept_and_reset(int listener, int fault)
{
    REAL(int, accept4, int, struct sockaddr *, socklen_t *, int);
    struct linger now = {1, 0};
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    int fd = real(listener, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC);

    if (fd < 0)
        return -1;
    note(&peer);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
    errno = fault;
    return -1;
}

int accept4(int listener, struct sockaddr *address, socklen_t *size, int flags)
{
    REAL(int, accept4, int, struct sockaddr *, socklen_t *, int);
    int fault = fate(ACCEPT, CALLER);

    if (fault == ECONNABORTED || fault == EPROTO)
        return accept_and_reset(listener, fault);
    return fault > 0 ? fails(listener, fault, 0) : real(listener, address, size, flags);
}

/* Only adding may fail for a descriptor that is right: ENOMEM, or ENOSPC for one too many watches of the user. */
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    REAL(int, epoll_ctl, int, int, int, struct epoll_event *);
    int fault = operation == EPOLL_CTL_ADD ? fate(ADD, CALLER) : 0;

    return fault > 0 ? fails(fd, fault, 1) : real(epoll, operation, fd, event);
}

static int fewer_or_mixed(struct epoll_event *events, int count, int fault)
{
    struct epoll_event other;
    int i, at;

    for (i = count - 1; fault == SHUFFLED && i > 0; i--) {
        at = draw(i + 1);
        other = events[i];
        events[i] = events[at];
        events[at] = other;
    }
    return count;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    REAL(int, epoll_wait, int, struct epoll_event *, int, int);
    int fault = fate(WAIT, CALLER);

    if (fault > 0)
        return fails(-1, fault, 0);
    return fewer_or_mixed(events, real(epoll, events, fault == FEW ? 1 : most, timeout), fault);
}

int epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout, const sigset_t *mask)
{
    REAL(int, epoll_pwait, int, struct epoll_event *, int, int, const sigset_t *);
    int fault = fate(WAIT, CALLER);

    if (fault > 0)
        return fails(-1, fault, 0);
    return fewer_or_mixed(events, real(epoll, events, fault == FEW ? 1 : most, timeout, mask), fault);
}

int shutdown(int fd, int how)
{
    REAL(int, shutdown, int, int);
    int fault = fate(SHUTDOWN, CALLER);

    return fault > 0 ? fails(fd, fault, 1) : real(fd, how);
}

/* Whatever it says, the descriptor is gone (close(2)). */
int close(int fd)
{
    REAL(int, close, int);
    int fault = fate(CLOSE, CALLER), done = real(fd);

    return fault > 0 ? fails(-1, fault, 0) : done;
}
