"""Publications as processes send them to each other; `fastws.engine.redis.envelope` says how they are laid out.

A process hears hundreds of thousands of them in a second, and taking one apart in Python took 2 us of the 4 that all of
it did, to the bytes on the socket.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8


cdef inline uint64_t number_at(const uint8_t* p, int size) noexcept nogil:
    cdef uint64_t number = 0
    cdef int i
    for i in range(size):
        number = number << 8 | p[i]
    return number


cdef inline object text_at(const uint8_t* p, Py_ssize_t size):
    """A name; halves of surrogate pairs may be in it, as in the tokens that users are named by."""
    if not size:
        return ""
    return PyUnicode_DecodeUTF8(<const char*>p, size, "surrogatepass")


cdef object publication_at(const uint8_t* p, Py_ssize_t n, object make):
    """The publication that fills these bytes, or None."""
    cdef uint8_t state = UTF8_ACCEPT
    cdef Py_ssize_t epoch_size, user_size, conn_size, exclude_size
    cdef const uint8_t* end = p + n
    cdef const uint8_t* at
    cdef const uint8_t* data
    if n < HEAD_SIZE or p[0] != VERSION or p[1] != PUBLICATION:
        return None
    epoch_size = p[3]
    if n < HEAD_SIZE + epoch_size + LENGTHS_SIZE:
        return None
    at = p + HEAD_SIZE + epoch_size
    user_size = number_at(at, 2)
    conn_size = number_at(at + 2, 2)
    exclude_size = number_at(at + 4, 2)
    at += LENGTHS_SIZE
    data = at + user_size + conn_size + exclude_size + number_at(at - 2, 2)
    if data >= end or fastws_utf8_feed(&state, data, end - data) < <size_t>(end - data) or state != UTF8_ACCEPT:
        return None             # no data is no JSON, and what is no text would end the connections that hear it
    try:
        epoch = text_at(p + HEAD_SIZE, epoch_size)
        user = None if p[2] & FROM_SERVER else text_at(at, user_size)
        conn = text_at(at + user_size, conn_size)
        exclude = text_at(at + user_size + conn_size, exclude_size)
    except UnicodeDecodeError:
        return None
    packed = PyBytes_FromStringAndSize(<const char*>data, end - data)
    publication = make(packed, number_at(p + 12, 8), number_at(p + 4, 8), user, conn, exclude)
    return publication, exclude, epoch


def publication_in(bytes envelope not None, make):
    """What is in an envelope; see the stub."""
    return publication_at(<const uint8_t*>PyBytes_AS_STRING(envelope), PyBytes_GET_SIZE(envelope), make)


def publications_in(bytes envelope not None, make):
    """What is in a batch; see the stub."""
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(envelope)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(envelope)
    cdef Py_ssize_t at = 2, size
    cdef list found = []
    while at < n:
        if n - at < 4 or len(found) == MOST_IN_A_BATCH:
            return None
        size = number_at(p + at, 4)
        at += 4
        if size > n - at:
            return None
        arrived = publication_at(p + at, size, make)
        if arrived is None:
            return None
        found.append(arrived)
        at += size
    return found
