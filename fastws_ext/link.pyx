"""How a wire reaches its socket: the reactor's transport, or a transport of the event loop."""
import socket
import struct

from cpython.bytes cimport PyBytes_FromStringAndSize

cdef object RESET = struct.pack("ii", 1, 0)     # struct linger: on, for no time at all


cdef class Link:
    cdef Py_ssize_t send_some(self, const char* p, Py_ssize_t n) except -2:
        raise NotImplementedError

    cdef int want_write(self, bint on) except -1:
        raise NotImplementedError

    cdef int want_read(self, bint on) except -1:
        raise NotImplementedError

    cdef int hold(self, bint on) except -1:
        return 0

    cdef bint flushing(self) except -1:
        return False

    cdef int shut_write(self) except -1:
        raise NotImplementedError

    cdef int close_socket(self) except -1:
        raise NotImplementedError

    cdef int reset_socket(self) except -1:
        raise NotImplementedError

    cdef object address(self):
        raise NotImplementedError

    cdef object facade(self):
        return self


cdef class LoopLink(Link):
    """A transport of the event loop (TLS, Unix sockets, or a loop other than uvloop).

    `full` follows the transport's pause_writing and resume_writing, so that what waits stays in the wire's own outbox,
    where the slow-consumer policies can see it.
    """
    def __cinit__(self, transport):
        self.transport = transport
        self.half_closes = transport.can_write_eof()
        self.wanted = True
        transport.set_write_buffer_limits(high=65536)
        try:
            peer = transport.get_extra_info("peername")
        except (OSError, ValueError):
            peer = None     # gone already; uvloop asks the kernel each time, and a closed socket raises
        # Asked once, so that whoever counts by address counts up and down under the same one.
        self.peer = (peer[0], peer[1]) if isinstance(peer, tuple) else None

    cdef Py_ssize_t send_some(self, const char* p, Py_ssize_t n) except -2:
        if self.transport.is_closing():
            return -1
        if self.full:
            return 0
        self.transport.write(PyBytes_FromStringAndSize(p, n))
        return n

    cdef int want_write(self, bint on) except -1:
        return 0

    cdef int want_read(self, bint on) except -1:
        self.wanted = on
        return self.apply()

    cdef int hold(self, bint on) except -1:
        # A transport reads on unasked: without this a peer that sends faster than we parse fills our memory.
        if on == self.held:
            return 0
        self.held = on
        return self.apply()

    cdef int apply(self) except -1:
        if not self.transport.is_closing():
            if self.wanted and not self.held:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()
        return 0

    cdef bint flushing(self) except -1:
        return not self.transport.is_closing() and self.transport.get_write_buffer_size() > 0

    cdef int shut_write(self) except -1:
        if self.half_closes:
            if not self.transport.is_closing():
                try:
                    self.transport.write_eof()
                except OSError:
                    self.transport.abort()      # asyncio's lets out that the peer has reset meanwhile
        else:
            self.transport.close()
        return 0

    cdef int close_socket(self) except -1:
        self.transport.close()
        return 0

    cdef int reset_socket(self) except -1:
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()
        return 0

    cdef object address(self):
        return self.peer

    cdef object facade(self):
        return self.transport
