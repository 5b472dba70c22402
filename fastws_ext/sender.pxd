"""The sending half of a connection, and the state that all of it shares."""
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from .endpoint cimport Endpoint, Gathering, Ingress
from .flow cimport Flow
from .link cimport Link
from .loop_data cimport LoopData, Scheduled
from .outbox cimport Outbox

cdef enum State:
    HANDSHAKING = 0
    OPEN = 1
    CLOSING = 2         # our close frame is sent or queued, the peer's is awaited
    LINGERING = 3       # nothing more is said; what the peer still sends is discarded
    CLOSED = 4

cdef enum Status:       # of a send; types.SendStatus
    SENT = 0
    QUEUED = 1
    DROPPED = 2
    GONE = 3

cdef enum Flag:
    F_PAUSED = 1        # reading is paused by the layer above
    F_DECIDING = 2      # the HTTP stage waits for a decision of the layer above
    F_BLOCKED = 4       # the socket is full; it tells when it is not
    F_HIGH = 8          # the outbox passed the high watermark and has not fallen below the low one
    F_PING_OUT = 16     # nothing was heard since our ping
    F_RTT = 32          # the pong of that ping is still to be timed
    F_EOF = 64          # the peer has sent all it will
    F_OPENED = 128      # on_open was called, so on_close will be
    F_SHUT = 256        # our FIN is sent
    F_RESET = 512       # close with RST
    F_READING = 1024    # inside receive
    F_FINISHED = 4096   # taken apart
    F_MORE = 2048       # parsing stopped for want of time, not of bytes
    F_LONG = 8192       # it used up its last turn

cdef enum:
    HIGH_WATER = 65536
    LOW_WATER = 16384
    FRAMES_PER_TURN = 128       # of one connection, before others have theirs
    LAW_COST = 16               # frames that one frame under the law counts for
    LINGER_BYTES = 262144
    LINGER_TICKS = 20
    FLUSH_BYTES = 1048576       # sent to one socket before others have their turn
    SLOW_NS = 50000000          # the bytes of one read, handlers included, should not take longer
    COMPRESS_FROM = 128         # bytes; below it deflate costs more than it saves

cdef packed struct Seat:        # one subscription: where this wire stands in an audience; 12 bytes
    PyObject* gathering         # borrowed; an audience outlives its wires' seats
    uint32_t index

cdef class Sender(Scheduled):
    # 160 bytes with the object header and the links of Scheduled; the subclasses add no field.
    cdef Link link
    cdef Ingress ingress        # and through it what the loop has once
    cdef readonly Endpoint endpoint
    cdef public object session
    cdef Outbox outbox
    cdef Flow flow
    cdef Seat* seats
    cdef readonly uint64_t number
    cdef uint32_t last_seen     # tick of the last inbound byte
    cdef uint32_t ping_ticks    # this connection's interval; 0 no heartbeat
    cdef uint32_t ping_at       # tick of our unanswered ping
    cdef uint32_t user_due      # deadline of the layer above; 0 none
    cdef public uint32_t max_message_size
    cdef uint16_t flags, seat_count, seat_room, code
    cdef readonly uint8_t state
    cdef public uint8_t codec
    cdef uint8_t window_bits

    cdef int put(self, uint8_t first, const char* p, Py_ssize_t n) except -1
    cdef int put_close(self, int code, str reason) except -1
    cdef int spill(self) except -1
    cdef int queue(self, bytes frame, object topic, bytes key, int policy) except -1
    cdef int send_now(self, bytes frame, object topic, bytes key) except -1
    cdef int keep_rest(self, bytes data, Py_ssize_t sent, object topic, bytes key) except -1
    cdef int catch_up(self) except -1
    cdef int push(self, bytes frame, object topic, bytes key) except -1
    cdef int too_slow(self) except -1
    cdef int block(self) except -1
    cdef int unblock(self) except -1
    cdef int flush(self) except -1
    cdef int emptied(self) except -1
    cdef int drained(self) except -1
    cdef int sit(self, Gathering gathering, uint32_t index) except -1
    cdef int seat_of(self, Gathering gathering) noexcept
    cdef int unseat(self, int seat) noexcept
    cdef int leave_all(self) except -1
    cdef Flow need_flow(self)
    # Of the life cycle, for the sending half to call.
    cdef int end(self, int code, str reason) except -1
    cdef int lost(self) except -1
    cdef int linger(self) except -1
    cdef int failed(self, error, str where) except -1
