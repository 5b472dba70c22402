"""The queue of a connection: frames that wait for the end of the pass or for the socket.

Frames are shared by reference, so a broadcast costs one pointer per waiting connection. Exists only while something
waits: an idle connection has none.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
cimport cython


cdef void drop(Item* item) noexcept:
    Py_DECREF(<object>item.frame)
    if item.topic != NULL:
        Py_DECREF(<object>item.topic)
    if item.key != NULL:
        Py_DECREF(<object>item.key)


cdef Py_ssize_t frames_in(bytes data) noexcept:
    """How many frames are joined in `data`; 1 for what is none."""
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(data), i = 0, size, count = 0
    while i + 2 <= n and p[i] & 128:
        size = p[i + 1]
        if size == 126 and i + 4 <= n:
            size = 2 + (p[i + 2] << 8 | p[i + 3])
        elif size == 127:
            break               # longer than what is ever joined
        i += 2 + size
        count += 1
    return max(count, 1)


@cython.freelist(256)
@cython.no_gc       # bytes and audiences only, and an audience never leads back to an outbox
cdef class Outbox:
    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.count):
            drop(&self.items[(self.head + i) & (self.capacity - 1)])
        free(self.items)

    cdef int push(self, bytes frame, object topic, bytes key) except -1:
        """Queue one frame (or several already joined); `topic` marks a publication that its policy may drop."""
        cdef Item* larger
        cdef Item* item
        cdef uint32_t i, capacity
        if self.count == self.capacity:
            capacity = self.capacity * 2 if self.capacity else 4
            larger = <Item*>malloc(capacity * sizeof(Item))
            if larger == NULL:
                raise MemoryError
            for i in range(self.count):
                larger[i] = self.items[(self.head + i) & (self.capacity - 1)]
            free(self.items)
            self.items = larger
            self.head = 0
            self.capacity = capacity
        item = &self.items[(self.head + self.count) & (self.capacity - 1)]
        item.frame = <PyObject*>frame
        item.topic = <PyObject*>topic if topic is not None else NULL
        item.key = <PyObject*>key if key is not None else NULL
        Py_INCREF(frame)
        if item.topic != NULL:
            Py_INCREF(topic)
        if item.key != NULL:
            Py_INCREF(key)
        self.count += 1
        self.size += PyBytes_GET_SIZE(frame)
        return 0

    cdef Py_ssize_t cost(self, Py_ssize_t n) noexcept:
        """Memory in bytes if a frame of `n` bytes were queued too: what the limit of an outbox is held against."""
        return self.size + n + ITEM_COST * (<Py_ssize_t>self.count + 1)

    cdef Py_ssize_t gather(self, char* out, Py_ssize_t room) noexcept:
        """Copy what is next to send, whole or in part, into `out`; returns the bytes copied. Nothing is taken out."""
        cdef uint32_t i
        cdef Py_ssize_t used = 0, n, skip = self.sent
        cdef Item* item
        for i in range(self.count):
            item = &self.items[(self.head + i) & (self.capacity - 1)]
            n = PyBytes_GET_SIZE(<object>item.frame) - skip
            if n > room - used:
                n = room - used
            memcpy(out + used, PyBytes_AS_STRING(<object>item.frame) + skip, n)
            used += n
            skip = 0
            if used == room:
                break
        return used

    cdef void advance(self, Py_ssize_t n) noexcept:
        """`n` bytes are gone."""
        cdef Item item
        cdef Py_ssize_t left
        self.size -= n
        while self.count:
            item = self.items[self.head]
            left = PyBytes_GET_SIZE(<object>item.frame) - self.sent
            if n < left:
                self.sent += n
                return
            n -= left
            self.sent = 0
            self.head = (self.head + 1) & (self.capacity - 1)
            self.count -= 1
            drop(&item)

    cdef Py_ssize_t make_room(self, Py_ssize_t excess, object topic, int policy, bytes key) except -1:
        """Drop publications of `topic`, begun ones excepted, as its policy says; returns how many were dropped.

        DROP_OLDEST stops when `excess` bytes are free; CONFLATE keeps the newest per key, the frame about to be
        queued under `key` included.
        """
        cdef uint32_t i, kept = 0, total = self.count
        cdef Py_ssize_t freed = 0, dropped = 0, size
        cdef Item* item
        cdef Item* target
        cdef bint out
        cdef dict newest = {}
        if policy == CONFLATE:
            for i in range(total):
                item = &self.items[(self.head + i) & (self.capacity - 1)]
                if item.topic == <PyObject*>topic:
                    newest[<object>item.key if item.key != NULL else None] = i
            newest[key] = total
        for i in range(total):
            item = &self.items[(self.head + i) & (self.capacity - 1)]
            out = item.topic == <PyObject*>topic and not (i == 0 and self.sent)
            if out and policy == CONFLATE:
                out = newest[<object>item.key if item.key != NULL else None] != i
            elif out:
                out = freed < excess
            if out:
                size = PyBytes_GET_SIZE(<object>item.frame)
                freed += size + ITEM_COST
                self.size -= size
                dropped += 1
                drop(item)
            else:
                target = &self.items[(self.head + kept) & (self.capacity - 1)]
                target[0] = item[0]
                kept += 1
        self.count = kept
        return dropped

    cdef Py_ssize_t discard_unsent(self) except -1:
        """Drop every frame but what is partly sent; returns how many went."""
        cdef uint32_t i, first = 1 if self.sent else 0
        cdef Item* item
        cdef Py_ssize_t dropped = 0
        for i in range(first, self.count):
            item = &self.items[(self.head + i) & (self.capacity - 1)]
            self.size -= PyBytes_GET_SIZE(<object>item.frame)
            dropped += frames_in(<bytes>item.frame)
            drop(item)
        self.count = min(self.count, first)
        return dropped

    cdef Py_ssize_t frames(self) noexcept:
        """How many frames wait, wholly or in part."""
        cdef uint32_t i
        cdef Py_ssize_t total = 0
        for i in range(self.count):
            total += frames_in(<bytes>self.items[(self.head + i) & (self.capacity - 1)].frame)
        return total

    cdef int replace_last_pong(self, bytes frame) except -1:
        """1 if the last frame was an unsent pong and `frame` took its place, 0 if not.

        RFC 6455 5.5.3: only the most recent ping has to be answered, so a flood of pings queues one pong.
        """
        cdef Item* item
        cdef const unsigned char* last
        if not self.count or (self.count == 1 and self.sent):
            return 0
        item = &self.items[(self.head + self.count - 1) & (self.capacity - 1)]
        last = <const unsigned char*>PyBytes_AS_STRING(<object>item.frame)
        if last[0] != 0x8A or PyBytes_GET_SIZE(<object>item.frame) != 2 + last[1]:
            return 0        # not a pong, or replies joined to one that begins with a pong
        self.size += PyBytes_GET_SIZE(frame) - PyBytes_GET_SIZE(<object>item.frame)
        Py_DECREF(<object>item.frame)
        item.frame = <PyObject*>frame
        Py_INCREF(frame)
        return 1
