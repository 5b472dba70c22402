"""A connection from accept to the end of its socket: HTTP stage, heartbeat, close handshake."""
from libc.stdint cimport uint8_t, uint32_t
from .endpoint cimport Endpoint
from .link cimport Link
from .sender cimport Sender

cdef class Lifecycle(Sender):
    cdef int arrived(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef int attach(self, Link link) except -1
    cdef int open(self, Endpoint endpoint, bytes answer, int window_bits) except -1
    cdef int update_reading(self) except -1
    cdef int unpause(self) except -1
    cdef int fail(self, int code, str reason) except -1
    cdef int end_with(self, int code, str reason) except -1
    cdef int peer_eof(self) except -1
    cdef int notify(self) except -1
    cdef int say_farewell(self) except -1
    cdef int beat(self, uint32_t now) except -1
    cdef int reschedule(self) except -1
    cdef uint32_t until(self, uint32_t tick, uint32_t now) noexcept
