"""The asyncio Protocol of one connection: the receiving half."""
from libc.stdint cimport uint8_t
from .frames cimport Header
from .lifecycle cimport Lifecycle

cdef enum:
    TURNS_PER_PASS = 40         # one connection has at most this part of a pass, handlers included: 50 us
    QUICK_NS = 5000             # a frame that takes longer is followed by a look at the clock
    LOOK_EVERY = 16             # quick frames
    LEAVING_PER_PASS = 32       # close frames that are answered as they come
    LEAVING_LATER = 2048        # that wait for a turn: each takes some 230 bytes meanwhile

cdef class Wire(Lifecycle):
    cdef int receive(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef bint yields(self, uint8_t first) noexcept
    cdef int take(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef Py_ssize_t consume(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef Py_ssize_t one_frame(self, const uint8_t* p, Py_ssize_t n, int* budget) except -1
    cdef Py_ssize_t ask_law(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef Py_ssize_t usual_close(self, const uint8_t* p, Py_ssize_t n, Header* header) except -1
    cdef Py_ssize_t fragment(self, const uint8_t* p, Py_ssize_t n, Header* header) except -1
    cdef Py_ssize_t compressed(self, const uint8_t* p, Py_ssize_t n, Header* header) except -1
    cdef int await_rest(self) except -1
    cdef object need_law(self)
    cdef Py_ssize_t continue_frame(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef Py_ssize_t skip_to_close(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef int act(self, int opcode, object payload) except -1
    cdef int deliver(self, object message, Py_ssize_t size) except -1
    cdef int on_ping(self, const char* p, Py_ssize_t n) except -1
    cdef int on_pong(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef int broken(self, error) except -1
    cdef int discard(self, Py_ssize_t n) except -1
