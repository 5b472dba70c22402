"""What exists once per event loop: clock, scratch, work lists, timing wheel.

A *pass* is one turn of the loop through our sockets. Work that a pass leaves behind is in three lists: connections with
unsent bytes (dirty), connections with unparsed bytes (run), and connections to take apart (finish). Each pass serves
them for at most `pass_ns` and asks the loop for another turn if anything is left, so timers and other links of the
loop are never more than that late.
"""
from collections import deque

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now)
    int CLOCK_MONOTONIC


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef int push(WorkList* work, PyObject* item) except -1:
    cdef PyObject** larger
    cdef size_t i
    if work.end == work.capacity:
        if work.head > work.capacity >> 1:
            for i in range(work.end - work.head):
                work.items[i] = work.items[work.head + i]
            work.end -= work.head
            work.head = 0
        else:
            larger = <PyObject**>realloc(work.items, max(work.capacity * 2, 64) * sizeof(PyObject*))
            if larger == NULL:
                raise MemoryError
            work.items = larger
            work.capacity = max(work.capacity * 2, 64)
    work.items[work.end] = item
    work.end += 1
    Py_INCREF(<object>item)
    return 0


cdef Scheduled pop(WorkList* work):
    cdef Scheduled item = <Scheduled>work.items[work.head]
    work.head += 1
    if work.head == work.end:
        work.head = work.end = 0
    Py_DECREF(item)
    return item


cdef void clear(WorkList* work) noexcept:
    while work.head < work.end:
        pop(work)
    free(work.items)
    work.items = NULL


cdef void unlink(Scheduled item) noexcept:
    """Out of the wheel. Works on the links alone, so an object that is being taken apart may call it."""
    if item.wheel_link != NULL:
        item.wheel_link[0] = item.wheel_next
        if item.wheel_next != NULL:
            (<Scheduled>item.wheel_next).wheel_link = item.wheel_link
        item.wheel_link = NULL
        item.wheel_next = NULL


cdef class Scheduled:
    def __dealloc__(self):
        if self.wheel_link != NULL:
            self.wheel_link[0] = self.wheel_next
            if self.wheel_next != NULL:
                (<Scheduled>self.wheel_next).wheel_link = self.wheel_link

    cdef int on_dirty(self) except -1:
        return 0

    cdef int on_run(self) except -1:
        return 0

    cdef int on_finish(self) except -1:
        return 0

    cdef int on_due(self, uint32_t now) except -1:
        return 0


cdef class LoopData:
    def __cinit__(self, loop, uint64_t numbers=0):
        self.loop = loop
        self.numbers = numbers
        self.receive_buffer = <uint8_t*>malloc(RECEIVE_SIZE)
        self.scratch = <uint8_t*>malloc(SCRATCH_SIZE)
        self.gather = <uint8_t*>malloc(GATHER_SIZE)
        if self.receive_buffer == NULL or self.scratch == NULL or self.gather == NULL:
            raise MemoryError
        memset(self.wheel, 0, sizeof(self.wheel))
        self.fan_outs = deque()
        self.start_ns = monotonic_ns()
        self.pass_ns = 2000000

    def __dealloc__(self):
        clear(&self.dirty)
        clear(&self.run)
        clear(&self.finish)
        for i in range(WHEEL_SLOTS):
            while self.wheel[i] != NULL:
                unlink(<Scheduled>self.wheel[i])
        free(self.receive_buffer)
        free(self.scratch)
        free(self.gather)

    def start(self):
        """Start the wheel's tick; call on the loop's thread."""
        if not self.running:
            self.running = True
            self.now_tick = <uint32_t>((monotonic_ns() - self.start_ns) // TICK_NS)
            if self.now_tick - self.wheel_tick > WHEEL_SLOTS:
                # One round passes every slot, so whoever became due meanwhile is late and not forgotten.
                self.wheel_tick = self.now_tick - WHEEL_SLOTS
            self.tick_handle = self.loop.call_later(TICK_NS / 1e9, self._tick)

    def stop(self):
        """Stop the tick: no deadline and no heartbeat after this."""
        self.running = False
        if self.tick_handle is not None:
            self.tick_handle.cancel()
            self.tick_handle = None

    @property
    def backlog(self):
        """(unsent, unparsed, to finish): connections waiting in each work list."""
        return (self.dirty.end - self.dirty.head, self.run.end - self.run.head, self.finish.end - self.finish.head)

    cdef int64_t begin_pass(self) noexcept:
        cdef int64_t now = monotonic_ns()
        self.now_tick = <uint32_t>((now - self.start_ns) // TICK_NS)
        self.pass_deadline_ns = now + self.pass_ns
        self.looked_ns = now
        self.in_pass = True
        self.leaving = 0
        self.passes += 1
        return now

    cdef bint out_of_time(self) noexcept:
        return monotonic_ns() > self.pass_deadline_ns

    cdef int end_pass(self, bint deliver=True) except -1:
        """Serve what the pass has left behind. Without `deliver` publications wait for a turn of their own: where each
        read is a pass they would otherwise have a slice of time after each.
        """
        try:
            self.serve_lists(deliver)
        finally:
            self.in_pass = False
            if (self.dirty.head < self.dirty.end or self.run.head < self.run.end or self.finish.head < self.finish.end
                    or self.fan_outs):
                self.need_turn()
        return 0

    cdef int serve_lists(self, bint deliver) except -1:
        """Serve fan-out, what is unsent and what is to be taken apart; each list may grow while it is served."""
        cdef int64_t deadline = monotonic_ns() + self.pass_ns
        while deliver and self.fan_outs:
            self.guarded(self.fan_outs[0], IN_RUN | IN_DIRTY)
            if monotonic_ns() > deadline:
                break
        # A fan-out that goes on for many passes must not leave the others one item in each.
        deadline = max(deadline, monotonic_ns() + self.pass_ns // 2)
        while self.dirty.head < self.dirty.end:
            self.guarded(pop(&self.dirty), IN_DIRTY)
            if monotonic_ns() > deadline:
                break
        deadline = max(deadline, monotonic_ns() + self.pass_ns // 2)
        while self.finish.head < self.finish.end:
            self.guarded(pop(&self.finish), IN_FINISH)
            if monotonic_ns() > deadline:
                break
        return 0

    cdef int serve_run(self) except -1:
        cdef size_t left = self.run.end - self.run.head
        while left and self.run.head < self.run.end:
            self.guarded(pop(&self.run), IN_RUN)
            left -= 1
            if self.out_of_time():
                break
        return 0

    cdef int serve_run_in_pass(self) except -1:
        """Serve the run list again and again, each on it once a round, until it is empty or the pass is over."""
        while self.run.head < self.run.end and not self.out_of_time():
            self.serve_run()
        return 0

    cdef int guarded(self, Scheduled item, uint8_t kind) except -1:
        """One item's failure is reported and never stops the others."""
        item.queued &= ~kind
        try:
            if kind == IN_DIRTY:
                item.on_dirty()
            elif kind == IN_RUN:
                item.on_run()
            elif kind == IN_FINISH:
                item.on_finish()
            elif item.on_run():
                self.fan_outs.popleft()
            else:
                self.fan_outs.rotate(-1)    # the others have their turn first
        except BaseException as error:
            if kind == IN_RUN | IN_DIRTY:
                self.fan_outs.popleft()
            self.report(error, item)
        return 0

    cdef int report(self, error, item) except -1:
        self.errors += 1
        self.loop.call_exception_handler({"message": "fastws: internal error", "exception": error, "object": item})
        return 0

    cdef int mark(self, Scheduled item, uint8_t kind) except -1:
        """Put `item` on the list `kind` if it is not there, and make sure that somebody will come by."""
        if item.queued & kind:
            return 0
        if kind == IN_DIRTY:
            push(&self.dirty, <PyObject*>item)
        elif kind == IN_RUN:
            push(&self.run, <PyObject*>item)
        else:
            push(&self.finish, <PyObject*>item)
        item.queued |= kind
        if not self.in_pass:
            self.need_turn()
        return 0

    cdef int need_turn(self) except -1:
        if not self.turn_scheduled:
            self.turn_scheduled = True
            self.loop.call_soon(self._turn)
        return 0

    def _turn(self):
        self.turn_scheduled = False
        self.begin_pass()
        if self.sockets_wait:
            # Those who had a turn already let those go first who had none.
            self.pass_deadline_ns -= self.pass_ns - self.pass_ns // 8
        try:
            self.serve_run()
        finally:
            self.end_pass()

    # The wheel. A slot is a list linked through its members; what is in it is alive because its owner keeps it, and
    # takes itself out before it goes.

    cdef uint32_t ticks(self, double seconds) noexcept:
        """Ticks for a time, at least one."""
        cdef double count = seconds * 1e9 / TICK_NS
        if count > 4e8:
            count = 4e8
        return <uint32_t>count if count >= 1 else 1

    cdef uint32_t tick_after(self, double seconds) noexcept:
        """The first tick that begins no earlier than in `seconds`, by the clock as it is now: `now_tick` may be older."""
        cdef double passed = (monotonic_ns() - self.start_ns) / <double>TICK_NS
        return <uint32_t>(passed + min(seconds * 1e9 / TICK_NS, 4e8)) + 1

    cdef void set_due(self, Scheduled item, uint32_t tick) noexcept:
        cdef PyObject** slot
        cdef uint32_t at = tick
        self.clear_due(item)
        if <int>(at - self.wheel_tick) < 1:
            at = self.wheel_tick + 1
        elif at - self.wheel_tick >= WHEEL_SLOTS:
            at = self.wheel_tick + WHEEL_SLOTS - 1
        item.due_tick = tick
        slot = &self.wheel[at & (WHEEL_SLOTS - 1)]
        item.wheel_next = slot[0]
        item.wheel_link = slot
        if slot[0] != NULL:
            (<Scheduled>slot[0]).wheel_link = &item.wheel_next
        slot[0] = <PyObject*>item

    cdef void clear_due(self, Scheduled item) noexcept:
        unlink(item)

    def _tick(self):
        cdef int64_t now = monotonic_ns()
        cdef uint32_t target = <uint32_t>((now - self.start_ns) // TICK_NS)
        cdef double wait
        if not self.running:
            return
        if target - self.wheel_tick > 10 and not self.held_back:
            # The process was stopped or starved for over a second: read what peers sent meanwhile before
            # deciding that they are silent.
            self.held_back = True
            self.tick_handle = self.loop.call_later(TICK_NS / 1e9, self._tick)
            return
        self.begin_pass()
        wait = 0
        try:
            if self.serve_until(target):
                wait = TICK_NS / 1e9
                self.held_back = False      # not before everybody late was served: once is enough
        finally:
            self.tick_handle = self.loop.call_later(wait, self._tick)   # first: whatever raises, the wheel turns on
            self.end_pass()

    cdef bint serve_until(self, uint32_t target) except -1:
        """True when every slot up to `target` is done, False when the pass ran out of time."""
        while self.wheel_tick != target:
            if not self.serve_slot(self.wheel_tick + 1):
                return False
            self.wheel_tick += 1
            if self.wheel_tick != target and self.out_of_time():
                return False
        return True

    cdef bint serve_slot(self, uint32_t tick) except -1:
        """True when the slot is done, False when the pass ran out of time in it."""
        cdef PyObject** slot = &self.wheel[tick & (WHEEL_SLOTS - 1)]
        cdef Scheduled item
        cdef int count = 0
        cdef uint32_t saved = self.wheel_tick
        while slot[0] != NULL:
            item = <Scheduled>slot[0]
            self.clear_due(item)
            self.wheel_tick = tick      # so that nothing due now is put back into the slot being served
            try:
                if <int>(item.due_tick - tick) > 0:
                    self.set_due(item, item.due_tick)
                else:
                    item.on_due(self.now_tick)      # what the slot says is long ago if the loop was starved
            except BaseException as error:
                self.report(error, item)
            self.wheel_tick = saved
            count += 1
            if not count & 31 and self.out_of_time():
                return slot[0] == NULL
        return True

    cdef int add_fan_out(self, Scheduled item) except -1:
        """Queue a delivery in progress; its `on_run` returns 1 when it is done."""
        self.fan_outs.append(item)
        if not self.in_pass:
            self.need_turn()
        return 0
