"""What a connection holds only while something is under way: unparsed bytes, an unfinished message, a closing word."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove
from .frames cimport OP_TEXT, UTF8_ACCEPT, fastws_unmask, fastws_utf8_feed
cimport cython

cdef enum:
    FIRST_ROOM = 512            # bytes for a message that comes in pieces; what waits for its end should be small

cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char* text, Py_ssize_t size, const char* errors)


@cython.freelist(64)
cdef class Flow:
    def __dealloc__(self):
        free(self.raw)
        free(self.message)

    cdef int append(self, const uint8_t* p, Py_ssize_t n) except -1:
        """Keep `n` more unparsed bytes."""
        cdef Py_ssize_t held = self.raw_end - self.raw_start
        cdef uint8_t* larger
        if self.raw_end + n > self.raw_size:
            if held + n <= self.raw_size:
                memmove(self.raw, self.raw + self.raw_start, held)
            else:
                larger = <uint8_t*>realloc(self.raw, held + self.raw_start + n)
                if larger == NULL:
                    raise MemoryError
                self.raw = larger
                memmove(self.raw, self.raw + self.raw_start, held)
                self.raw_size = held + self.raw_start + n
            self.raw_start = 0
            self.raw_end = held
        memcpy(self.raw + self.raw_end, p, n)
        self.raw_end += n
        return 0

    cdef void open_message(self, uint8_t opcode) noexcept:
        """A plain message begins that has several frames, or one of which not everything is here."""
        self.opcode = opcode
        self.utf8 = UTF8_ACCEPT
        self.message_used = 0
        self.frames = 0

    cdef void open_frame(self, const uint8_t* key, uint64_t length, bint final) noexcept:
        """A frame of it begins; its declared size is not allocated."""
        self.in_frame = True
        self.final = final
        self.frame_left = length
        memcpy(self.key, key, 4)

    cdef Py_ssize_t feed(self, const uint8_t* p, Py_ssize_t n) except -1:
        """Take payload bytes of the frame in progress; returns how many. `utf8` says whether text is right so far."""
        cdef Py_ssize_t take = n if <uint64_t>n < self.frame_left else <Py_ssize_t>self.frame_left
        cdef Py_ssize_t need = self.message_used + take
        cdef uint8_t* larger
        cdef uint8_t turned[4]
        cdef int i
        if need > self.message_size:
            # Doubling, and never past what the last frame declared and the limit allowed.
            need = max(need, self.message_size * 2, FIRST_ROOM)
            if self.final:
                need = min(need, self.message_used + <Py_ssize_t>self.frame_left)
            larger = <uint8_t*>realloc(self.message, need)
            if larger == NULL:
                raise MemoryError
            self.message = larger
            self.message_size = need
        fastws_unmask(self.message + self.message_used, p, take, self.key, 0)
        if take & 3:
            for i in range(4):
                turned[i] = self.key[(take + i) & 3]
            memcpy(self.key, turned, 4)
        if self.opcode == OP_TEXT:
            fastws_utf8_feed(&self.utf8, self.message + self.message_used, take)
        self.message_used += take
        self.frame_left -= take
        if not self.frame_left:
            self.in_frame = False
            self.frames += 1
        return take

    cdef object finish(self):
        """The message whose last frame is complete, or None for text that ends within a character."""
        cdef object message
        if self.opcode == OP_TEXT:
            if self.utf8 != UTF8_ACCEPT:
                return None
            message = PyUnicode_DecodeUTF8(<const char*>self.message, self.message_used, "strict")
        else:
            message = PyBytes_FromStringAndSize(<const char*>self.message, self.message_used)
        self.opcode = 0
        free(self.message)
        self.message = NULL
        self.message_used = self.message_size = 0
        return message

    cdef bint idle(self) noexcept:
        """Nothing is under way: the connection may drop this."""
        return (self.raw_start == self.raw_end and not self.opcode and self.law is None and not self.law_left
                and self.close_reason is None and not self.discarded and not self.skip and not self.body_end)
