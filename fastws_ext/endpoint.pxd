"""What many connections share: the endpoint of a path, the ingress of a listener."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from .loop_data cimport LoopData, Scheduled

cdef enum:
    RTT_BUCKETS = 16            # bucket i counts round trips under 2**i ms, the last one the rest

cdef class Endpoint:
    cdef readonly LoopData loop_data
    cdef readonly str path
    cdef readonly uint32_t max_message_size, max_fragments
    cdef readonly Py_ssize_t max_outbox
    cdef uint32_t ping_ticks, pong_ticks, message_ticks, close_ticks
    cdef public object on_open, on_message, on_send, on_close, on_result, on_error, on_deadline, on_drain, on_slow
    cdef public object law_factory, compress, inflate
    cdef public uint64_t opened, messages_in, messages_out, bytes_in, bytes_out
    cdef public uint64_t pings_sent, pongs_received, slow_consumers
    cdef public uint64_t dropped_oldest, dropped_conflated, dropped_slow, dropped_ended
    cdef uint64_t rtt_counts[RTT_BUCKETS]
    cdef double rtt_sum_s
    cdef public dict closed
    cdef void count_rtt(self, int64_t ns) noexcept

cdef class Ingress:
    cdef readonly LoopData loop_data
    cdef uint32_t handshake_ticks
    cdef public Py_ssize_t connections
    cdef set on_loop_transports     # no table owns them, and one that is not read from is held by nobody else
    cdef Py_ssize_t receive_head(self, Scheduled wire, const uint8_t* p, Py_ssize_t n) except -1

cdef class Gathering:           # base of Audience: what a closing wire takes itself out of
    cdef int catch_up(self, uint32_t index) except -1   # give what is under way to a wire that is about to leave
    cdef int vacate(self, uint32_t index) except -1
    cdef void forget(self, uint32_t index, uint8_t codec) noexcept  # the same for a wire that is being freed
