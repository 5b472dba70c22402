"""What a connection holds only while something is under way: unparsed bytes, an unfinished message, a closing word."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef class Flow:
    cdef uint8_t* raw               # bytes received and not parsed yet: raw[raw_start:raw_end]
    cdef Py_ssize_t raw_start, raw_end, raw_size
    cdef Py_ssize_t scanned         # head bytes already searched for its end
    cdef Py_ssize_t body_end        # HTTP: bytes the layer above waits for
    cdef uint8_t* message           # unmasked payload of the message in progress
    cdef Py_ssize_t message_used, message_size
    cdef uint64_t frame_left        # bytes of its current frame still to come
    cdef uint32_t frames            # of it that are complete
    cdef uint8_t opcode             # of that message; 0 while there is none
    cdef bint in_frame              # else between two of its frames
    cdef bint final                 # the current frame is its last
    cdef uint8_t utf8
    cdef uint8_t key[4]             # turned to where the next byte of the frame is
    cdef object law                 # the state machine, while it is needed
    cdef uint64_t law_left          # bytes of the frame the law is in the middle of
    cdef uint32_t message_due       # tick at which the message must be complete; 0 none
    cdef str close_reason
    cdef Py_ssize_t discarded       # bytes thrown away while lingering
    cdef uint64_t skip              # payload bytes to skip while waiting for the peer's close frame
    cdef int append(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef void open_message(self, uint8_t opcode) noexcept
    cdef void open_frame(self, const uint8_t* key, uint64_t length, bint final) noexcept
    cdef Py_ssize_t feed(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef object finish(self)
    cdef bint idle(self) noexcept
