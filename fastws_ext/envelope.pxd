"""Publications as processes send them to each other."""
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    VERSION = 1
    PUBLICATION = 1
    FROM_SERVER = 1             # flag: no client is its author
    HEAD_SIZE = 20              # version, kind, flags, length of the epoch, offset, time
    LENGTHS_SIZE = 8            # of user, connection, who shall not hear it, trace
    MOST_IN_A_BATCH = 65536     # each takes 300 bytes of memory, however short it is

cdef extern from "utf8.h" nogil:
    enum: UTF8_ACCEPT
    size_t fastws_utf8_feed(uint8_t* state, const uint8_t* p, size_t n)

cdef object publication_at(const uint8_t* p, Py_ssize_t n, object make)
