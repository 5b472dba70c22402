"""How a wire reaches its socket: the reactor's transport, or a transport of the event loop."""
from cpython.bytes cimport PyBytes_FromStringAndSize


cdef class Link:
    cdef Py_ssize_t write(self, const char* p, Py_ssize_t n) except -2:
        raise NotImplementedError

    cdef int want_write(self, bint on) except -1:
        raise NotImplementedError

    cdef int want_read(self, bint on) except -1:
        raise NotImplementedError

    cdef int shut_write(self) except -1:
        raise NotImplementedError

    cdef int close(self) except -1:
        raise NotImplementedError

    cdef int reset(self) except -1:
        raise NotImplementedError

    cdef object address(self):
        raise NotImplementedError


cdef class LoopLink(Link):
    """A transport of the event loop (TLS, Unix sockets, or a loop other than uvloop).

    `full` follows the transport's pause_writing and resume_writing, so that what waits stays in the wire's own outbox,
    where the slow-consumer policies can see it.
    """
    def __cinit__(self, transport):
        self.transport = transport
        self.half_closes = transport.can_write_eof()
        transport.set_write_buffer_limits(high=65536)

    cdef Py_ssize_t write(self, const char* p, Py_ssize_t n) except -2:
        if self.transport.is_closing():
            return -1
        if self.full:
            return 0
        self.transport.write(PyBytes_FromStringAndSize(p, n))
        return n

    cdef int want_write(self, bint on) except -1:
        return 0

    cdef int want_read(self, bint on) except -1:
        if not self.transport.is_closing():
            if on:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()
        return 0

    cdef int shut_write(self) except -1:
        if self.half_closes:
            if not self.transport.is_closing():
                self.transport.write_eof()
        else:
            self.transport.close()
        return 0

    cdef int close(self) except -1:
        self.transport.close()
        return 0

    cdef int reset(self) except -1:
        self.transport.abort()
        return 0

    cdef object address(self):
        peer = self.transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            return (peer[0], peer[1])
        return None
