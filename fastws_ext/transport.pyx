"""The transport of one accepted socket.

Below, what the wire calls: plain system calls, and the reactor's epoll. Above, the face of `asyncio.Transport`.
"""
import os
import socket

from cpython.ref cimport Py_DECREF
from libc.errno cimport EAGAIN, EINTR, ENOBUFS, ENOMEM, errno
from .outbox cimport DISCONNECT
from .sender cimport OPEN
from .wire cimport Wire

cdef extern from "<sys/epoll.h>" nogil:
    uint32_t EPOLLIN, EPOLLOUT, EPOLLRDHUP

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    ssize_t c_send "send"(int fd, const void* buffer, size_t size, int flags)
    int c_shutdown "shutdown"(int fd, int how)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t size)
    cdef struct linger_t "linger":
        int l_onoff
        int l_linger
    int MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, SOL_SOCKET, SO_LINGER, AF_INET, AF_INET6


cdef class Poller:
    cdef int arm(self, SlimTransport transport, uint32_t wanted) except -1:
        raise NotImplementedError

    cdef int release(self, SlimTransport transport) except -1:
        raise NotImplementedError


cdef class SlimTransport(Link):
    """The transport of one accepted socket, as much of `asyncio.Transport` as a protocol on it can need."""

    def __dealloc__(self):
        if self.wire != NULL:
            Py_DECREF(<object>self.wire)

    cdef Py_ssize_t send_some(self, const char* p, Py_ssize_t n) except -2:
        cdef Py_ssize_t sent
        if self.reactor == NULL:
            return -1
        while True:
            (<Poller>self.reactor).sends += 1
            sent = c_send(self.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent >= 0:
                return sent
            if errno == EAGAIN or errno == ENOBUFS or errno == ENOMEM:
                return 0
            if errno != EINTR:
                return -1

    cdef int want_write(self, bint on) except -1:
        if self.reactor != NULL:
            (<Poller>self.reactor).arm(self, self.armed | EPOLLOUT if on else self.armed & ~EPOLLOUT)
        return 0

    cdef int want_read(self, bint on) except -1:
        # RDHUP goes with IN: level-triggered, it would wake us for ever while paused.
        cdef uint32_t reading = EPOLLIN | EPOLLRDHUP
        if self.reactor != NULL:
            (<Poller>self.reactor).arm(self, self.armed | reading if on else self.armed & ~reading)
        return 0

    cdef int shut_write(self) except -1:
        if self.reactor != NULL:
            c_shutdown(self.fd, SHUT_WR)
        return 0

    cdef int close_socket(self) except -1:
        if self.reactor != NULL:
            (<Poller>self.reactor).release(self)
        return 0

    cdef int reset_socket(self) except -1:
        cdef linger_t now
        if self.reactor != NULL:
            now.l_onoff = 1
            now.l_linger = 0
            setsockopt(self.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now))
        return 0

    cdef object address(self):
        if self.family == AF_INET:
            return socket.inet_ntop(socket.AF_INET, self.peer[:4]), self.port
        if self.family == AF_INET6:
            return socket.inet_ntop(socket.AF_INET6, self.peer[:16]), self.port
        return None

    # The face of asyncio.Transport. Bytes go through the connection's outbox, so the order of everything sent holds.

    def write(self, data):
        """Send raw bytes, which have to be whole frames; nothing once the transport is closing."""
        if not self.is_closing():
            (<Wire>self.wire).queue(bytes(data), None, None, DISCONNECT)

    def close(self):
        """End the connection with a close frame, code 1001, if it is a WebSocket; with RST if it is none yet."""
        if self.is_closing():
            return
        if (<Wire>self.wire).state == OPEN:
            (<Wire>self.wire).close(1001, "going_away")
        else:
            self.abort()

    def abort(self):
        """End the connection with RST."""
        if self.reactor != NULL:
            (<Wire>self.wire).abort()

    def is_closing(self):
        """Whether no more messages are sent or heard."""
        return self.reactor == NULL or (<Wire>self.wire).state > OPEN

    def pause_reading(self):
        """See `Wire.pause_reading`."""
        if self.reactor != NULL:
            (<Wire>self.wire).pause_reading()

    def resume_reading(self):
        """See `Wire.resume_reading`."""
        if self.reactor != NULL:
            (<Wire>self.wire).resume_reading()

    def is_reading(self):
        """Whether the socket is watched for bytes."""
        return self.reactor != NULL and bool(self.armed & EPOLLIN)

    def get_write_buffer_size(self):
        """Bytes that wait for the socket."""
        return (<Wire>self.wire).buffered if self.reactor != NULL else 0

    def get_protocol(self):
        """The connection."""
        return <object>self.wire if self.wire != NULL else None

    def get_extra_info(self, name, default=None):
        """`peername`, `sockname` and `fileno`; `default` for everything else, and when the socket is closed."""
        if self.reactor == NULL:
            return default
        if name == "peername":
            return self.address()
        if name == "fileno":
            return self.fd
        if name == "sockname":
            duplicate = socket.socket(fileno=os.dup(self.fd))
            try:
                return duplicate.getsockname()
            finally:
                duplicate.close()
        return default
