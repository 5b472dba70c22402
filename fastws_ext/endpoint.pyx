"""What many connections share: the endpoint of a path, the ingress of a listener."""


def ignore(*arguments):
    """The callback of an endpoint that was given none."""


cdef class Endpoint:
    def __init__(self, LoopData loop_data not None, str path not None, *, max_message_size=65536, max_fragments=1024,
                 max_outbox=1048576, ping_interval=25.0, ping_timeout=10.0, message_timeout=60.0, close_timeout=5.0,
                 on_open=ignore, on_message=ignore, on_send=None, on_close=ignore, on_result=ignore,
                 on_error=ignore, on_deadline=ignore, on_drain=ignore, on_slow=ignore, law_factory=None, compress=None,
                 inflate=None):
        self.loop_data = loop_data
        self.path = path
        self.max_message_size = min(max_message_size or 0x7FFFFFFF, 0x7FFFFFFF)
        self.max_fragments = min(max_fragments, 0x7FFFFFFF)
        self.max_outbox = max_outbox or 0x7FFFFFFFFFFFFFFF
        self.ping_ticks = loop_data.ticks(ping_interval) if ping_interval > 0 else 0
        self.pong_ticks = loop_data.ticks(ping_timeout) if ping_timeout > 0 else 0
        self.message_ticks = loop_data.ticks(message_timeout) if message_timeout > 0 else 0
        self.close_ticks = loop_data.ticks(close_timeout) if close_timeout > 0 else 0
        self.on_open = on_open
        self.on_message = on_message
        self.on_send = on_send
        self.on_close = on_close
        self.on_result = on_result
        self.on_error = on_error
        self.on_deadline = on_deadline
        self.on_drain = on_drain
        self.on_slow = on_slow
        self.law_factory = law_factory
        self.compress = compress
        self.inflate = inflate
        self.closed = {}

    @property
    def dropped(self):
        """Frames that were queued and will not be sent, for whatever reason."""
        return self.dropped_oldest + self.dropped_conflated + self.dropped_slow + self.dropped_ended

    @property
    def rtt(self):
        """Ping round trips: ([count under 1 ms, under 2 ms, under 4 ms, ...], sum of seconds)."""
        return [self.rtt_counts[i] for i in range(RTT_BUCKETS)], self.rtt_sum_s

    cdef void count_rtt(self, int64_t ns) noexcept:
        cdef int64_t ms = ns // 1000000
        cdef int bucket = 0
        while ms and bucket < RTT_BUCKETS - 1:
            ms >>= 1
            bucket += 1
        self.rtt_counts[bucket] += 1
        self.rtt_sum_s += ns / 1e9


cdef class Ingress:
    def __init__(self, LoopData loop_data not None, *, double handshake_timeout=3.0):
        self.loop_data = loop_data
        self.on_loop_transports = set()
        self.handshake_ticks = loop_data.ticks(handshake_timeout) if handshake_timeout > 0 else 0

    cdef Py_ssize_t receive_head(self, Scheduled wire, const uint8_t* p, Py_ssize_t n) except -1:
        raise NotImplementedError

    def on_request(self, conn, data):
        raise NotImplementedError

    def on_handshake_timeout(self, conn):
        """Nothing is answered unless the layer above does; TCP is closed after this. True grants the time once more."""

    def on_lost(self, conn):
        """Nothing to do unless the layer above keeps something for connections that are not open yet."""

    def on_released(self, conn):
        """Nothing to do unless the layer above counts sockets. Returns the session that the connection keeps."""


cdef class Gathering:
    cdef int catch_up(self, uint32_t index) except -1:
        raise NotImplementedError

    cdef int vacate(self, uint32_t index) except -1:
        raise NotImplementedError

    cdef void forget(self, uint32_t index, uint8_t codec) noexcept:
        pass
