"""Delivery of one frame to many wires."""
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from .endpoint cimport Gathering
from .loop_data cimport LoopData, Scheduled
from .wire cimport Wire

cdef enum:
    CODECS = 4
    GENTLE_FROM = 256           # members from which an audience grows by a quarter, not by as much again
    WIRES_PER_CHECK = 256       # places served between two looks at the clock
    SENDS_PER_CHECK = 32        # the same where each of them is a system call
    DEFER_FROM = 64             # members from which a publication waits for the end of the pass
    MAX_WAITING = 256           # publications behind those being delivered
    MAX_JOINED = 64             # publications delivered as one
    MAX_JOINED_BYTES = 16384

cdef struct Place:              # one subscription: 16 bytes here, 12 in the wire
    PyObject* wire              # borrowed; a closing wire vacates its place
    uint64_t joined             # publications up to this one are not for it

cdef class Tally:               # what became of deliveries, of one audience or of many
    cdef readonly uint64_t sent, queued, dropped

cdef class Delivery(Scheduled):
    cdef Audience audience

cdef class Audience(Gathering):
    cdef readonly LoopData loop_data
    cdef readonly Tally tally
    cdef public int policy
    cdef public Audience behind     # its publications go first; None: nobody's
    cdef Place* places
    cdef uint32_t used, room
    cdef uint32_t cursor        # places below it still get the publications being delivered
    cdef uint64_t published     # publications so far; 32 bits would be used up by a busy topic within weeks
    cdef uint32_t codec_counts[CODECS]
    cdef object waiting         # publications behind those being delivered; None while there are none
    cdef list parts             # the publications being delivered; None between deliveries
    cdef tuple whole            # their frames joined, one for each codec; None if that codec lacks one of them
    cdef uint64_t first         # number of the first of them
    cdef PyObject* excluded     # the one wire that some of them are not for; the parts own it
    cdef PyObject* served       # borrowed: the wire that is having its turn
    cdef Delivery delivery      # the work list's hold, while publications wait
    cdef bint serving           # inside serve: callbacks may publish again
    cdef int begin(self) except -1
    cdef bint serve(self, int64_t deadline, bint alone) except -1
    cdef uint64_t meant_for(self, uint32_t index, publications) except? 0
    cdef int hand_over(self, uint32_t index, bint alone) except -1
    cdef int give_whole(self, Wire wire, bint alone) except -1
    cdef int give_parts(self, Wire wire, list parts, uint64_t joined) except -1
    cdef void count_status(self, int status, uint64_t publications) noexcept
    cdef void move(self, uint32_t source, uint32_t target) noexcept
    cdef bint has_to_wait(self) noexcept
    cdef bint go_on(self, int64_t deadline, bint alone) except -1
