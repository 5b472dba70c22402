"""What a Redis server sends, followed before it is parsed (Redis serialization protocol specification).

hiredis takes lists of any announced length, and strings of any; what they may be is for who uses it to say, and that
before it has made them. It is 60 ns for a message of 128 bytes.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr

cdef enum:
    AT_TYPE
    IN_NUMBER
    IN_LINE
    AT_END                      # a carriage return was read
    IN_BODY
    BROKEN

cdef str TOO_LARGE = "it sent an answer that is larger than one may be"
cdef str TOO_DEEP = "it sent lists within lists, deeper than they may be"
cdef str NO_RESP = "it does not speak the protocol of Redis"
cdef str ATTRIBUTE = "it sent an attribute, which nobody has asked for"


cdef inline bint is_counted(uint8_t kind) noexcept nogil:
    """Whether a number follows of what belongs to it."""
    return kind == c'$' or kind == c'>' or kind == c'*' or kind == c'%' or kind == c'~' or kind == c'='


cdef class ReplyGuard:
    """See the stub."""

    def __init__(self, int64_t most):
        self.most = most
        self.problem = ""

    def check(self, bytes data not None):
        """How many of these bytes may be parsed; see the stub."""
        return self.scan(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef Py_ssize_t scan(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t some
        cdef const uint8_t* found
        while i < n:
            if self.state == AT_TYPE:
                if not self.begin(p[i]):
                    return i
                i += 1
            elif self.state == IN_NUMBER:
                i = self.read_number(p, i, n)
                if self.state == BROKEN:
                    return i
            elif self.state == IN_BODY:
                some = self.skip if self.skip < n - i else n - i
                i += some
                self.skip -= some
                if not self.skip:
                    self.complete()
            elif self.state == IN_LINE:
                found = <const uint8_t*>memchr(p + i, 0x0d, n - i)
                some = found - (p + i) if found is not NULL else n - i
                if some > LONGEST_LINE - self.line:
                    self.refuse(TOO_LARGE)
                    return i
                self.line += some
                i += some
                if found is not NULL:
                    self.state = AT_END
                    i += 1
            elif self.state == AT_END and p[i] == 0x0a:
                if not self.announce():
                    return i
                i += 1
            else:
                if self.state == AT_END:
                    self.refuse(NO_RESP)
                return i
        return n

    cdef Py_ssize_t read_number(self, const uint8_t* p, Py_ssize_t i, Py_ssize_t n) except -1:
        """How many elements or bytes follow, up to the end of its line; where it ends in these bytes, or is wrong."""
        cdef int64_t number = self.number
        cdef int digits = self.digits
        while i < n and 0x30 <= p[i] <= 0x39 and digits < 18:
            number = number * 10 + p[i] - 0x30
            digits += 1
            i += 1
        self.number = number
        self.digits = digits
        if i == n:
            return i
        if p[i] == 0x0d and digits:
            self.state = AT_END
        elif p[i] == 0x2d and not digits and not self.is_negative:
            self.is_negative = True
        else:
            self.refuse(NO_RESP)
            return i
        return i + 1

    cdef bint begin(self, uint8_t kind) except -1:
        """Of an element."""
        self.kind = kind
        if is_counted(kind):
            self.state = IN_NUMBER
            self.number = 0
            self.digits = 0
            self.is_negative = False
        elif kind in (c'+', c'-', c':', c',', c'_', c'#', c'('):
            self.state = IN_LINE
            self.line = 0
            if kind == c'-' and self.levels:
                self.size += ERROR_SIZE
                if self.size > self.most:
                    return self.refuse(TOO_LARGE)
        else:
            return self.refuse(ATTRIBUTE if kind == c'|' else NO_RESP)
        return True

    cdef bint announce(self) except -1:
        """A line is complete: an element, or how much of it follows."""
        cdef int64_t number = self.number
        if not is_counted(self.kind):
            self.size += self.line
            if self.size > self.most:
                return self.refuse(TOO_LARGE)
            self.complete()
            return True
        if self.is_negative:                # nothing: -1
            if number != 1:
                return self.refuse(NO_RESP)
            self.complete()
            return True
        if self.kind == c'$' or self.kind == c'=':
            if number > self.most - self.size:
                return self.refuse(TOO_LARGE)
            self.size += number
            self.skip = number + 2
            self.state = IN_BODY
            return True
        if number > (self.most - self.size) // (2 * ELEMENT_SIZE if self.kind == c'%' else ELEMENT_SIZE):
            return self.refuse(TOO_LARGE)
        if self.kind == c'%':
            number *= 2
        if not number:
            self.complete()
            return True
        if self.levels == MOST_LEVELS:
            return self.refuse(TOO_DEEP)
        self.size += number * ELEMENT_SIZE
        self.left[self.levels] = number
        self.levels += 1
        self.state = AT_TYPE
        return True

    cdef void complete(self) noexcept:
        """An element is, and with it maybe the lists that it is the last of."""
        self.state = AT_TYPE
        while self.levels:
            self.left[self.levels - 1] -= 1
            if self.left[self.levels - 1]:
                return
            self.levels -= 1
        self.size = 0

    cdef bint refuse(self, str problem) except -1:
        self.state = BROKEN
        self.problem = problem
        return False
