"""Delivery of one frame to many wires."""
from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from .endpoint cimport Gathering
from .loop_data cimport LoopData, Scheduled
from .wire cimport Wire

cdef enum:
    CODECS = 4
    WIRES_PER_CHECK = 256
    MAX_WAITING = 256           # publications behind the one being delivered

cdef struct Place:              # one subscription: 16 bytes here, 16 in the wire
    PyObject* wire              # borrowed; a closing wire vacates its place
    uint64_t joined             # publications up to this one are not for it

cdef class Delivery(Scheduled):
    cdef Audience audience

cdef class Audience(Gathering):
    cdef readonly LoopData loop_data
    cdef public int policy
    cdef Place* places
    cdef uint32_t used, room
    cdef uint32_t cursor        # places below it still get the publication being delivered
    cdef uint64_t published     # publications so far; 32 bits would be used up by a busy topic within weeks
    cdef uint32_t codec_counts[CODECS]
    cdef object queue           # publications that wait behind the one being delivered; None while there are none
    cdef Delivery delivery      # the work list's hold, while publications wait
    cdef bint serving           # inside serve: callbacks may publish again
    cdef bint begun             # the publication at the head of the queue is in progress
    cdef readonly uint64_t sent, queued, dropped
    cdef bint serve(self, tuple frames, PyObject* exclude, bytes key, uint64_t number) except -1
    cdef int wait(self, tuple publication, bint first) except -1
    cdef void move(self, uint32_t source, uint32_t target) noexcept
    cdef int hand_over(self, Wire wire, bytes frame, bytes key) except -1
    cdef bint serve_first(self) except -1
    cdef bint go_on(self) except -1
