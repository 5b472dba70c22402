"""The queue of a connection: frames that wait for the end of the pass or for the socket."""
from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t

cdef enum SlowPolicy:
    DISCONNECT = 0
    DROP_OLDEST = 1
    CONFLATE = 2

cdef enum:
    ITEM_COST = 64              # bytes of memory that a waiting frame takes beside its own: queue entry, object header

cdef struct Item:
    PyObject* frame     # bytes; owned
    PyObject* topic     # owned; NULL: not a publication, never dropped
    PyObject* key       # owned bytes; NULL: the topic itself is the key

cdef class Outbox:
    cdef Item* items            # a ring
    cdef uint32_t head, count, capacity
    cdef Py_ssize_t sent        # bytes of the first frame that are gone
    cdef Py_ssize_t size        # bytes still to send
    cdef Py_ssize_t cost(self, Py_ssize_t n) noexcept
    cdef int push(self, bytes frame, object topic, bytes key) except -1
    cdef void advance(self, Py_ssize_t n) noexcept
    cdef Py_ssize_t gather(self, char* out, Py_ssize_t room) noexcept
    cdef Py_ssize_t make_room(self, Py_ssize_t excess, object topic, int policy, bytes key) except -1
    cdef Py_ssize_t discard_unsent(self) except -1
    cdef Py_ssize_t frames(self) noexcept
    cdef int replace_last_pong(self, bytes frame) except -1
