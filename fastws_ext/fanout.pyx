"""Delivery of one frame to many wires.

A publication is encoded once per codec and every wire's outbox gets a reference to the same bytes. Big audiences are
served in slices from the last place down to the first, so that members may come and go between slices: places from
`cursor` up have been served, and whoever leaves is replaced without mixing the two parts.
"""
from collections import deque

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, realloc
from .loop_data cimport monotonic_ns
from .sender cimport DROPPED, OPEN, QUEUED, SENT


cdef class Delivery(Scheduled):
    """The work list's hold on an audience with a publication in progress."""

    cdef int on_run(self) except -1:
        return self.audience.go_on()


cdef class Audience(Gathering):
    def __init__(self, LoopData loop_data not None, int policy=0):
        if not 0 <= policy <= 2:
            raise ValueError("policy is DISCONNECT 0, DROP_OLDEST 1 or CONFLATE 2")
        self.loop_data = loop_data
        self.policy = policy

    def __dealloc__(self):
        # Places are borrowed on both sides: whoever still sits here must not point at freed memory.
        cdef uint32_t i
        cdef int seat
        for i in range(self.used):
            seat = (<Wire>self.places[i].wire).seat_of(self)
            if seat >= 0:
                (<Wire>self.places[i].wire).unseat(seat)
        free(self.places)

    def __len__(self):
        return self.used

    def __contains__(self, Wire wire not None):
        return wire.seat_of(self) >= 0

    def wires(self):
        """A list of the members."""
        return [<object>self.places[i].wire for i in range(self.used)]

    def count(self, int codec):
        """How many members speak `codec`."""
        return self.codec_counts[codec] if 0 <= codec < CODECS else 0

    def add(self, Wire wire not None):
        """Let `wire` hear what is published from now on; False if it did already or is not open."""
        cdef Place* larger
        cdef uint32_t room
        if wire.state != OPEN or wire.seat_of(self) >= 0:
            return False
        if self.used == self.room:
            room = self.room * 2 if self.room else 1
            larger = <Place*>realloc(self.places, room * sizeof(Place))
            if larger == NULL:
                raise MemoryError
            self.places = larger
            self.room = room
        wire.sit(self, self.used)
        self.places[self.used].wire = <PyObject*>wire
        self.places[self.used].joined = self.published
        self.used += 1
        self.codec_counts[wire.codec & (CODECS - 1)] += 1
        return True

    def discard(self, Wire wire not None):
        """Take `wire` out; False if it was not in."""
        cdef int seat = wire.seat_of(self)
        if seat < 0:
            return False
        self.vacate(wire.seats[seat].index)
        return True

    cdef void move(self, uint32_t source, uint32_t target) noexcept:
        cdef Wire wire
        if source != target:
            self.places[target] = self.places[source]
            wire = <Wire>self.places[target].wire
            wire.seats[wire.seat_of(self)].index = target

    cdef int vacate(self, uint32_t index) except -1:
        cdef Wire wire = <Wire>self.places[index].wire
        wire.unseat(wire.seat_of(self))
        self.forget(index, wire.codec)
        return 0

    cdef void forget(self, uint32_t index, uint8_t codec) noexcept:
        cdef Place* smaller
        self.codec_counts[codec & (CODECS - 1)] -= 1
        if index < self.cursor:
            self.cursor -= 1
            self.move(self.cursor, index)
            index = self.cursor
        self.used -= 1
        self.move(self.used, index)
        if self.room >= 64 and self.used <= self.room >> 2:
            smaller = <Place*>realloc(self.places, (self.room >> 1) * sizeof(Place))
            if smaller != NULL:
                self.places = smaller
                self.room >>= 1

    def publish(self, tuple frames not None, Wire exclude=None, bytes key=None):
        """Deliver one publication; `frames[wire.codec]` goes to each member but `exclude`. See the stub."""
        cdef uint32_t members = self.used
        for frame in frames:
            if frame is not None and type(frame) is not bytes:
                raise TypeError("frames are bytes or None")
        self.published += 1
        if not members:
            return 0
        publication = (frames, exclude, key, self.published)
        if self.serving or self.delivery is not None:
            self.wait(publication, False)
            # Published faster than delivered: now the publisher pays, which slows down what it is read from.
            while not self.serving and len(self.queue) > MAX_WAITING:
                self.serve_first()
            return members
        self.cursor = members
        if not self.serve(frames, <PyObject*>exclude, key, self.published):
            self.wait(publication, True)
            self.begun = True
        if self.queue:
            self.delivery = Delivery.__new__(Delivery)
            self.delivery.audience = self
            self.loop_data.add_fan_out(self.delivery)
        return members

    cdef int wait(self, tuple publication, bint first) except -1:
        if self.queue is None:
            self.queue = deque()
        if first:
            self.queue.appendleft(publication)
        else:
            self.queue.append(publication)
        return 0

    cdef bint serve(self, tuple frames, PyObject* exclude, bytes key, uint64_t number) except -1:
        """Serve places below `cursor` for at most one pass's time; True when all are done."""
        cdef Place* place
        cdef Wire wire
        cdef int status, count = len(frames)
        cdef int64_t deadline = 0
        self.serving = True
        try:
            while self.cursor:
                self.cursor -= 1
                place = &self.places[self.cursor]
                if number <= place.joined or place.wire == exclude:
                    continue
                wire = <Wire>place.wire
                frame = frames[wire.codec] if wire.codec < count else None
                status = self.hand_over(wire, <bytes>frame, key) if frame is not None else DROPPED
                if status == SENT:
                    self.sent += 1
                elif status == QUEUED:
                    self.queued += 1
                else:
                    self.dropped += 1
                if not self.cursor & (WIRES_PER_CHECK - 1):
                    if not deadline:
                        deadline = monotonic_ns() + self.loop_data.pass_ns // 2
                    elif monotonic_ns() > deadline:
                        break
        finally:
            self.serving = False
        return not self.cursor

    cdef int hand_over(self, Wire wire, bytes frame, bytes key) except -1:
        """One member's delivery; what fails in its transport ends that member only."""
        try:
            return wire.publish(frame, self, key, self.policy)
        except Exception as error:
            self.loop_data.report(error, wire)
            wire.abort()
            return DROPPED

    cdef bint serve_first(self) except -1:
        """Continue the publication at the head of the queue; True when it is delivered and gone from there."""
        if not self.begun:
            self.begun = True
            self.cursor = self.used
        frames, exclude, key, number = self.queue[0]
        if not self.serve(frames, <PyObject*>exclude, key, number):
            return False
        self.begun = False
        self.queue.popleft()
        return True

    cdef bint go_on(self) except -1:
        """Continue the publication in progress, then those behind it; True when none is left."""
        cdef int64_t deadline = monotonic_ns() + self.loop_data.pass_ns
        while self.queue:
            if not self.serve_first():
                return False
            if self.queue and monotonic_ns() > deadline:
                return False
        self.queue = None
        self.delivery = None
        return True
