"""Raw sockets under uvloop: epoll, accept, read, write."""
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from .endpoint cimport Ingress
from .loop_data cimport LoopData
from .transport cimport Poller, SlimTransport

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef enum:
    EVENTS = 512                # of one epoll_wait
    ACCEPTS_PER_PASS = 64
    LISTENER_SLOTS = 16         # slots below this are listeners'

cdef class Reactor(Poller):
    cdef readonly LoopData loop_data
    cdef readonly Ingress ingress
    cdef object connection_class, listeners, __weakref__
    cdef int epoll, spare, pid
    cdef PyObject** table       # slot -> SlimTransport (owned), or NULL
    cdef uint32_t* generations  # of the slot; an event of an earlier owner does not match
    cdef uint32_t* free_slots
    cdef uint32_t table_size, free_count
    cdef epoll_event* events
    cdef int event_next, event_count    # what is left of the last batch
    cdef uint32_t knocking      # a bit per listener that has somebody waiting
    cdef bint accepting, muted, closed
    cdef object rearm_handle
    cdef readonly uint64_t accepted, refused_descriptors, waits, receives
    cdef int pass_once(self) except -1
    cdef int serve(self, epoll_event* event) except -1
    cdef int read(self, SlimTransport transport) except -1
    cdef int accept_some(self, int listener) except -1
    cdef int adopt(self, int fd, void* address) except -1
    cdef int out_of_descriptors(self, int listener) except -1
    cdef int turn_away(self, int fd) except -1
    cdef int rearm_later(self) except -1
    cdef int watch_listeners(self, bint on) except -1
    cdef int grow(self) except -1
