"""The sending half of a connection, and the state that all of it shares.

Everything sent is flushed once: replies to the bytes being read are joined in the loop's scratch and sent when these
are used up; everything else goes to the connection's outbox and is sent at the end of the pass.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy
from .frames cimport OP_BINARY, OP_CLOSE, OP_PING, OP_TEXT, close_frame, frame_from, write_header
from .loop_data cimport Scheduled, GATHER_SIZE, IN_DIRTY, SCRATCH_SIZE, TICK_NS
from .outbox cimport CONFLATE, DISCONNECT

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef tuple STATUSES = (0, 1, 2, 3)


def use_statuses(tuple statuses not None):
    """Let `send` return these for SENT, QUEUED, DROPPED and CLOSED: the enum of the layer above."""
    global STATUSES
    if len(statuses) != 4:
        raise ValueError("there are four statuses")
    STATUSES = statuses


cdef class Sender(Scheduled):
    def __cinit__(self, Ingress ingress not None):
        if ingress.loop_data is None:
            raise TypeError("Ingress.__init__ was not called")
        self.ingress = ingress
        ingress.loop_data.numbers += 1
        self.number = ingress.loop_data.numbers
        self.last_seen = ingress.loop_data.now_tick

    @property
    def loop_data(self):
        """What the event loop of this connection has once."""
        return self.ingress.loop_data

    @property
    def deadline(self):
        """Seconds until `endpoint.on_deadline` is called (to 0.1 s); 0 if it will not be."""
        cdef int ticks = <int>(self.user_due - self.ingress.loop_data.now_tick)
        return max(ticks, 1) * (TICK_NS / 1e9) if self.user_due else 0.0

    def __dealloc__(self):
        # Before the references go: the last of them may take the loop's wheel along, which must not find us there.
        if self.wheel_link != NULL:
            self.wheel_link[0] = self.wheel_next
            if self.wheel_next != NULL:
                (<Scheduled>self.wheel_next).wheel_link = self.wheel_link
            self.wheel_link = NULL
        for i in range(self.seat_count):
            (<Gathering>self.seats[i].gathering).forget(self.seats[i].index, self.codec)
        free(self.seats)

    def send(self, message):
        """Send one message: text for str, binary for bytes. Returns a SendStatus and never waits."""
        cdef const char* p
        cdef Py_ssize_t n
        cdef uint8_t first
        if self.state != OPEN:
            return STATUSES[GONE]
        if self.endpoint.on_send is not None:
            return self.endpoint.on_send(self, message)
        if type(message) is bytes:
            p = PyBytes_AS_STRING(message)
            n = PyBytes_GET_SIZE(message)
            first = 128 | OP_BINARY
        elif isinstance(message, str):
            p = PyUnicode_AsUTF8AndSize(message, &n)
            first = 128 | OP_TEXT
        elif isinstance(message, (bytes, bytearray, memoryview)):
            message = bytes(message)
            p = PyBytes_AS_STRING(message)
            n = PyBytes_GET_SIZE(message)
            first = 128 | OP_BINARY
        else:
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        self.endpoint.messages_out += 1
        self.endpoint.bytes_out += n
        if self.window_bits and n >= COMPRESS_FROM:
            message = self.endpoint.compress(PyBytes_FromStringAndSize(p, n), self.window_bits)
            p = PyBytes_AS_STRING(message)
            n = PyBytes_GET_SIZE(message)
            first |= 64
        return STATUSES[self.put(first, p, n)]

    def send_frame(self, bytes frame not None):
        """Send frames that are encoded already. Returns a SendStatus."""
        if self.state != OPEN:
            return STATUSES[GONE]
        self.endpoint.messages_out += 1
        self.endpoint.bytes_out += PyBytes_GET_SIZE(frame)
        return STATUSES[self.queue(frame, None, None, DISCONNECT)]

    def ping(self, bytes payload not None=b""):
        """Send a ping of at most 125 bytes."""
        if PyBytes_GET_SIZE(payload) > 125:
            raise ValueError("a ping carries at most 125 bytes")
        if self.state == OPEN:
            self.put(128 | OP_PING, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    cdef int put(self, uint8_t first, const char* p, Py_ssize_t n) except -1:
        """Send one frame: into scratch while this connection is being read, else through the outbox."""
        cdef LoopData loop = self.ingress.loop_data
        cdef uint8_t* out
        if loop.current == <PyObject*>self and self.outbox is None and n <= SCRATCH_SIZE - 10:
            if n > SCRATCH_SIZE - 10 - loop.scratch_used:
                self.spill()
                if self.state == CLOSED:
                    return GONE
            if self.outbox is None:
                out = loop.scratch + loop.scratch_used
                out += write_header(out, first, n)
                memcpy(out, p, n)
                loop.scratch_used = out + n - loop.scratch
                return SENT
        return self.queue(frame_from(first, p, n), None, None, DISCONNECT)

    cdef int put_close(self, int code, str reason) except -1:
        cdef bytes frame = close_frame(code, reason)
        return self.put(128 | OP_CLOSE, PyBytes_AS_STRING(frame) + 2, PyBytes_GET_SIZE(frame) - 2)

    cdef int spill(self) except -1:
        """Send what is in scratch; what the socket does not take becomes the outbox."""
        cdef LoopData loop = self.ingress.loop_data
        cdef Py_ssize_t used = loop.scratch_used, n
        loop.scratch_used = 0
        if self.link is None or self.state == CLOSED:
            return 0
        n = self.link.send_some(<const char*>loop.scratch, used)
        if n < 0:
            return self.lost()
        if n < used:
            self.keep_rest(PyBytes_FromStringAndSize(<const char*>loop.scratch, used), n,
                           None, None)
        return 0

    cdef int keep_rest(self, bytes data, Py_ssize_t sent, object topic, bytes key) except -1:
        """The socket took only `sent` bytes of `data`; nothing else is queued.

        Queued whole, so that the outbox knows it as begun: what follows a frame that is half sent is its other half.
        """
        self.outbox = Outbox.__new__(Outbox)
        self.outbox.push(data, topic, key)
        self.outbox.advance(sent)
        if self.outbox.size > HIGH_WATER:
            self.flags |= F_HIGH
        return self.block()

    cdef int queue(self, bytes frame, object topic, bytes key, int policy) except -1:
        """Queue frames for the end of the pass, or for the socket if it is full; returns a SendStatus.

        A frame that does not fit is answered by the policy of its topic, which may drop queued publications of that
        topic only; everything else that does not fit ends the connection with 4003. Any frame fits an empty outbox.
        """
        cdef LoopData loop = self.ingress.loop_data
        cdef Py_ssize_t n = PyBytes_GET_SIZE(frame), excess, dropped
        if self.link is None or self.state == CLOSED:
            return GONE
        if loop.current == <PyObject*>self and self.outbox is None:
            if n <= SCRATCH_SIZE - loop.scratch_used:
                memcpy(loop.scratch + loop.scratch_used, PyBytes_AS_STRING(frame), n)
                loop.scratch_used += n
                return SENT
            self.spill()
            if self.state == CLOSED:
                return GONE
        if self.state == OPEN and self.outbox is not None and self.outbox.cost(n) > self.endpoint.max_outbox:
            if not self.flags & F_BLOCKED:
                self.flush()        # only the pass was not over yet: the socket may have room
                if self.state != OPEN:
                    return GONE     # lost, or closed by on_drain: nothing follows a close frame
            if self.outbox is not None and self.outbox.cost(n) > self.endpoint.max_outbox:
                excess = self.outbox.cost(n) - self.endpoint.max_outbox
                dropped = self.outbox.make_room(excess, topic, policy, key) if policy != DISCONNECT else 0
                if policy == CONFLATE:
                    self.endpoint.dropped_conflated += dropped
                else:
                    self.endpoint.dropped_oldest += dropped
                if self.outbox.cost(n) > self.endpoint.max_outbox:
                    return self.too_slow()
        self.push(frame, topic, key)
        if self.flags & F_BLOCKED:
            return QUEUED
        loop.mark(self, IN_DIRTY)
        return SENT

    cdef int push(self, bytes frame, object topic, bytes key) except -1:
        if self.outbox is None:
            self.outbox = Outbox.__new__(Outbox)
        self.outbox.push(frame, topic, key)
        if self.outbox.size > HIGH_WATER:
            self.flags |= F_HIGH
        return 0

    cdef int too_slow(self) except -1:
        """The peer does not read as fast as it is sent to: frames not begun are discarded, the close frame follows."""
        self.endpoint.slow_consumers += 1
        self.endpoint.dropped_slow += self.outbox.discard_unsent()
        self.flags |= F_RESET
        self.end(4003, "slow_consumer")
        return GONE

    cdef int block(self) except -1:
        if not self.flags & F_BLOCKED:
            self.flags |= F_BLOCKED
            self.link.want_write(True)
        return 0

    cdef int unblock(self) except -1:
        if self.flags & F_BLOCKED:
            self.flags &= ~F_BLOCKED
            self.link.want_write(False)
        return 0

    cdef int on_dirty(self) except -1:
        if not self.flags & F_BLOCKED:
            try:
                self.flush()
            except BaseException as error:
                self.ingress.loop_data.report(error, self)
                self.lost()
        return 0

    cdef int flush(self) except -1:
        """Send what is queued until the socket is full; others have their turn after FLUSH_BYTES."""
        cdef LoopData loop = self.ingress.loop_data
        cdef Outbox outbox
        cdef Py_ssize_t asked, n, total = 0
        cdef bytes frame
        while self.outbox is not None and self.link is not None and self.state != CLOSED:
            outbox = self.outbox
            if outbox.count == 0:
                return self.emptied()
            frame = <bytes>outbox.items[outbox.head].frame
            asked = PyBytes_GET_SIZE(frame) - outbox.sent
            if outbox.count == 1 or asked >= GATHER_SIZE:
                n = self.link.send_some(PyBytes_AS_STRING(frame) + outbox.sent, asked)
            else:
                asked = outbox.gather(<char*>loop.gather, GATHER_SIZE)
                n = self.link.send_some(<const char*>loop.gather, asked)
            if n < 0:
                return self.lost()
            outbox.advance(n)
            total += n
            if n < asked:
                self.block()
                break
            if total >= FLUSH_BYTES and outbox.count:
                self.unblock()
                loop.mark(self, IN_DIRTY)
                break
        if self.flags & F_HIGH and self.outbox is not None and self.outbox.size <= LOW_WATER:
            self.drained()
        return 0

    cdef int emptied(self) except -1:
        self.outbox = None
        self.unblock()
        if self.flags & F_HIGH:
            self.drained()
        if self.state == LINGERING:
            self.linger()
        return 0

    cdef int drained(self) except -1:
        """Tell the layer above that it may send again; asked for by those who wait in `drain`."""
        self.flags &= ~F_HIGH
        if self.endpoint is not None and self.state == OPEN:
            try:
                self.endpoint.on_drain(self)
            except BaseException as error:
                self.failed(error, "drain")
        return 0

    cdef int send_now(self, bytes frame, object topic, bytes key) except -1:
        """Send whole frames while nothing is queued and nothing of this connection is being read: for audiences, which
        have joined what is to be sent in this pass. Returns a SendStatus.
        """
        cdef Py_ssize_t n
        if self.link is None or self.state == CLOSED:
            return GONE
        n = self.link.send_some(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
        if n < 0:
            self.lost()
            return GONE
        if n < PyBytes_GET_SIZE(frame):
            self.keep_rest(frame, n, topic, key)
        return SENT if n else QUEUED

    # Seats in audiences: each side knows where it stands with the other, so leaving costs no search.

    cdef int sit(self, Gathering gathering, uint32_t index) except -1:
        """Note that this wire is at `index` of `gathering`; returns the number of the seat."""
        cdef Seat* larger
        cdef uint32_t room
        if self.seat_count == self.seat_room:
            room = min(self.seat_room * 2, 0xFFFF) if self.seat_room else 1
            if room == self.seat_count:
                raise OverflowError("a connection joins at most 65,535 topics")
            larger = <Seat*>realloc(self.seats, room * sizeof(Seat))
            if larger == NULL:
                raise MemoryError
            self.seats = larger
            self.seat_room = room
        self.seats[self.seat_count].gathering = <PyObject*>gathering
        self.seats[self.seat_count].index = index
        self.seat_count += 1
        return self.seat_count - 1

    cdef int seat_of(self, Gathering gathering) noexcept:
        """The seat this wire has there, or -1. The last one is found first: that is the one who leaves all gives up."""
        cdef int seat
        for seat in range(self.seat_count - 1, -1, -1):
            if self.seats[seat].gathering == <PyObject*>gathering:
                return seat
        return -1

    cdef int unseat(self, int seat) noexcept:
        """Give up a seat. The last one takes its number; returns 1 if one did. A past of many topics costs nothing."""
        cdef Seat* smaller
        cdef bint moved
        self.seat_count -= 1
        moved = seat != self.seat_count
        if moved:
            self.seats[seat] = self.seats[self.seat_count]
        if not self.seat_count:
            free(self.seats)
            self.seats = NULL
            self.seat_room = 0
        elif self.seat_room >= 8 and self.seat_count <= self.seat_room >> 2:
            smaller = <Seat*>realloc(self.seats, (self.seat_room >> 1) * sizeof(Seat))
            if smaller != NULL:
                self.seats = smaller
                self.seat_room >>= 1
        return moved

    cdef int catch_up(self) except -1:
        """Hear what was published before now and is still under way; for a connection that is about to leave."""
        cdef int seat = 0
        while seat < self.seat_count and self.state == OPEN:
            (<Gathering>self.seats[seat].gathering).catch_up(self.seats[seat].index)
            seat += 1
        return 0

    cdef int leave_all(self) except -1:
        while self.seat_count:
            (<Gathering>self.seats[self.seat_count - 1].gathering).vacate(self.seats[self.seat_count - 1].index)
        return 0

    cdef Flow need_flow(self):
        if self.flow is None:
            self.flow = Flow.__new__(Flow)
        return self.flow

    cdef int end(self, int code, str reason) except -1:
        raise NotImplementedError

    cdef int lost(self) except -1:
        raise NotImplementedError

    cdef int linger(self) except -1:
        raise NotImplementedError

    cdef int failed(self, error, str where) except -1:
        raise NotImplementedError
