"""Raw sockets under uvloop: epoll, accept, read, write.

The reactor owns one level-triggered epoll descriptor, which the event loop watches (epoll descriptors nest). A
connection is a slot in a table; events carry the slot and its generation, so that an event of a descriptor that was
closed and given to somebody else within one batch is recognised.
"""
import os
import socket
import weakref

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EBADF, EEXIST, EFAULT, EINTR, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK, errno
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, strlen
from .loop_data cimport IN_RUN, RECEIVE_SIZE, monotonic_ns
from .sender cimport CLOSED, F_BLOCKED
from .transport cimport Poller, SlimTransport
from .wire cimport Wire

cdef extern from "<sys/epoll.h>" nogil:
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int count, int timeout)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
    uint32_t EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR

cdef extern from "<sys/socket.h>" nogil:
    cdef struct sockaddr_storage:
        uint16_t ss_family
    ctypedef unsigned int socklen_t
    ssize_t c_recv "recv"(int fd, void* buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void* buffer, size_t size, int flags)
    cdef struct sockaddr:
        pass
    int accept4(int fd, sockaddr* address, socklen_t* size, int flags)
    int c_shutdown "shutdown"(int fd, int how)
    int SOCK_NONBLOCK, SOCK_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, AF_INET, AF_INET6

cdef extern from "<netinet/in.h>" nogil:
    cdef struct sockaddr_in:
        uint16_t sin_port
        uint8_t sin_addr[4]
    cdef struct sockaddr_in6:
        uint16_t sin6_port
        uint8_t sin6_addr[16]
    uint16_t ntohs(uint16_t value)

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

cdef const char* OVERLOADED = (b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
                               b"Content-Length: 0\r\n\r\n")

reactors = weakref.WeakSet()


def disable_in_child():
    """A forked child must not share our epoll descriptor: events would go to the wrong process for ever."""
    for reactor in list(reactors):
        (<Reactor>reactor).disable()


os.register_at_fork(after_in_child=disable_in_child)


cdef class Reactor(Poller):
    def __cinit__(self, LoopData loop_data not None, connection_class, Ingress ingress not None):
        self.epoll = -1
        self.spare = -1
        self.loop_data = loop_data
        self.connection_class = connection_class
        self.ingress = ingress
        self.listeners = [None] * LISTENER_SLOTS
        self.events = <epoll_event*>malloc(EVENTS * sizeof(epoll_event))
        if self.events == NULL:
            raise MemoryError
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))
        self.spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        reactors.add(self)
        self.pid = os.getpid()
        loop_data.loop.add_reader(self.epoll, self.poll)

    def __dealloc__(self):
        cdef uint32_t slot
        for slot in range(self.table_size):
            if self.table[slot] != NULL:
                (<SlimTransport>self.table[slot]).reactor = NULL
                c_close((<SlimTransport>self.table[slot]).fd)
                Py_DECREF(<object>self.table[slot])
        if self.epoll >= 0:
            c_close(self.epoll)
        if self.spare >= 0:
            c_close(self.spare)
        free(self.table)
        free(self.generations)
        free(self.free_slots)
        free(self.events)

    def listen(self, sock):
        """Serve a bound, listening TCP socket; its options are inherited by the connections."""
        cdef int failure
        slot = self.listeners.index(None)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.listeners[slot] = sock
        self.accepting = True
        failure = self.watch_listeners(True)
        if failure:
            self.listeners[slot] = None
            raise OSError(failure, os.strerror(failure))

    def stop_accepting(self):
        """Take the listeners out; they are left open."""
        self.accepting = False
        self.watch_listeners(False)

    def connections(self):
        """A list of the live connections."""
        return [<object>(<SlimTransport>self.table[slot]).wire for slot in range(self.table_size)
                if self.table[slot] != NULL]

    def close(self):
        """Reset what is left and give everything back. The reactor is of no use after this."""
        if self.closed:
            return
        for wire in self.connections():
            wire.abort()
        # Inside a handler the pass that called it does this when it ends.
        while not self.loop_data.in_pass and self.loop_data.finish.head < self.loop_data.finish.end:
            self.loop_data._turn()
        self.stop_accepting()
        self.disable()

    def disable(self):
        """Let go of the descriptors without touching any connection."""
        self.closed = True
        self.loop_data.sockets_wait = False
        if self.rearm_handle is not None:
            self.rearm_handle.cancel()
        if self.epoll >= 0:
            if not self.loop_data.loop.is_closed() and os.getpid() == self.pid:
                self.loop_data.loop.remove_reader(self.epoll)
            c_close(self.epoll)
            self.epoll = -1
        if self.spare >= 0:
            c_close(self.spare)
            self.spare = -1

    def poll(self):
        """One pass; called by the event loop when the epoll descriptor is readable."""
        try:
            if not self.closed:
                self.loop_data.begin_pass()
                self.pass_once()
                # Whoever used up its turn goes on while there is time: what it publishes then leaves in one piece.
                self.loop_data.serve_run_in_pass()
        except BaseException as error:
            self.loop_data.report(error, self)
        finally:
            self.loop_data.end_pass()

    cdef int pass_once(self) except -1:
        """Serve sockets until the pass is over; events that are left are served first in the next one.

        They are kept, for asking epoll again would name the same sockets first and starve those at the end. All of
        them are level-triggered: whoever was served or closed meanwhile is seen by `serve`.
        """
        cdef epoll_event* event
        cdef uint32_t slot
        cdef uint64_t received = self.receives
        self.loop_data.sockets_wait = False
        while True:
            if self.event_next == self.event_count:
                self.waits += 1
                self.event_next = 0
                self.event_count = max(epoll_wait(self.epoll, self.events, EVENTS, 0), 0)
                self.loop_data.looked_ns = monotonic_ns()
            while self.event_next < self.event_count:
                event = &self.events[self.event_next]
                self.event_next += 1
                slot = <uint32_t>event.data.u64         # the lower half
                if slot < LISTENER_SLOTS:
                    self.knocking |= 1 << slot
                    continue
                self.serve(event)
                if self.loop_data.looked_ns > self.loop_data.pass_deadline_ns and self.event_next < self.event_count:
                    self.loop_data.sockets_wait = True
                    return 0
            # Another look is cheaper than another turn of the loop while many sockets are busy. Those that wait for
            # their turn with bytes unparsed stay readable, and are no reason to look again.
            if self.receives - received < 16 or self.loop_data.out_of_time():
                break
            received = self.receives
        # Those who are here are served before those who come.
        for slot in range(LISTENER_SLOTS):
            if self.knocking >> slot & 1:
                self.accept_some(slot)
        self.knocking = 0
        return 0

    cdef int serve(self, epoll_event* event) except -1:
        cdef uint32_t slot = <uint32_t>event.data.u64
        cdef SlimTransport transport
        cdef Wire wire
        if slot >= self.table_size or self.table[slot] == NULL:
            return 0
        if self.generations[slot] != <uint32_t>(event.data.u64 >> 32):
            return 0
        transport = <SlimTransport>self.table[slot]
        wire = <Wire>transport.wire
        if wire.state == CLOSED:
            return 0            # to be taken apart
        try:
            if event.events & EPOLLOUT and wire.flags & F_BLOCKED:
                wire.flush()
                self.loop_data.looked_ns = monotonic_ns()
            if event.events & EPOLLIN and transport.armed & EPOLLIN:
                self.read(transport)
            elif event.events & (EPOLLHUP | EPOLLERR):
                wire.lost()     # cannot be masked, so a paused reader must not wait for its turn
            elif event.events & EPOLLRDHUP and transport.armed & EPOLLRDHUP:
                wire.peer_eof()
        except BaseException as error:
            wire.broken(error)
        return 0

    cdef int read(self, SlimTransport transport) except -1:
        cdef LoopData loop = self.loop_data
        cdef Wire wire = <Wire>transport.wire
        cdef Py_ssize_t n
        if wire.queued & IN_RUN:
            return 0            # what it sent before is not parsed yet
        while wire.state != CLOSED:
            self.receives += 1
            n = c_recv(transport.fd, loop.receive_buffer, RECEIVE_SIZE, MSG_DONTWAIT)
            if n > 0:
                return wire.receive(loop.receive_buffer, n)
            if n == 0:
                return wire.peer_eof()
            if errno == EINTR:
                continue
            if errno != EAGAIN:
                wire.lost()
            return 0
        return 0

    cdef int accept_some(self, int listener) except -1:
        cdef sockaddr_storage address
        cdef socklen_t size
        cdef int fd, i, listening
        if self.listeners[listener] is None or not self.accepting:
            return 0
        listening = self.listeners[listener].fileno()
        for i in range(ACCEPTS_PER_PASS):
            size = 128
            fd = accept4(listening, <sockaddr*>&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                self.adopt(fd, &address)
            elif errno == EAGAIN:
                break
            elif errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                self.out_of_descriptors(listening)
                break
            elif errno in (EBADF, EINVAL, ENOTSOCK, EFAULT):
                self.out_of_descriptors(listening)      # not to be asked again at once
                break
            # Everything else is the fate of one client on its way here: accept(2) says to go on with the next.
        return 0

    cdef int adopt(self, int fd, void* address) except -1:
        """Make a connection of an accepted descriptor; a failure costs only that one."""
        cdef SlimTransport transport
        cdef Wire wire
        cdef epoll_event event
        cdef uint32_t slot
        try:
            if not self.free_count:
                self.grow()
            wire = <Wire?>self.connection_class(self.ingress)
            transport = SlimTransport.__new__(SlimTransport)
        except BaseException as error:
            c_close(fd)
            self.loop_data.report(error, self)
            return 0
        self.free_count -= 1
        slot = self.free_slots[self.free_count]
        transport.fd = fd
        transport.slot = slot
        transport.family = (<sockaddr_storage*>address).ss_family
        if transport.family == AF_INET:
            transport.port = ntohs((<sockaddr_in*>address).sin_port)
            memcpy(transport.peer, &(<sockaddr_in*>address).sin_addr, 4)
        elif transport.family == AF_INET6:
            transport.port = ntohs((<sockaddr_in6*>address).sin6_port)
            memcpy(transport.peer, &(<sockaddr_in6*>address).sin6_addr, 16)
        transport.armed = event.events = EPOLLIN | EPOLLRDHUP
        event.data.u64 = <uint64_t>self.generations[slot] << 32 | slot
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            self.free_count += 1
            self.refused_descriptors += 1   # ENOSPC, too many watches of this user, or ENOMEM
            return self.turn_away(fd)
        transport.reactor = <PyObject*>self
        transport.wire = <PyObject*>wire
        Py_INCREF(wire)
        self.table[slot] = <PyObject*>transport
        Py_INCREF(transport)
        self.accepted += 1
        wire.attach(transport)
        return 0

    cdef int out_of_descriptors(self, int listener) except -1:
        """Answer one client with the spare descriptor, then leave the others in the backlog for a moment."""
        cdef int fd
        cdef bint nobody = False
        if self.spare >= 0:
            c_close(self.spare)
            fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
            nobody = fd < 0 and errno == EAGAIN     # the kernel looks for a descriptor before it looks for a client
            if fd >= 0:
                self.turn_away(fd)
            try:
                self.spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self.spare = -1
        if nobody:
            return 0
        self.refused_descriptors += 1
        self.watch_listeners(False)
        return self.rearm_later()

    cdef int turn_away(self, int fd) except -1:
        """Answer 503 and close: no means are left to wait until the client has read it."""
        c_send(fd, OVERLOADED, strlen(OVERLOADED), MSG_DONTWAIT | MSG_NOSIGNAL)
        c_shutdown(fd, SHUT_WR)
        c_recv(fd, self.loop_data.receive_buffer, RECEIVE_SIZE, MSG_DONTWAIT)
        c_close(fd)
        return 0

    cdef int rearm_later(self) except -1:
        self.muted = True
        if self.rearm_handle is None:
            self.rearm_handle = self.loop_data.loop.call_later(0.1, self.rearm)
        return 0

    def rearm(self):
        """Accept again after descriptors ran out; called by a timer and when a connection closes."""
        if self.rearm_handle is not None:
            self.rearm_handle.cancel()
            self.rearm_handle = None
        self.muted = False
        if self.closed:
            return
        if self.spare < 0:
            try:
                self.spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                pass            # accepting still works, only without the polite 503
        if self.accepting and self.watch_listeners(True):
            self.rearm_later()

    cdef int watch_listeners(self, bint on) except -1:
        """Have all listeners in epoll, or none: one that is only ignored would still wake us when it hangs up.

        Returns 0, or the errno of a listener that could not be put in (ENOMEM, ENOSPC).
        """
        cdef epoll_event event
        cdef int slot, fd, operation = EPOLL_CTL_ADD if on else EPOLL_CTL_DEL, failure = 0
        for slot in range(LISTENER_SLOTS):
            if self.listeners[slot] is not None and self.epoll >= 0:
                event.events = EPOLLIN
                event.data.u64 = slot
                fd = self.listeners[slot].fileno()
                if epoll_ctl(self.epoll, operation, fd, &event) < 0 and on and errno != EEXIST:
                    failure = errno
        return failure

    cdef int grow(self) except -1:
        """Double the table; slots are dense, so a big table is a busy one."""
        cdef uint32_t size = self.table_size * 2 if self.table_size else 256, slot
        cdef PyObject** table = <PyObject**>realloc(self.table, size * sizeof(PyObject*))
        if table != NULL:
            self.table = table
        cdef uint32_t* generations = <uint32_t*>realloc(self.generations, size * sizeof(uint32_t))
        if generations != NULL:
            self.generations = generations
        cdef uint32_t* free_slots = <uint32_t*>realloc(self.free_slots, size * sizeof(uint32_t))
        if free_slots != NULL:
            self.free_slots = free_slots
        if table == NULL or generations == NULL or free_slots == NULL:
            raise MemoryError
        for slot in range(size - 1, max(self.table_size, LISTENER_SLOTS) - 1, -1):
            self.free_slots[self.free_count] = slot
            self.free_count += 1
        for slot in range(self.table_size, size):
            self.table[slot] = NULL
            self.generations[slot] = 1
        self.table_size = size
        return 0

    cdef int arm(self, SlimTransport transport, uint32_t wanted) except -1:
        cdef epoll_event event
        if wanted != transport.armed:
            transport.armed = event.events = wanted
            event.data.u64 = <uint64_t>self.generations[transport.slot] << 32 | transport.slot
            epoll_ctl(self.epoll, EPOLL_CTL_MOD, transport.fd, &event)
        return 0

    cdef int release(self, SlimTransport transport) except -1:
        """Out of epoll first: a duplicate of the descriptor in another process would keep it there for ever."""
        cdef epoll_event event
        cdef uint32_t slot = transport.slot
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, transport.fd, &event)
        c_close(transport.fd)
        transport.fd = -1
        transport.reactor = NULL
        self.generations[slot] += 1
        self.table[slot] = NULL
        self.free_slots[self.free_count] = slot
        self.free_count += 1
        Py_DECREF(transport)
        if self.muted:
            self.rearm()
        return 0
