"""The transport of one accepted socket."""
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from .link cimport Link

cdef class SlimTransport(Link):
    # 72 bytes. The reactor's table owns it, it owns its wire; both links are cut when the socket is closed.
    cdef PyObject* reactor      # borrowed; NULL once closed
    cdef PyObject* wire         # owned
    cdef int fd
    cdef uint32_t slot, armed
    cdef uint16_t port, family
    cdef uint8_t peer[16]       # the address that accept4 told, in network order

cdef class Poller:              # what a transport needs of the reactor
    cdef readonly uint64_t sends
    cdef int arm(self, SlimTransport transport, uint32_t wanted) except -1
    cdef int release(self, SlimTransport transport) except -1
