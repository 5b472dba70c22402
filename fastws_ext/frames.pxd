"""The frame codec (RFC 6455 section 5): bytes in, bytes out, no IO."""
from libc.stdint cimport uint8_t, uint16_t, uint64_t

cdef extern from "mask.h" nogil:
    void fastws_unmask(uint8_t* dst, const uint8_t* src, size_t n, const uint8_t* key, unsigned phase)
    bint fastws_unmask_ascii(uint8_t* dst, const uint8_t* src, size_t n, const uint8_t* key)

cdef extern from "utf8.h" nogil:
    size_t fastws_utf8_feed(uint8_t* state, const uint8_t* p, size_t n)
    enum:
        UTF8_ACCEPT
        UTF8_REJECT

cdef enum Opcode:
    OP_CONTINUATION = 0
    OP_TEXT = 1
    OP_BINARY = 2
    OP_CLOSE = 8
    OP_PING = 9
    OP_PONG = 10

cdef enum Judgement:
    INCOMPLETE = 0      # too few bytes to decide
    PLAIN = 1           # a whole header of a frame that needs no judgement
    FOR_LAW = 2         # the state machine has to look at this frame
    BROKEN = 3          # wrong already within its first two bytes
    FRAGMENT = 4        # one of the frames of a plain message; whether it may come now is known before its key is here

cdef struct Header:
    uint8_t opcode
    uint8_t size        # bytes of the header, masking key included
    const uint8_t* key  # the masking key, inside the caller's bytes
    uint64_t length     # bytes of the payload

cdef int parse_header(const uint8_t* p, Py_ssize_t n, Header* header) noexcept nogil
cdef int write_header(uint8_t* out, uint8_t first, uint64_t length) noexcept nogil
cdef bytes frame_from(uint8_t first, const char* payload, Py_ssize_t length)
cdef bytes close_frame(int code, str reason)
cdef object text_from(const uint8_t* p, Py_ssize_t n, const uint8_t* key)
