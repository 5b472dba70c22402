"""The frame codec (RFC 6455 section 5): bytes in, bytes out, no IO."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcpy

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, unsigned int maxchar)
    void* PyUnicode_DATA(object text)
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef int parse_header(const uint8_t* p, Py_ssize_t n, Header* header) noexcept nogil:
    """Judge the header at `p`. `size` and `length` are set for PLAIN, FRAGMENT and FOR_LAW.

    FOR_LAW and FRAGMENT are said as soon as the length is known, which is before the masking key has arrived: what is
    wrong has to be refused at that byte. INCOMPLETE with a `size` means that only the key is missing.
    """
    cdef uint8_t first, second, opcode
    cdef int extended, i
    cdef uint64_t length
    header.size = 0
    if n < 2:
        return INCOMPLETE
    first = p[0]
    second = p[1]
    opcode = first & 15
    length = second & 127
    if opcode & 8:
        # RFC 6455 5.5: control frames are never fragmented and carry at most 125 bytes.
        if opcode > OP_PONG or not first & 128 or length > 125:
            return BROKEN
    elif opcode > OP_BINARY:
        return BROKEN
    extended = 0
    if length >= 126:
        extended = 2 if length == 126 else 8
        if n < 2 + extended:
            return INCOMPLETE
        length = 0
        for i in range(extended):
            length = length << 8 | p[2 + i]
    header.opcode = opcode
    header.length = length
    header.size = 2 + extended + (4 if second & 128 else 0)
    if first & 0x70 or not second & 128 or opcode == OP_CLOSE:
        return FOR_LAW
    if extended and (length < 126 or (extended == 8 and (length < 65536 or length >> 63))):
        return FOR_LAW
    header.key = p + header.size - 4
    if opcode == OP_CONTINUATION or not first & 128:
        return FRAGMENT
    if n < header.size:
        return INCOMPLETE
    return PLAIN


cdef int write_header(uint8_t* out, uint8_t first, uint64_t length) noexcept nogil:
    """Write an unmasked header of at most 10 bytes; returns its size."""
    cdef int i
    out[0] = first
    if length < 126:
        out[1] = <uint8_t>length
        return 2
    if length < 65536:
        out[1] = 126
        out[2] = <uint8_t>(length >> 8)
        out[3] = <uint8_t>(length & 255)
        return 4
    out[1] = 127
    for i in range(8):
        out[2 + i] = <uint8_t>(length >> (8 * (7 - i)) & 255)
    return 10


cdef bytes frame_from(uint8_t first, const char* payload, Py_ssize_t length):
    cdef uint8_t head[10]
    cdef int size = write_header(head, first, length)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, size + length)
    memcpy(PyBytes_AS_STRING(frame), head, size)
    memcpy(PyBytes_AS_STRING(frame) + size, payload, length)
    return frame


cdef bytes close_frame(int code, str reason):
    """A close frame; the reason is cut to 123 bytes at a character's end (RFC 6455 5.5)."""
    cdef bytes payload = b""
    if code != 1005:
        text = reason.encode("utf-8", "replace")
        if len(text) > 123:
            text = text[:123].decode("utf-8", "ignore").encode()
        payload = bytes((code >> 8 & 255, code & 255)) + text
    return frame_from(128 | OP_CLOSE, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


def encode_frame(int opcode, payload, *, bint fin=True, bint rsv1=False):
    """One unmasked frame as the server sends it; see the stub for the arguments."""
    cdef const char* text
    cdef Py_ssize_t size
    if opcode < 0 or opcode > 15:
        raise ValueError("opcode is 0 to 15")
    if isinstance(payload, str):
        text = PyUnicode_AsUTF8AndSize(payload, &size)
    elif isinstance(payload, bytes):
        text = PyBytes_AS_STRING(payload)
        size = PyBytes_GET_SIZE(payload)
    else:
        raise TypeError("payload is str or bytes")
    if opcode & 8 and size > 125:
        raise ValueError("a control frame carries at most 125 bytes")
    return frame_from(<uint8_t>((128 if fin else 0) | (64 if rsv1 else 0) | opcode), text, size)


def encode_close(int code, str reason not None=""):
    """A close frame with `code` (1005: without one) and `reason`."""
    return close_frame(code, reason)


def judge(bytes data not None):
    """What the codec says of the header at the start of `data`: (judgement, header bytes, payload bytes)."""
    cdef Header header
    header.length = 0
    cdef int said = parse_header(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &header)
    if said == INCOMPLETE or said == BROKEN:
        return said, 0, 0
    return said, header.size, header.length


def unmask(bytes payload not None, bytes key not None, int phase=0):
    """`payload` XOR the 4-byte `key`, which starts at byte `phase` of itself."""
    if len(key) != 4:
        raise ValueError("a masking key has 4 bytes")
    cdef bytes plain = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(payload))
    fastws_unmask(<uint8_t*>PyBytes_AS_STRING(plain), <const uint8_t*>PyBytes_AS_STRING(payload),
                  PyBytes_GET_SIZE(payload), <const uint8_t*>PyBytes_AS_STRING(key), phase & 3)
    return plain


def utf8_feed(int state, bytes data not None):
    """Validate further: (new state, bytes that were right). State 0 is between characters, 8 is rejected."""
    cdef uint8_t now = <uint8_t>state
    cdef size_t good = fastws_utf8_feed(&now, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return now, good


cdef object text_from(const uint8_t* p, Py_ssize_t n, const uint8_t* key):
    """The str of a masked payload, or None if it is no UTF-8. ASCII, the usual case, is unmasked in place."""
    cdef object text
    if n == 0:
        return ""
    text = PyUnicode_New(n, 127)
    if fastws_unmask_ascii(<uint8_t*>PyUnicode_DATA(text), p, n, key):
        return text
    try:
        return PyUnicode_DecodeUTF8(<char*>PyUnicode_DATA(text), n, "strict")
    except UnicodeDecodeError:
        return None
