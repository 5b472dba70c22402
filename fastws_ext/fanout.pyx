"""Delivery of one frame to many wires.

A publication is encoded once per codec and every wire sends the same bytes. A big audience hears at the end of the
pass, and publications of one pass leave as one piece: ten of them cost each member what one costs. Audiences are served
in slices from the last place down to the first, so that members may come and go between slices: places from `cursor` up
have been served, and whoever leaves is replaced without mixing the two parts.
"""
from collections import deque

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, realloc
from .loop_data cimport monotonic_ns
from .outbox cimport DISCONNECT
from .sender cimport DROPPED, F_BLOCKED, OPEN, QUEUED, SENT


cdef tuple joined_frames(list parts, Py_ssize_t codecs):
    """For each codec its frames of all parts in one piece, or None if a part has none in it."""
    cdef list whole = []
    cdef Py_ssize_t codec
    for codec in range(codecs):
        frames = [(<tuple>(<tuple>part)[0])[codec] for part in parts]
        whole.append(None if None in frames else b"".join(frames))
    return tuple(whole)


cdef class Tally:
    pass


cdef class Delivery(Scheduled):
    """The work list's hold on an audience with a publication in progress."""

    cdef int on_run(self) except -1:
        """A slice of the delivery; 1 when nothing is left."""
        cdef Audience audience = self.audience
        cdef LoopData loop = audience.loop_data
        cdef bint done = True
        if audience.has_to_wait():
            return 0
        try:
            # A connection in several busy audiences shall not pay a system call for each of them in one pass.
            done = audience.go_on(monotonic_ns() + loop.pass_ns, len(loop.fan_outs) == 1)
        finally:
            if done:
                audience.delivery = None
        return done


cdef class Audience(Gathering):
    def __init__(self, LoopData loop_data not None, int policy=0, Tally tally=None):
        if not 0 <= policy <= 2:
            raise ValueError("policy is DISCONNECT 0, DROP_OLDEST 1 or CONFLATE 2")
        self.tally = tally if tally is not None else Tally()
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

    def wires(self, limit=None):
        """A list of the members, or of so many of them."""
        cdef uint32_t count = self.used if limit is None else min(self.used, max(0, limit))
        return [<object>self.places[i].wire for i in range(count)]

    @property
    def sent(self):
        return self.tally.sent

    @property
    def queued(self):
        return self.tally.queued

    @property
    def dropped(self):
        return self.tally.dropped

    def count(self, int codec):
        """How many members speak `codec`."""
        return self.codec_counts[codec] if 0 <= codec < CODECS else 0

    def add(self, Wire wire not None, uint64_t skip=0):
        """Let `wire` hear what is published from now on, but for the next `skip`; False if it did already or is not open.
        """
        cdef Place* larger
        cdef uint32_t room
        if wire.state != OPEN or wire.seat_of(self) >= 0:
            return False
        if self.used == self.room:
            room = max(1, self.room * 2) if self.room < GENTLE_FROM else self.room + (self.room >> 2)
            larger = <Place*>realloc(self.places, room * sizeof(Place))
            if larger == NULL:
                raise MemoryError
            self.places = larger
            self.room = room
        wire.sit(self, self.used)
        self.places[self.used].wire = <PyObject*>wire
        self.places[self.used].joined = self.published + skip
        self.used += 1
        self.codec_counts[wire.codec & (CODECS - 1)] += 1
        return True

    def discard(self, Wire wire not None):
        """Take `wire` out; False if it was not in. What was published before is still for it."""
        cdef int seat = wire.seat_of(self)
        if seat < 0:
            return False
        self.catch_up(wire.seats[seat].index)
        seat = wire.seat_of(self)       # it may have been closed by that
        if seat >= 0:
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
        if self.parts is not None and index < self.cursor:
            self.tally.dropped += self.meant_for(index, self.parts)
        if self.waiting is not None:
            self.tally.dropped += self.meant_for(index, self.waiting)
        wire.unseat(wire.seat_of(self))
        self.forget(index, wire.codec)
        return 0

    cdef uint64_t meant_for(self, uint32_t index, publications) except? 0:
        """How many of these are for the member at `index`."""
        cdef Place place = self.places[index]
        cdef uint64_t count = 0
        for publication in publications:
            if <uint64_t>(<tuple>publication)[3] > place.joined and <PyObject*>(<tuple>publication)[1] != place.wire:
                count += 1
        return count

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
        if self.waiting is None:
            self.waiting = deque()
        self.waiting.append((frames, exclude, key, self.published))
        if self.serving:
            return members
        if members < DEFER_FROM and self.delivery is None and not self.has_to_wait():
            self.go_on(monotonic_ns() + self.loop_data.pass_ns, False)
        # Published faster than delivered: now the publisher pays, which slows down what it is read from.
        while self.waiting is not None and len(self.waiting) > MAX_WAITING:
            (self.behind if self.has_to_wait() else self).go_on(monotonic_ns() + self.loop_data.pass_ns, False)
        if self.delivery is None and (self.waiting is not None or self.parts is not None):
            self.delivery = Delivery.__new__(Delivery)
            self.delivery.audience = self
            self.loop_data.add_fan_out(self.delivery)
        return members

    cdef bint has_to_wait(self) noexcept:
        """Whether the audience that hears first has not heard everything yet."""
        cdef Audience first = self.behind
        return first is not None and not first.serving and (first.parts is not None or first.waiting is not None)

    cdef bint go_on(self, int64_t deadline, bint alone) except -1:
        """Continue the delivery in progress, then those behind it; True when none is left.

        `alone`: no other audience has anything to deliver in this pass.
        """
        while self.parts is not None or self.waiting is not None:
            if self.parts is None:
                self.begin()
            if not self.serve(deadline, alone):
                return False
            self.parts = None
            self.whole = None
            self.excluded = NULL
            if self.waiting is not None and monotonic_ns() > deadline:
                return False
        return True

    cdef int begin(self) except -1:
        """Take publications off the queue that can leave as one piece."""
        cdef Py_ssize_t size = 0
        cdef list parts = []
        cdef PyObject* excluded = NULL
        while self.waiting and len(parts) < MAX_JOINED:
            publication = <tuple>self.waiting[0]
            exclude = publication[1]
            for frame in <tuple>publication[0]:
                if frame is not None:
                    size += len(<bytes>frame)
            if parts:
                if size > MAX_JOINED_BYTES or len(<tuple>publication[0]) != len(<tuple>(<tuple>parts[0])[0]):
                    break
                if exclude is not None and excluded != NULL and excluded != <PyObject*>exclude:
                    break
            if exclude is not None:
                excluded = <PyObject*>exclude
            parts.append(self.waiting.popleft())
        if not self.waiting:
            self.waiting = None
        frames = <tuple>(<tuple>parts[0])[0]
        self.whole = frames if len(parts) == 1 else joined_frames(parts, len(frames))
        self.first = (<tuple>parts[0])[3]
        self.excluded = excluded
        self.parts = parts
        self.cursor = self.used
        return 0

    cdef bint serve(self, int64_t deadline, bint alone) except -1:
        """Serve places below `cursor`; True when all are done, False when the time is over."""
        cdef uint32_t mask = (SENDS_PER_CHECK if alone else WIRES_PER_CHECK) - 1
        self.serving = True
        try:
            while self.cursor:
                self.cursor -= 1
                self.hand_over(self.cursor, alone)
                if not self.cursor & mask and monotonic_ns() > deadline:
                    break
        finally:
            self.serving = False
        return not self.cursor

    cdef int hand_over(self, uint32_t index, bint alone) except -1:
        """One member's share; what fails in its transport ends that member only."""
        cdef uint64_t joined = self.places[index].joined
        cdef Wire wire = <Wire>self.places[index].wire
        self.served = <PyObject*>wire
        try:
            if self.first <= joined or <PyObject*>wire == self.excluded or not self.give_whole(wire, alone):
                self.give_parts(wire, self.parts, joined)
        except Exception as error:
            self.loop_data.report(error, wire)
            wire.abort()
            self.tally.dropped += len(self.parts)
        self.served = NULL
        return 0

    cdef int give_whole(self, Wire wire, bint alone) except -1:
        """Give all parts as one; 0 if this member has to get them one by one."""
        cdef Py_ssize_t count = len(self.parts)
        cdef bytes frame
        cdef int status
        if wire.codec >= len(self.whole):
            return 0
        frame = <bytes>self.whole[wire.codec]
        if frame is None or wire.state != OPEN or wire.flags & F_BLOCKED:
            return 0
        topic = None if count > 1 else self
        # What is joined cannot be dropped or replaced in part: it is for those who may only be closed.
        if count > 1 and (self.policy != DISCONNECT or len(frame) > wire.endpoint.max_outbox):
            return 0
        key = <bytes>(<tuple>self.parts[0])[2] if count == 1 else None
        if alone and wire.outbox is None:
            status = wire.send_now(frame, topic, key)
        else:
            status = wire.queue(frame, topic, key, self.policy)
        self.count_status(status, count)
        return 1

    cdef int give_parts(self, Wire wire, list parts, uint64_t joined) except -1:
        """Give publications one by one, as far as they are for this member."""
        cdef int status
        for publication in parts:
            frames = <tuple>(<tuple>publication)[0]
            if <uint64_t>(<tuple>publication)[3] <= joined or (<tuple>publication)[1] is wire:
                continue
            frame = frames[wire.codec] if wire.codec < len(frames) else None
            status = DROPPED
            # No seat: one of its callbacks took it out.
            if frame is not None and wire.state == OPEN and wire.seat_of(self) >= 0:
                status = wire.queue(<bytes>frame, self, <bytes>(<tuple>publication)[2], self.policy)
            self.count_status(status, 1)
        return 0

    cdef int catch_up(self, uint32_t index) except -1:
        """Give the member at `index`, which is about to leave, what was published and has not reached it."""
        cdef Wire wire = <Wire>self.places[index].wire
        cdef uint64_t joined = self.places[index].joined
        if (self.parts is None and self.waiting is None) or <PyObject*>wire == self.served:
            return 0
        self.places[index].joined = max(joined, self.published)     # its callbacks may come back here
        if self.parts is not None and index < self.cursor:
            self.give_parts(wire, self.parts, joined)
        if self.waiting is not None:
            self.give_parts(wire, list(self.waiting), joined)
        return 0

    cdef void count_status(self, int status, uint64_t publications) noexcept:
        if status == SENT:
            self.tally.sent += publications
        elif status == QUEUED:
            self.tally.queued += publications
        else:
            self.tally.dropped += publications
