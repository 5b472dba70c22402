"""A connection from accept to the end of its socket: HTTP stage, heartbeat, close handshake."""
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from .frames cimport OP_PING
from .link cimport LoopLink
from .loop_data cimport IN_FINISH, IN_RUN, RECEIVE_SIZE, LoopData, monotonic_ns
from .outbox cimport DISCONNECT
from .sender cimport (CLOSED, CLOSING, F_BLOCKED, F_DECIDING, F_EOF, F_FINISHED, F_HIGH, F_OPENED, F_PAUSED,
                      F_PING_OUT, F_READING, F_RESET, F_RTT, F_SHUT, HANDSHAKING, LINGER_TICKS, LINGERING, OPEN)


cdef class Lifecycle(Sender):
    def connection_made(self, transport):
        """asyncio's side of the Protocol: the connection runs on a transport of the event loop."""
        self.attach(LoopLink(transport))
        self.ingress.on_loop_transports.add(self)

    def data_received(self, data):
        """asyncio's side of the Protocol."""
        cdef bytes chunk = bytes(data)
        self.arrived(<const uint8_t*>PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk))

    def get_buffer(self, size_hint):
        """asyncio's side of the BufferedProtocol: what uvloop's transports read into, one for all connections, as all
        is taken apart before the next read. For TLS this saves 256 KiB allocated and given back for every read."""
        cdef LoopData loop = self.ingress.loop_data
        loop.lent = bytearray(RECEIVE_SIZE) if loop.lent is None or loop.lent_in_use else loop.lent
        return loop.lent

    def buffer_updated(self, Py_ssize_t size):
        """asyncio's side of the BufferedProtocol."""
        cdef LoopData loop = self.ingress.loop_data
        cdef bytearray buffer = loop.lent
        cdef bint in_use = loop.lent_in_use
        loop.lent_in_use = True
        try:
            self.arrived(<const uint8_t*>PyByteArray_AS_STRING(buffer), size)
        finally:
            loop.lent_in_use = in_use

    def eof_received(self):
        """asyncio's side of the Protocol; True keeps our half open until everything is sent."""
        self.peer_eof()
        return isinstance(self.link, LoopLink) and (<LoopLink>self.link).half_closes

    def connection_lost(self, error):
        """asyncio's side of the Protocol."""
        self.flags &= ~F_RESET      # nothing is left to reset, and asyncio's transport would raise
        self.lost()

    def pause_writing(self):
        """asyncio's side of the Protocol."""
        if isinstance(self.link, LoopLink):
            (<LoopLink>self.link).full = True

    def resume_writing(self):
        """asyncio's side of the Protocol."""
        if isinstance(self.link, LoopLink):
            (<LoopLink>self.link).full = False
            if self.flags & F_BLOCKED:
                self.flush()

    cdef int arrived(self, const uint8_t* p, Py_ssize_t n) except -1:
        raise NotImplementedError

    cdef int attach(self, Link link) except -1:
        self.link = link
        self.ingress.connections += 1
        if self.ingress.handshake_ticks:
            # From accept, when this object was made; a TLS handshake may lie between.
            self.ingress.loop_data.set_due(self, self.last_seen + self.ingress.handshake_ticks)
        return 0

    def respond(self, bytes answer not None):
        """HTTP stage: answer and end the connection, letting the peer finish what it is writing."""
        if self.state != HANDSHAKING or self.link is None:
            return
        self.flags &= ~F_DECIDING
        self.state = LINGERING
        self.queue(answer, None, None, DISCONNECT)
        if not self.flags & F_READING:
            self.update_reading()
            self.linger()

    def accept(self, Endpoint endpoint not None, bytes answer not None, Py_ssize_t head_size, int window_bits=0):
        """HTTP stage: answer the upgrade; the connection is OPEN and `endpoint.on_open` has been called after this.

        `head_size` bytes of what was received belong to the request, the rest are frames.
        """
        if self.state != HANDSHAKING or self.link is None:
            return
        cdef bint reading = self.flags & F_READING
        if reading:
            self.need_flow().scanned = head_size
        elif self.flow is not None:
            self.flow.raw_start = min(self.flow.raw_start + head_size, self.flow.raw_end)
        self.open(endpoint, answer, window_bits)
        if not reading:
            self.update_reading()
            self.ingress.loop_data.mark(self, IN_RUN)

    cdef int open(self, Endpoint endpoint, bytes answer, int window_bits) except -1:
        """Become OPEN under `endpoint`; for the HTTP stage."""
        self.flags = (self.flags & ~F_DECIDING) | F_OPENED
        self.state = OPEN
        self.endpoint = endpoint
        self.window_bits = window_bits
        self.max_message_size = endpoint.max_message_size
        self.ping_ticks = endpoint.ping_ticks
        endpoint.opened += 1
        if self.ping_ticks:
            # The first ping comes at a random moment of the interval, so that a storm of connects is no storm of pings.
            self.last_seen = (self.ingress.loop_data.now_tick
                              - <uint32_t>((self.number * 2654435761ULL >> 7) % self.ping_ticks))
        self.reschedule()
        self.queue(answer, None, None, DISCONNECT)
        try:
            value = endpoint.on_open(self)
            if value is not None:
                endpoint.on_result(self, value)
        except BaseException as error:
            self.failed(error, "open")
        return 0

    def await_body(self, Py_ssize_t total):
        """HTTP stage: ask again when `total` bytes, head included, have arrived."""
        if self.state != HANDSHAKING or self.link is None:
            return
        self.flags &= ~F_DECIDING
        self.need_flow().body_end = total
        if not self.flags & F_READING:
            self.update_reading()

    def pause_reading(self):
        """Stop reading and parsing; pings are not answered meanwhile, their deadline stays.

        Does nothing once the connection is closing: the peer's close frame has to be heard.
        """
        if self.state <= OPEN:
            self.flags |= F_PAUSED
            self.update_reading()

    def resume_reading(self):
        """Go on after pause_reading."""
        self.unpause()

    cdef int unpause(self) except -1:
        if self.flags & F_PAUSED:
            self.flags &= ~F_PAUSED
            self.update_reading()
            if self.flow is not None and self.flow.raw_end > self.flow.raw_start:
                self.ingress.loop_data.mark(self, IN_RUN)
        return 0

    cdef int update_reading(self) except -1:
        if self.link is not None and not self.flags & F_EOF:
            self.link.want_read(self.state >= LINGERING or not self.flags & (F_PAUSED | F_DECIDING))
        return 0

    cdef int failed(self, error, str where) except -1:
        """A callback raised: report it and close 1011. What it had sent before is sent."""
        if self.endpoint is not None:
            try:
                self.endpoint.on_error(self, error, where)
            except BaseException as second:
                self.ingress.loop_data.report(second, self)
            self.close(1011, "internal")
        else:
            self.ingress.loop_data.report(error, self)
            self.abort()
        return 0

    def close(self, int code=1000, str reason not None=""):
        """Start the close handshake; nothing is sent after its frame. Does nothing unless OPEN."""
        if not 1000 <= code <= 4999 or code == 1004 or code == 1006 or code == 1015:
            raise ValueError("a close code is 1000 to 4999, and not 1004, 1006 or 1015, which are never sent")
        if self.seat_count:
            self.catch_up()
        self.end(code, reason)

    cdef int end(self, int code, str reason) except -1:
        if self.state != OPEN:
            return 0
        self.end_with(code, reason)
        self.state = CLOSING
        self.put_close(code, reason)
        if self.state == CLOSING:
            if self.endpoint.close_ticks:
                self.ingress.loop_data.set_due(self, self.ingress.loop_data.now_tick + self.endpoint.close_ticks)
            else:
                self.ingress.loop_data.clear_due(self)
            if self.flow is not None:
                # The rest of a frame that is under way is no header of another.
                self.flow.skip = self.flow.frame_left if self.flow.in_frame else self.flow.law_left
            self.unpause()      # the peer's close frame may be among the bytes that wait
        return 0

    def abort(self):
        """End the connection with RST, at once and without a close frame."""
        if self.state != CLOSED:
            self.flags |= F_RESET
            if not self.code:
                self.end_with(1006, "")
            self.lost()

    cdef int fail(self, int code, str reason) except -1:
        """The peer broke the protocol: say so once, then discard what it still sends."""
        if self.state == OPEN:
            self.close(code, reason)
            if self.flow is not None:
                self.flow.law = None
                self.flow.law_left = 0
                self.flow.opcode = 0
                self.flow.in_frame = False
            if self.state == CLOSING:
                self.state = LINGERING
        return 0

    cdef int end_with(self, int code, str reason) except -1:
        """Settle what `on_close` will be told, and leave every audience: nothing more is said to this peer."""
        self.code = <uint16_t>code
        if reason:
            self.need_flow().close_reason = reason
        return self.leave_all()

    cdef int linger(self) except -1:
        """The last word is queued: FIN once it is sent, then wait for the peer's FIN, a deadline or a byte limit."""
        if self.flags & F_SHUT or self.link is None:
            return 0
        self.notify()
        if self.outbox is not None:
            self.ingress.loop_data.set_due(self, self.ingress.loop_data.now_tick + self.ingress.loop_data.ticks(5))
            return 0
        self.flags |= F_SHUT
        if self.flags & F_EOF:
            return self.lost()
        self.ingress.loop_data.set_due(self, self.ingress.loop_data.now_tick + LINGER_TICKS)
        self.update_reading()
        self.link.shut_write()
        return 0

    cdef int peer_eof(self) except -1:
        """The peer has sent its FIN. What is queued for it is still flushed."""
        self.flags |= F_EOF
        if self.flow is not None and self.flow.raw_end > self.flow.raw_start and self.state < LINGERING:
            if self.queued & IN_RUN or self.flags & (F_PAUSED | F_DECIDING):
                return 0
        if self.state == OPEN:
            self.end_with(1006, "")
            self.state = LINGERING
        elif self.state == HANDSHAKING and not self.flags & F_DECIDING:
            return self.lost()
        if self.state == CLOSING:
            self.state = LINGERING
        if self.link is not None:
            self.link.want_read(False)
        if self.state == LINGERING:
            if self.flags & F_SHUT or self.outbox is None:
                return self.lost()
            self.linger()
        return 0

    cdef int lost(self) except -1:
        """The socket is of no more use; it is taken apart at the end of the pass."""
        if self.state != CLOSED:
            if self.state == OPEN:
                self.end_with(1006, "")
            self.state = CLOSED
            self.ingress.loop_data.mark(self, IN_FINISH)
        return 0

    cdef int on_finish(self) except -1:
        """Give back the socket first, then tell the layers above, then let go of everything that was theirs."""
        cdef Link link = self.link
        self.ingress.loop_data.clear_due(self)
        if link is None or self.flags & F_FINISHED:
            return 0
        self.flags |= F_FINISHED
        try:
            try:
                if self.flags & F_RESET:
                    link.reset_socket()
            finally:
                link.close_socket()
        finally:
            self.say_farewell()
        return 0

    cdef int say_farewell(self) except -1:
        """What is due when the socket is gone, whatever fails on the way."""
        session = None
        if self.outbox is not None and self.endpoint is not None:
            self.endpoint.dropped_ended += self.outbox.frames()
        self.outbox = None
        self.ingress.connections -= 1
        self.ingress.on_loop_transports.discard(self)
        try:
            try:
                if self.endpoint is None:
                    self.ingress.on_lost(self)
                self.notify()
            finally:
                session = self.ingress.on_released(self)
        finally:
            self.leave_all()
            self.link = None        # only now: the layers above may ask for the address
            self.flow = None
            self.session = session
        return 0

    cdef int notify(self) except -1:
        """Call on_close, once, if on_open was called."""
        if not self.flags & F_OPENED:
            return 0
        self.flags &= ~F_OPENED
        self.endpoint.closed[self.code] = self.endpoint.closed.get(self.code, 0) + 1
        try:
            value = self.endpoint.on_close(self, self.code, self.close_reason)
            if value is not None:
                self.endpoint.on_result(self, value)
        except BaseException as error:
            self.failed(error, "close")
        return 0

    # Heartbeat and deadlines: one link in the wheel per connection, moved lazily.

    cdef int on_due(self, uint32_t now) except -1:
        if self.state == OPEN:
            self.beat(now)
            if self.state == OPEN:
                self.reschedule()
        elif self.state == HANDSHAKING:
            granted = False
            try:
                granted = self.ingress.on_handshake_timeout(self)
            finally:
                if granted:
                    self.ingress.loop_data.set_due(self, now + self.ingress.handshake_ticks)
                elif self.state == HANDSHAKING:
                    self.lost()
        else:
            if self.link is not None and self.link.flushing():
                self.flags |= F_RESET       # closing would wait for a peer that does not read
            self.lost()
        return 0

    cdef int beat(self, uint32_t now) except -1:
        """Serve what is due: the layer above's deadline, the message in progress, the heartbeat."""
        cdef int64_t stamp
        if self.user_due and <int>(now - self.user_due) >= 0:
            self.user_due = 0
            try:
                self.endpoint.on_deadline(self)
            except BaseException as error:
                self.failed(error, "deadline")
        if self.flow is not None and self.flow.message_due and <int>(now - self.flow.message_due) >= 0:
            if self.flags & F_PAUSED:
                self.flow.message_due = now + self.endpoint.message_ticks   # it is us who do not read on
            else:
                self.close(1008, "policy")
        if self.state != OPEN or not self.ping_ticks:
            return 0
        if self.flags & F_PING_OUT:
            if now - self.ping_at >= self.endpoint.pong_ticks:
                self.close(4002, "no_pong")
        elif now - self.last_seen >= self.ping_ticks:
            self.flags |= F_RTT
            if self.endpoint.pong_ticks:
                self.flags |= F_PING_OUT
                self.ping_at = now
            else:
                self.last_seen = now        # no answer is demanded; the next ping comes an interval later
            self.endpoint.pings_sent += 1
            stamp = monotonic_ns()
            self.put(128 | OP_PING, <const char*>&stamp, 8)
        return 0

    cdef int reschedule(self) except -1:
        """Put the connection into the wheel at the next moment that anything of it is due."""
        cdef uint32_t now = self.ingress.loop_data.now_tick, wait = 0x7FFFFFFF
        if self.user_due:
            wait = min(wait, self.until(self.user_due, now))
        if self.flow is not None and self.flow.message_due:
            wait = min(wait, self.until(self.flow.message_due, now))
        if self.ping_ticks:
            if self.flags & F_PING_OUT and now - self.ping_at >= self.ping_ticks:
                wait = min(wait, self.until(self.ping_at + self.endpoint.pong_ticks, now))
            elif self.flags & F_PING_OUT:
                # An answer does not move us: come by when the next ping is due if there was one.
                wait = min(wait, self.until(self.ping_at + min(self.ping_ticks, self.endpoint.pong_ticks), now))
            else:
                wait = min(wait, self.until(self.last_seen + self.ping_ticks, now))
        if wait != 0x7FFFFFFF:
            self.ingress.loop_data.set_due(self, now + wait)
        else:
            self.ingress.loop_data.clear_due(self)
        return 0

    cdef uint32_t until(self, uint32_t tick, uint32_t now) noexcept:
        return tick - now if <int>(tick - now) > 0 else 1

    def set_deadline(self, double seconds):
        """Have `endpoint.on_deadline` called once in `seconds`, not before; 0 calls it off."""
        self.user_due = 0
        if seconds > 0:
            self.user_due = self.ingress.loop_data.tick_after(seconds)
        if self.state == OPEN:
            self.reschedule()

    def set_ping_interval(self, double seconds):
        """Ping after `seconds` without inbound traffic from now on; 0 switches the heartbeat off."""
        self.ping_ticks = self.ingress.loop_data.ticks(seconds) if seconds > 0 else 0
        if self.state == OPEN:
            self.reschedule()

    @property
    def buffered(self):
        """Bytes that wait in the outbox."""
        return self.outbox.size if self.outbox is not None else 0

    @property
    def congested(self):
        """True from 64 KiB in the outbox until it is below 16 KiB again; `endpoint.on_drain` tells when."""
        return bool(self.flags & F_HIGH)

    @property
    def transport(self):
        """The asyncio transport underneath; None when the socket is gone."""
        return self.link.facade() if self.link is not None else None

    @property
    def paused(self):
        return bool(self.flags & F_PAUSED)

    @property
    def close_code(self):
        """What `on_close` reports: the code received, or sent when we closed, or 1006; 0 while open."""
        return self.code

    @property
    def close_reason(self):
        return self.flow.close_reason or "" if self.flow is not None else ""

    @property
    def remote(self):
        """(host, port) of the TCP peer, or None for a Unix socket or when it is gone."""
        return self.link.address() if self.link is not None else None
