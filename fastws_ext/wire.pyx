"""The asyncio Protocol of one connection: HTTP stage, decoder, outbox, heartbeat, close handshake.

The decoder handles the frames that need no judgement: those of uncompressed messages in their order, compressed
messages that arrive whole and are right, pings, pongs and the usual close. Every other frame goes to a state machine
(the *law*) that `endpoint.law_factory` makes when such a frame arrives and that is dropped when the connection is back
between messages.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy
from .endpoint cimport Endpoint
from .flow cimport Flow
from .frames cimport (BROKEN, FOR_LAW, FRAGMENT, INCOMPLETE, OP_BINARY, OP_CLOSE, OP_CONTINUATION, OP_PING, OP_PONG,
                      OP_TEXT, PLAIN, UTF8_REJECT, Header, fastws_unmask, frame_from, parse_header, text_from)
from .loop_data cimport IN_RUN, LoopData, TICK_NS, monotonic_ns
from .sender cimport (CLOSING, F_BLOCKED, F_DECIDING, F_EOF, F_LONG, F_MORE, F_PAUSED, F_PING_OUT, F_READING, F_RTT,
                      FRAMES_PER_TURN, HANDSHAKING, LAW_COST, LINGER_BYTES, LINGERING, OPEN, SLOW_NS)

cdef class Wire(Lifecycle):
    cdef int arrived(self, const uint8_t* p, Py_ssize_t n) except -1:
        """A transport of the loop has read `n` bytes; `p` is valid only inside this call."""
        cdef LoopData loop = self.ingress.loop_data
        cdef bint outer = not loop.in_pass
        if self.flags & F_READING or loop.current != NULL:
            # A handler made a transport deliver more (TLS does so when it is closed): not before what is being read is
            # parsed, whose replies wait in the scratch of the loop.
            loop.loop.call_soon(self.data_received, PyBytes_FromStringAndSize(<const char*>p, n))
            return 0
        if outer:
            loop.begin_pass()
        try:
            self.receive(p, n)
        except BaseException as error:
            self.broken(error)
        finally:
            if outer:
                loop.end_pass(False)
        return 0

    cdef int broken(self, error) except -1:
        """Reading failed in us and not in a handler: this connection goes, and nothing of it stays with the loop."""
        cdef LoopData loop = self.ingress.loop_data
        self.flags &= ~F_READING
        loop.current = NULL
        loop.scratch_used = 0
        loop.report(error, self)
        self.abort()
        return 0

    cdef int receive(self, const uint8_t* p, Py_ssize_t n) except -1:
        """`n` bytes have arrived; `p` is valid only inside this call."""
        self.last_seen = self.ingress.loop_data.now_tick
        self.flags &= ~F_PING_OUT
        if self.state >= LINGERING:
            return self.discard(n)
        if self.state == OPEN and self.yields(p[0]):
            self.need_flow().append(p, n)
            self.link.hold(True)
            return self.ingress.loop_data.mark(self, IN_RUN)
        return self.take(p, n)

    cdef bint yields(self, uint8_t first) noexcept:
        """Whether these bytes wait for a turn of their own, so that a peer who has one quick message goes first.

        That is so for whoever used up the last turn while others wait as well, and for those who leave when many do.
        """
        cdef LoopData loop = self.ingress.loop_data
        if first == (128 | OP_CLOSE) and self.flow is None:
            loop.leaving += 1
            return loop.leaving > LEAVING_PER_PASS and loop.run.end - loop.run.head < LEAVING_LATER
        return self.flags & F_LONG and loop.run.head < loop.run.end

    cdef int on_run(self) except -1:
        """Go on with bytes that an earlier pass left."""
        if self.state < LINGERING and not self.flags & (F_PAUSED | F_DECIDING):
            try:
                self.take(NULL, 0)
            except BaseException as error:
                self.broken(error)
        if self.link is not None and (self.state >= LINGERING or not self.flags & F_MORE):
            self.link.hold(False)
        return 0

    cdef int take(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef LoopData loop = self.ingress.loop_data
        cdef Flow flow = self.flow
        cdef Py_ssize_t used
        cdef int64_t now
        cdef bint goes_on = self.flags & F_MORE
        self.flags = (self.flags | F_READING) & ~F_MORE
        if self.outbox is None and not self.flags & F_BLOCKED:
            loop.current = <PyObject*>self
        if flow is not None and flow.raw_end > flow.raw_start:
            if n:
                flow.append(p, n)
            used = self.consume(flow.raw + flow.raw_start, flow.raw_end - flow.raw_start)
            flow.raw_start += used
            if flow.raw_start == flow.raw_end:
                flow.raw_start = flow.raw_end = 0
        elif n:
            used = self.consume(p, n)
            if used < n and self.state < LINGERING:
                self.need_flow().append(p + used, n - used)
        self.flags &= ~F_READING
        if loop.current == <PyObject*>self:
            loop.current = NULL
            if loop.scratch_used:
                self.spill()
        if self.flags & F_MORE:
            loop.mark(self, IN_RUN)
            if self.link is not None:
                self.link.hold(True)
        elif not goes_on:
            self.flags &= ~F_LONG
        if self.flow is not None and self.flow.idle():
            self.flow = None
        if self.state == LINGERING:
            self.linger()
        elif self.flags & F_EOF and not self.flags & (F_MORE | F_PAUSED | F_DECIDING):
            self.peer_eof()     # it came while bytes were still to be parsed
        now = monotonic_ns()
        if now - loop.looked_ns > SLOW_NS and self.endpoint is not None:
            self.endpoint.on_slow(self, (now - loop.looked_ns) / 1e9)
        loop.looked_ns = now
        return 0

    cdef Py_ssize_t consume(self, const uint8_t* p, Py_ssize_t n) except -1:
        """Parse what can be parsed now; returns the bytes used. F_MORE is set if only time was lacking."""
        cdef LoopData loop = self.ingress.loop_data
        cdef Py_ssize_t i = 0, used
        cdef int budget = FRAMES_PER_TURN, look_at = FRAMES_PER_TURN - 1
        cdef int64_t now, turn_ns = loop.pass_ns // TURNS_PER_PASS
        cdef bint slow
        while i < n:
            if self.state == OPEN:
                if self.flags & F_PAUSED:
                    break
                if budget <= look_at:
                    # A look at the clock costs a twentieth of a quick frame: after the first, while they are slow
                    # after each, else now and then.
                    now = monotonic_ns()
                    if budget <= 0 or now - loop.looked_ns > turn_ns:
                        self.flags |= F_MORE | F_LONG
                        break
                    if now > loop.pass_deadline_ns:
                        self.flags |= F_MORE
                        break
                    slow = now - loop.looked_ns > QUICK_NS * (FRAMES_PER_TURN - budget)
                    look_at = budget - 1 if slow else max(budget - LOOK_EVERY, 0)
                used = self.one_frame(p + i, n - i, &budget)
            elif self.state == HANDSHAKING:
                if self.flags & F_DECIDING:
                    break
                used = self.ingress.receive_head(self, p + i, n - i)
            elif self.state == CLOSING:
                used = self.skip_to_close(p + i, n - i)
            else:
                return n
            if not used:
                break
            i += used
        return i

    cdef Py_ssize_t one_frame(self, const uint8_t* p, Py_ssize_t n, int* budget) except -1:
        cdef Header header
        cdef Flow flow = self.flow
        cdef object message
        cdef const uint8_t* payload
        cdef Py_ssize_t size
        cdef int said
        if flow is not None:
            if flow.in_frame:
                budget[0] -= LOOK_EVERY if flow.final else 1
                return self.continue_frame(p, n)
            if flow.law is not None or flow.law_left:
                budget[0] -= LAW_COST
                return self.ask_law(p, n)
        said = parse_header(p, n, &header)
        if said == FRAGMENT or (flow is not None and flow.opcode and header.size and not header.opcode & 8
                                and said != FOR_LAW):
            budget[0] -= LOOK_EVERY if p[0] & 128 else 1      # a look at the clock after a handler's turn
            return self.fragment(p, n, &header)
        if said != PLAIN or (header.length > self.max_message_size and not header.opcode & 8):
            if said == INCOMPLETE and (not header.size or header.opcode & 8 or header.length <= self.max_message_size):
                return 0
            if said == FOR_LAW:
                size = self.usual_close(p, n, &header) if header.opcode == OP_CLOSE else self.compressed(p, n, &header)
                if size:
                    budget[0] -= 1
                    return size
            budget[0] -= LAW_COST
            return self.ask_law(p, n)
        budget[0] -= 1
        payload = p + header.size
        if header.length > <uint64_t>(n - header.size):
            if header.opcode & 8:
                return 0
            flow = self.need_flow()
            flow.open_message(header.opcode)
            flow.open_frame(header.key, header.length, True)
            self.await_rest()
            return header.size + (self.continue_frame(payload, n - header.size) if n > header.size else 0)
        size = <Py_ssize_t>header.length
        if header.opcode == OP_BINARY:
            message = PyBytes_FromStringAndSize(NULL, size)
            fastws_unmask(<uint8_t*>PyBytes_AS_STRING(message), payload, size, header.key, 0)
            self.deliver(message, size)
        elif header.opcode == OP_TEXT:
            message = text_from(payload, size, header.key)
            if message is None:
                self.fail(1007, "bad UTF-8")
            else:
                self.deliver(message, size)
        else:
            message = PyBytes_FromStringAndSize(NULL, size)
            fastws_unmask(<uint8_t*>PyBytes_AS_STRING(message), payload, size, header.key, 0)
            self.act(header.opcode, message)
        return header.size + size

    cdef Py_ssize_t usual_close(self, const uint8_t* p, Py_ssize_t n, Header* header) except -1:
        """The close frame that nearly everybody sends, handled without the law (25 times quicker, which matters when
        many leave at once); 0 if it is not that one.
        """
        cdef uint8_t payload[125]
        cdef Py_ssize_t size = <Py_ssize_t>header.length
        cdef int code = 1005
        cdef object reason = ""
        if p[0] != (128 | OP_CLOSE) or not p[1] & 128 or size == 1 or n < header.size + size:
            return 0
        if size:
            fastws_unmask(payload, p + header.size, size, p + header.size - 4, 0)
            code = payload[0] << 8 | payload[1]
            if code != 1000 and code != 1001 and not 3000 <= code <= 4999:
                return 0
            try:
                reason = PyUnicode_DecodeUTF8(<char*>payload + 2, size - 2, "strict")
            except UnicodeDecodeError:
                return 0
        self.act(OP_CLOSE, (code, reason))
        return header.size + size

    cdef Py_ssize_t compressed(self, const uint8_t* p, Py_ssize_t n, Header* header) except -1:
        """A compressed message in one frame, all of it here (RFC 7692); 0 if it is not that, or not right."""
        cdef Py_ssize_t size
        cdef bytes payload
        cdef object message
        if not self.window_bits or self.endpoint.inflate is None or (self.flow is not None and self.flow.opcode):
            return 0
        if p[0] != (192 | OP_TEXT) and p[0] != (192 | OP_BINARY) or not p[1] & 128:
            return 0
        if header.length > self.max_message_size or n < header.size + <Py_ssize_t>header.length:
            return 0
        size = <Py_ssize_t>header.length
        if header.size > 6 and size < 126 or header.size > 8 and size < 65536:
            return 0            # a length is written as short as it can be
        payload = PyBytes_FromStringAndSize(NULL, size)
        fastws_unmask(<uint8_t*>PyBytes_AS_STRING(payload), p + header.size, size, p + header.size - 4, 0)
        message = self.endpoint.inflate(payload, header.opcode == OP_TEXT, self.max_message_size)
        if message is None:
            return 0
        self.act(header.opcode, message)
        return header.size + size

    cdef Py_ssize_t fragment(self, const uint8_t* p, Py_ssize_t n, Header* header) except -1:
        """A frame of a plain message that has several (RFC 6455 5.4), and what is refused by its header alone."""
        cdef Flow flow = self.need_flow()
        cdef uint32_t most = self.endpoint.max_fragments
        if not flow.opcode and (header.opcode == OP_CONTINUATION or header.length > self.max_message_size):
            return self.ask_law(p, n)
        if flow.opcode:
            if header.opcode != OP_CONTINUATION:
                self.fail(1002, "protocol")
                return n
            if (most and flow.frames >= most) or header.length + flow.message_used > self.max_message_size:
                self.fail(1009, "too big")
                return n
        if n < header.size:
            return 0
        if not flow.opcode:
            flow.open_message(header.opcode)
            self.await_rest()
        flow.open_frame(header.key, header.length, p[0] & 128)
        return header.size + self.continue_frame(p + header.size, n - header.size)

    cdef int await_rest(self) except -1:
        """The message in progress has to be complete in time."""
        cdef Flow flow = self.flow
        if self.endpoint.message_ticks and not flow.message_due:
            flow.message_due = self.ingress.loop_data.now_tick + self.endpoint.message_ticks
            self.reschedule()
        return 0

    cdef Py_ssize_t continue_frame(self, const uint8_t* p, Py_ssize_t n) except -1:
        """Payload of a frame of a message that comes in pieces."""
        cdef Flow flow = self.flow
        cdef Py_ssize_t used = flow.feed(p, n), size
        cdef object message
        if flow.utf8 == UTF8_REJECT:
            self.fail(1007, "bad UTF-8")
        elif flow.final and not flow.in_frame:
            size = flow.message_used
            message = flow.finish()
            flow.message_due = 0
            if message is None:
                self.fail(1007, "bad UTF-8")
            else:
                self.deliver(message, size)
        return used

    cdef Py_ssize_t ask_law(self, const uint8_t* p, Py_ssize_t n) except -1:
        """Hand over bytes of one frame, and never a byte past it."""
        cdef Flow flow = self.need_flow()
        cdef Header header
        cdef int said
        cdef Py_ssize_t take = n
        if not flow.law_left:
            said = parse_header(p, n, &header)
            if said == BROKEN:
                take = 2
            elif not header.size:
                if said == INCOMPLETE:
                    return 0
            elif not header.length >> 62:
                flow.law_left = header.size + header.length
        if flow.law_left:
            if flow.law_left < <uint64_t>n:
                take = <Py_ssize_t>flow.law_left
            flow.law_left -= take
        events = ()
        violation = None
        try:
            if flow.law is None:
                flow.law = self.need_law()
            events = flow.law.receive_data(PyBytes_FromStringAndSize(<const char*>p, take))
        except Exception as error:
            violation = error
        for opcode, payload in events:
            self.act(opcode, payload)
        if self.state != OPEN:
            flow.law = None
        if violation is not None:
            code = getattr(violation, "code", 0)
            if code:
                self.fail(code, violation.reason)
            else:
                self.failed(violation, "law")
        elif flow.law is not None and not flow.law_left and flow.law.idle:
            flow.law = None
            flow.message_due = 0
        elif self.state == OPEN:
            self.await_rest()
        return take

    cdef object need_law(self):
        """A state machine that knows of the message in progress."""
        cdef Flow flow = self.flow
        cdef uint32_t size = self.max_message_size, frames = self.endpoint.max_fragments
        if not flow.opcode:
            return self.endpoint.law_factory(size, frames, self.window_bits)
        # Between its frames only a control frame is legal, and none of them looks at what the message holds. What is
        # left of the limits decides whether anything else is too big or malformed: a frame of one byte stands for all
        # that came, and a limit of 0 would be none.
        law = self.endpoint.law_factory(size - <uint32_t>flow.message_used + 1,
                                        frames - flow.frames + 1 if frames else 0, self.window_bits)
        law.receive_data(bytes((flow.opcode, 129, 0, 0, 0, 0, 97)))
        return law

    cdef int act(self, int opcode, object payload) except -1:
        """One event: opcode and its payload, as the law and the decoder both report them."""
        cdef bytes data
        if self.state != OPEN:
            return 0
        if opcode == OP_TEXT:
            return self.deliver(payload, len(payload) if payload.isascii() else len(payload.encode()))
        if opcode == OP_BINARY:
            return self.deliver(payload, PyBytes_GET_SIZE(payload))
        if opcode == OP_CLOSE:
            code, reason = payload
            self.end_with(code, reason)
            self.state = LINGERING
            return self.put_close(code, "")
        data = payload
        if opcode == OP_PING:
            return self.on_ping(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return self.on_pong(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int deliver(self, object message, Py_ssize_t size) except -1:
        cdef Endpoint endpoint = self.endpoint
        cdef object value
        endpoint.messages_in += 1
        endpoint.bytes_in += size
        try:
            value = endpoint.on_message(self, message)
            if value is not None:
                endpoint.on_result(self, value)
        except BaseException as error:
            self.failed(error, "message")
        return 0

    cdef int on_ping(self, const char* p, Py_ssize_t n) except -1:
        """RFC 6455 5.5.2. While the socket is full only the latest ping is answered."""
        if self.flags & F_BLOCKED and self.outbox is not None:
            if self.outbox.replace_last_pong(frame_from(128 | OP_PONG, p, n)):
                return 0
        self.put(128 | OP_PONG, p, n)
        return 0

    cdef int on_pong(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef int64_t sent = 0, now
        self.endpoint.pongs_received += 1
        if self.flags & F_RTT and n == 8:
            memcpy(&sent, p, 8)
            now = monotonic_ns()
            # The peer may have changed the stamp: not before our last ping was due, and not after now.
            if self.ingress.loop_data.start_ns + <int64_t>self.ping_at * TICK_NS <= sent <= now:
                self.flags &= ~F_RTT
                self.endpoint.count_rtt(now - sent)
        return 0

    cdef Py_ssize_t skip_to_close(self, const uint8_t* p, Py_ssize_t n) except -1:
        """After our close frame only the peer's matters; what is not a proper frame ends the wait at once."""
        cdef Flow flow = self.need_flow()
        cdef Header header
        cdef int said
        cdef Py_ssize_t used
        if flow.skip:
            used = n if <uint64_t>n < flow.skip else <Py_ssize_t>flow.skip
            flow.skip -= used
            return used
        said = parse_header(p, n, &header)
        if said == INCOMPLETE or n < header.size:
            return 0
        if said == BROKEN or header.opcode == OP_CLOSE:
            self.state = LINGERING
            return n
        flow.skip = header.length
        return header.size

    cdef int discard(self, Py_ssize_t n) except -1:
        cdef Flow flow = self.need_flow()
        flow.discarded += n
        if flow.discarded > LINGER_BYTES:
            self.lost()
        return 0
