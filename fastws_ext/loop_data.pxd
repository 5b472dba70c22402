"""What exists once per event loop: clock, scratch, work lists, timing wheel."""
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    SCRATCH_SIZE = 262144       # replies of the connection being read
    GATHER_SIZE = 65536         # queued frames joined for one send
    RECEIVE_SIZE = 65536        # one recv; larger reads would let one socket hold the pass
    WHEEL_SLOTS = 1024          # of TICK_NS: 102 s, longer waits go round again
    TICK_NS = 100000000

cdef enum Queued:               # bits of Scheduled.queued
    IN_DIRTY = 1
    IN_RUN = 2
    IN_FINISH = 4

cdef class Scheduled:
    """Something the loop calls back: a link in the wheel and in the work lists. 20 bytes for all of it."""
    cdef PyObject* wheel_next
    cdef PyObject** wheel_link  # the pointer that points here; NULL while not in the wheel
    cdef uint32_t due_tick
    cdef uint8_t queued
    cdef int on_dirty(self) except -1
    cdef int on_run(self) except -1
    cdef int on_finish(self) except -1
    cdef int on_due(self, uint32_t now) except -1

cdef struct WorkList:           # first in, first out; owns a reference to each
    PyObject** items
    size_t head, end, capacity

cdef class LoopData:
    cdef readonly object loop
    cdef uint8_t* receive_buffer
    cdef bytearray lent         # what transports of the loop read into
    cdef bint lent_in_use       # what is in it is being taken apart
    cdef uint8_t* scratch
    cdef uint8_t* gather
    cdef Py_ssize_t scratch_used
    cdef PyObject* current      # borrowed: the connection being read, whose replies go to scratch
    cdef WorkList dirty, run, finish
    cdef PyObject* wheel[WHEEL_SLOTS]
    cdef uint32_t now_tick      # as of the last pass
    cdef uint32_t wheel_tick    # the last one that was served
    cdef int64_t start_ns, pass_deadline_ns
    cdef int64_t looked_ns      # the clock before the connection that is being served
    cdef readonly uint64_t numbers
    cdef public int64_t pass_ns # how long one pass may take
    cdef uint32_t leaving       # peers whose close frames came in this pass
    cdef bint turn_scheduled, in_pass, running, held_back
    cdef bint sockets_wait      # ready sockets that the last pass had no time for
    cdef object tick_handle, fan_outs
    cdef readonly uint64_t passes, errors
    cdef int64_t begin_pass(self) noexcept
    cdef int end_pass(self, bint deliver=*) except -1
    cdef int serve_lists(self, bint deliver) except -1
    cdef bint out_of_time(self) noexcept
    cdef int mark(self, Scheduled item, uint8_t kind) except -1
    cdef int need_turn(self) except -1
    cdef void set_due(self, Scheduled item, uint32_t tick) noexcept
    cdef void clear_due(self, Scheduled item) noexcept
    cdef uint32_t ticks(self, double seconds) noexcept
    cdef uint32_t tick_after(self, double seconds) noexcept
    cdef int serve_run(self) except -1
    cdef int serve_run_in_pass(self) except -1
    cdef int guarded(self, Scheduled item, uint8_t kind) except -1
    cdef int report(self, error, item) except -1
    cdef bint serve_until(self, uint32_t target) except -1
    cdef bint serve_slot(self, uint32_t tick) except -1
    cdef int add_fan_out(self, Scheduled item) except -1

cdef int64_t monotonic_ns() noexcept nogil
