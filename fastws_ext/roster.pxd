"""Connections by their numbers."""
from libc.stdint cimport uint64_t

cdef class Roster:
    cdef list places        # connections where their numbers say, None in between; a power of two of them
    cdef Py_ssize_t used
    cdef int shift          # of a 64-bit hash, so that a place is left
    cdef Py_ssize_t home(self, uint64_t number) noexcept
    cdef Py_ssize_t place_of(self, uint64_t number) noexcept
    cdef int resize(self, Py_ssize_t room) except -1
