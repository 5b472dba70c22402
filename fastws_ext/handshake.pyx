"""The HTTP stage: find the end of a request head; decide and answer the common upgrade.

The common upgrade is a GET of a known path with nothing that asks for a judgement: no body, no forwarded address, an
Origin equal to Host or none. What says who it is and what it speaks (query, Authorization, subprotocols) is shown to
`recognize`, which lets in whom it knows. Everything else goes to `on_request`, which rules by the whole table; both
must answer a common upgrade alike.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, memcmp, memset
from .sender cimport CLOSING, F_DECIDING, HANDSHAKING, OPEN

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t n)

cdef extern from "sha1.h" nogil:
    void fastws_accept_key(char* out, const char* key)

ANSWER = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          b"Sec-WebSocket-Accept: ")
INTERNAL_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

cdef uint8_t TOKEN[256]         # RFC 9110 5.6.2
cdef uint8_t HOST[256]          # what a Host may have to be judged here
cdef uint8_t BASE64[256]


cdef int mark(uint8_t* table, bytes characters) except -1:
    memset(table, 0, 256)
    for c in characters:
        table[c] = 1
    return 0


mark(TOKEN, b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
mark(HOST, b".-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
mark(BASE64, b"+/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def accept_key(bytes key not None):
    """The Sec-WebSocket-Accept value for a Sec-WebSocket-Key of 24 characters (RFC 6455 4.2.2)."""
    cdef char out[28]
    if len(key) != 24:
        raise ValueError("a key has 24 characters")
    fastws_accept_key(out, PyBytes_AS_STRING(key))
    return PyBytes_FromStringAndSize(out, 28)


cdef Py_ssize_t head_end(const uint8_t* p, Py_ssize_t n, Py_ssize_t start, bint* hopeless) noexcept nogil:
    """Bytes of the head that ends in p[:n], or 0. `hopeless`: no byte to come can make it a good head."""
    cdef Py_ssize_t i = start
    cdef const uint8_t* found
    hopeless[0] = False
    while i < n:
        found = <const uint8_t*>memchr(p + i, 10, n - i)
        if found == NULL:
            break
        i = found - p
        if i == 0 or p[i - 1] != 13:
            hopeless[0] = True
            return 0
        if i >= 3 and p[i - 2] == 10 and p[i - 3] == 13:
            return i + 1
        i += 1
    if n > MAX_HEAD or (n > MAX_REQUEST_LINE + 1 and memchr(p, 10, MAX_REQUEST_LINE + 2) == NULL):
        hopeless[0] = True
    return 0


cdef bint has_token(const uint8_t* p, Py_ssize_t n, const char* token, Py_ssize_t size) noexcept nogil:
    """Is `token` one of the comma-separated elements?"""
    cdef Py_ssize_t start = 0, end, stop
    while start < n:
        stop = start
        while stop < n and p[stop] != c",":
            stop += 1
        end = stop
        while start < end and (p[start] == 32 or p[start] == 9):
            start += 1
        while end > start and (p[end - 1] == 32 or p[end - 1] == 9):
            end -= 1
        if end - start == size and strncasecmp(<const char*>p + start, token, size) == 0:
            return True
        start = stop + 1
    return False


cdef bint named(const uint8_t* name, Py_ssize_t size, const char* other, Py_ssize_t other_size) noexcept nogil:
    return size == other_size and strncasecmp(<const char*>name, other, size) == 0


cdef bint good_key(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """Base64 of 16 bytes: 22 characters, of which the last has 4 unused bits, and padding."""
    cdef int i
    if n != 24 or p[22] != c"=" or p[23] != c"=":
        return False
    for i in range(22):
        if not BASE64[p[i]]:
            return False
    return p[21] == c"A" or p[21] == c"Q" or p[21] == c"g" or p[21] == c"w"


cdef bint plain_host(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """A name or an IPv4 address, with a port of at most 65535; other forms are judged elsewhere."""
    cdef Py_ssize_t i = 0, colon
    cdef unsigned int port = 0
    while i < n and p[i] != c":":
        if not HOST[p[i]]:
            return False
        i += 1
    if not i or i == n:
        return i > 0
    colon = i
    for i in range(colon + 1, n):
        if not c"0" <= p[i] <= c"9" or i - colon > 5:
            return False
        port = port * 10 + p[i] - c"0"
    return n > colon + 1 and port <= 65535


cdef bint origin_is_host(Head* head) noexcept nogil:
    cdef Py_ssize_t scheme = 7
    if head.origin_size > 7 and memcmp(head.origin, b"http://", 7) == 0:
        scheme = 7
    elif head.origin_size > 8 and memcmp(head.origin, b"https://", 8) == 0:
        scheme = 8
    else:
        return False
    return (head.origin_size - scheme == head.host_size
            and memcmp(head.origin + scheme, head.host, head.host_size) == 0)


cdef bytes_of(const uint8_t* p, Py_ssize_t n):
    return PyBytes_FromStringAndSize(<const char*>p, n) if p != NULL else None


cdef class FastIngress(Ingress):
    def __init__(self, loop_data, *, double handshake_timeout=3.0):
        Ingress.__init__(self, loop_data, handshake_timeout=handshake_timeout)
        self.routes = {}
        self.more = b""
        self.same_host_origins = True

    cdef Py_ssize_t receive_head(self, Scheduled scheduled, const uint8_t* p, Py_ssize_t n) except -1:
        """Bytes used of the head at `p`; 0 while more are needed or a decision is awaited."""
        cdef Wire wire = <Wire>scheduled
        cdef Py_ssize_t size, start = 0
        cdef bint hopeless
        cdef char key[28]
        cdef Endpoint endpoint
        if wire.flow is not None:
            if wire.flow.body_end:
                if n < wire.flow.body_end:
                    return 0
                wire.flow.body_end = 0
                return self.ask(wire, p, n)
            start = wire.flow.scanned
        size = head_end(p, n, start, &hopeless)
        if not size:
            if hopeless:
                return self.ask(wire, p, n)
            wire.need_flow().scanned = max(n - 3, 0)
            return 0
        if size <= MAX_HEAD and self.routes:
            endpoint = self.common_upgrade(wire, p, size, key)
            if wire.state != HANDSHAKING:
                return n        # `admit` gave it up
            if endpoint is not None:
                self.common += 1
                wire.open(endpoint, ANSWER + key[:28] + b"\r\n" + self.more + b"\r\n", 0)
                return size
        self.uncommon += 1
        return self.ask(wire, p, n)

    cdef Py_ssize_t ask(self, Wire wire, const uint8_t* p, Py_ssize_t n) except -1:
        """Leave the decision to the layer above; reading stops until it is made."""
        cdef Py_ssize_t used
        wire.flags |= F_DECIDING
        wire.need_flow().scanned = 0
        try:
            self.on_request(wire, PyBytes_FromStringAndSize(<const char*>p, n))
        except BaseException as error:
            self.loop_data.report(error, wire)
            wire.respond(INTERNAL_ERROR)
        if wire.state == HANDSHAKING:
            wire.update_reading()
            return 0
        used = min(wire.need_flow().scanned, n) if wire.state == OPEN or wire.state == CLOSING else n
        wire.need_flow().scanned = 0
        return used

    cdef Endpoint common_upgrade(self, Wire wire, const uint8_t* p, Py_ssize_t size, char* accept_key):
        """The endpoint of a common upgrade that is let in, or None for everything that needs the whole table."""
        cdef Head head
        cdef Endpoint endpoint
        if not self.read_head(p, size, &head):
            return None
        endpoint = self.routes.get(PyBytes_FromStringAndSize(<const char*>head.path, head.path_size))
        if endpoint is None:
            return None
        if head.origin != NULL and not (self.same_host_origins and origin_is_host(&head)):
            return None
        self.more = b""
        if head.query != NULL or head.authorization != NULL or head.protocols != NULL:
            if not self.recognized(wire, endpoint, &head):
                return None
        elif self.admit is not None and self.admit(wire):
            return None
        fastws_accept_key(accept_key, <const char*>head.key)
        return endpoint

    cdef bint recognized(self, Wire wire, Endpoint endpoint, Head* head) except -1:
        """Whether the layer above has let it in; what it does not know, and what it fails at, needs the whole table."""
        if self.recognize is None:
            return False
        try:
            more = self.recognize(wire, endpoint, bytes_of(head.query, head.query_size) or b"",
                                  bytes_of(head.authorization, head.authorization_size),
                                  bytes_of(head.protocols, head.protocols_size))
            if more is None:
                return False
            self.more = more
            return True
        except BaseException as error:
            self.loop_data.report(error, wire)
            return False

    cdef bint read_head(self, const uint8_t* p, Py_ssize_t size, Head* head) noexcept:
        """False if anything in the head needs a judgement."""
        cdef Py_ssize_t i = 4, line, colon, start, end
        cdef int headers = 0, seen = 0
        memset(head, 0, sizeof(Head))
        if size < 16 or memcmp(p, b"GET /", 5):
            return False
        while p[i] > 32 and p[i] < 127 and p[i] != c"?" and p[i] != c"#" and p[i] != c"%":
            i += 1
        head.path = p + 4
        head.path_size = i - 4
        if p[i] == c"?":
            i += 1
            head.query = p + i
            while p[i] > 32 and p[i] < 127 and p[i] != c"#":
                i += 1
            head.query_size = p + i - head.query
        if i + 11 > size or i + 9 > MAX_REQUEST_LINE or memcmp(p + i, b" HTTP/1.1\r\n", 11):
            return False
        i += 11
        while p[i] != 13:
            line = i
            while TOKEN[p[i]]:
                i += 1
            colon = i
            if colon == line or p[colon] != c":":
                return False
            i += 1
            while p[i] == 32 or p[i] == 9:
                i += 1
            start = end = i
            while p[i] != 13:
                if p[i] < 32 and p[i] != 9 or p[i] == 127:
                    return False
                i += 1
                if p[i - 1] != 32 and p[i - 1] != 9:
                    end = i
            if p[i + 1] != 10:
                return False
            i += 2
            headers += 1
            if headers > MAX_HEADERS:
                return False
            if not self.read_header(p + line, colon - line, p + start, end - start, head, &seen):
                return False
        return seen == 31 and i + 2 == size     # a CR at the start of a line ends no head

    cdef bint read_header(self, const uint8_t* name, Py_ssize_t size, const uint8_t* value, Py_ssize_t length,
                          Head* head, int* seen) noexcept:
        """One header line; `seen` has a bit for each of the five that must be there once."""
        cdef int bit = 0
        if named(name, size, b"host", 4):
            bit = 1
            head.host = value
            head.host_size = length
            if not plain_host(value, length):
                return False
        elif named(name, size, b"upgrade", 7):
            bit = 2
            if length != 9 or strncasecmp(<const char*>value, b"websocket", 9):
                return False
        elif named(name, size, b"connection", 10):
            bit = 4
            if not has_token(value, length, b"upgrade", 7):
                return False
        elif named(name, size, b"sec-websocket-version", 21):
            bit = 8
            if length != 2 or memcmp(value, b"13", 2):
                return False
        elif named(name, size, b"sec-websocket-key", 17):
            bit = 16
            if not good_key(value, length):
                return False
            head.key = value
        elif named(name, size, b"origin", 6):
            if head.origin != NULL:
                return False
            head.origin = value
            head.origin_size = length
        elif named(name, size, b"sec-websocket-extensions", 24):
            return self.decline_extensions
        elif named(name, size, b"x-forwarded-for", 15) or named(name, size, b"x-forwarded-proto", 17):
            return not self.trust_forwarded
        elif named(name, size, b"sec-websocket-protocol", 22):
            if head.protocols != NULL:
                return False
            head.protocols = value
            head.protocols_size = length
        elif named(name, size, b"authorization", 13):
            if head.authorization != NULL:
                return False
            head.authorization = value
            head.authorization_size = length
        elif (named(name, size, b"content-length", 14) or named(name, size, b"transfer-encoding", 17)
              or named(name, size, b"expect", 6) or named(name, size, b"traceparent", 11)):
            return False
        if bit and seen[0] & bit:
            return False
        seen[0] |= bit
        return True
