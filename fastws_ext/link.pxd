"""How a wire reaches its socket: the reactor's transport, or a transport of the event loop."""

cdef class Link:
    cdef Py_ssize_t send_some(self, const char* p, Py_ssize_t n) except -2  # bytes taken, 0 when full, -1 broken
    cdef int want_write(self, bint on) except -1    # wake the wire when the socket takes bytes again
    cdef int want_read(self, bint on) except -1
    cdef int hold(self, bint on) except -1          # while bytes wait to be parsed
    cdef int shut_write(self) except -1             # FIN after what was written
    cdef int close_socket(self) except -1                  # idempotent
    cdef int reset_socket(self) except -1                  # the next close sends RST
    cdef bint flushing(self) except -1              # it still has bytes that close would wait for
    cdef object address(self)                       # (host, port), or None
    cdef object facade(self)                        # what Python may use as an asyncio.Transport

cdef class LoopLink(Link):
    cdef object transport, peer
    cdef bint full, half_closes, wanted, held
    cdef int apply(self) except -1
