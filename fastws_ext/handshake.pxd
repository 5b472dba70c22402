"""The HTTP stage: find the end of a request head; decide and answer the common upgrade."""
from libc.stdint cimport uint8_t
from .endpoint cimport Endpoint, Ingress
from .loop_data cimport Scheduled
from .wire cimport Wire

cdef enum:
    MAX_REQUEST_LINE = 8192     # bytes, without its CRLF
    MAX_HEAD = 16384            # bytes, request line and empty line included
    MAX_HEADERS = 100

cdef struct Head:               # what the common path needs of a head; pointers into the caller's bytes
    const uint8_t* path
    Py_ssize_t path_size
    const uint8_t* key
    const uint8_t* host
    Py_ssize_t host_size
    const uint8_t* origin
    Py_ssize_t origin_size
    const uint8_t* query        # what says who it is and what it speaks; NULL where there is none
    Py_ssize_t query_size
    const uint8_t* authorization
    Py_ssize_t authorization_size
    const uint8_t* protocols
    Py_ssize_t protocols_size

cdef class FastIngress(Ingress):
    cdef public dict routes
    cdef public object admit, recognize
    cdef bytes more             # header lines of the answer under way, beyond the usual ones
    cdef public bint same_host_origins, decline_extensions, trust_forwarded
    cdef readonly unsigned long long common, uncommon
    cdef Py_ssize_t ask(self, Wire wire, const uint8_t* p, Py_ssize_t n) except -1
    cdef Endpoint common_upgrade(self, Wire wire, const uint8_t* p, Py_ssize_t size, char* accept_key)
    cdef bint recognized(self, Wire wire, Endpoint endpoint, Head* head) except -1
    cdef bint read_head(self, const uint8_t* p, Py_ssize_t size, Head* head) noexcept
    cdef bint read_header(self, const uint8_t* name, Py_ssize_t size, const uint8_t* value, Py_ssize_t length,
                          Head* head, int* seen) noexcept
