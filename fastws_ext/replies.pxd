"""What a Redis server sends, followed before it is parsed."""
from libc.stdint cimport int64_t, uint8_t

cdef enum:
    MOST_LEVELS = 16            # lists within lists; Redis has at most 7
    LONGEST_LINE = 65536        # bytes; longer ones are looked through again and again while they arrive
    ELEMENT_SIZE = 80           # bytes of memory that an element takes, however short it is
    ERROR_SIZE = 1024           # the same of an error within a list

cdef class ReplyGuard:
    cdef readonly str problem   # why nothing more may be parsed; empty while it may
    cdef int64_t most           # bytes of one answer or push
    cdef int64_t size           # of the one that is on its way, as far as it was announced
    cdef int64_t skip           # bytes that are left of a string, with the end of its line
    cdef int64_t number         # of a header, as far as it was read
    cdef int64_t left[MOST_LEVELS]
    cdef int levels             # that are open
    cdef int state
    cdef int digits             # of `number`
    cdef int line               # bytes of a line so far
    cdef bint is_negative
    cdef uint8_t kind           # the first byte of what is read
    cdef Py_ssize_t scan(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef Py_ssize_t read_number(self, const uint8_t* p, Py_ssize_t i, Py_ssize_t n) except -1
    cdef bint begin(self, uint8_t kind) except -1
    cdef bint announce(self) except -1
    cdef void complete(self) noexcept
    cdef bint refuse(self, str problem) except -1
