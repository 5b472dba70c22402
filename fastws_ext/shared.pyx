"""What the processes of one server count together, in memory that all of them map.

Every number has one process that writes it: a total is a sum over those of all. So a process that dies in the middle
of anything leaves numbers of its own behind and nothing else, and whoever finds it dead gives them back. To count with
a limit, one adds its own first and sums afterwards: of two that do this at once, at least one sees the other.
"""
import os
from collections import namedtuple

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.errno cimport ENXIO, errno
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "siphash.h" nogil:
    uint64_t fastws_siphash(const unsigned char* data, size_t size, uint64_t key0, uint64_t key1)

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void* address, size_t size)
    int PROT_READ, PROT_WRITE, MAP_SHARED
    void* MAP_FAILED

cdef extern from * nogil:
    """
    #define SHARED_LOAD(pointer) __atomic_load_n(pointer, __ATOMIC_SEQ_CST)
    #define SHARED_STORE(pointer, value) __atomic_store_n(pointer, value, __ATOMIC_SEQ_CST)
    #define SHARED_ADD(pointer, value) __atomic_add_fetch(pointer, value, __ATOMIC_SEQ_CST)
    static inline void shared_raise(uint32_t *pointer, uint32_t least)
    {
        uint32_t seen = __atomic_load_n(pointer, __ATOMIC_SEQ_CST);
        while (seen < least
               && !__atomic_compare_exchange_n(pointer, &seen, least, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        }
    }
    static inline int shared_swap(uint64_t *pointer, uint64_t expected, uint64_t wanted)
    {
        return __atomic_compare_exchange_n(pointer, &expected, wanted, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    """
    uint64_t load64 "SHARED_LOAD" (uint64_t* pointer)
    int64_t load "SHARED_LOAD" (int64_t* pointer)
    int32_t load32 "SHARED_LOAD" (int32_t* pointer)
    uint32_t loadu32 "SHARED_LOAD" (uint32_t* pointer)
    void store64 "SHARED_STORE" (uint64_t* pointer, uint64_t value)
    void store "SHARED_STORE" (int64_t* pointer, int64_t value)
    void store32 "SHARED_STORE" (int32_t* pointer, int32_t value)
    int64_t add "SHARED_ADD" (int64_t* pointer, int64_t value)
    void shared_raise(uint32_t* pointer, uint32_t least)
    int shared_swap(uint64_t* pointer, uint64_t expected, uint64_t wanted)

cdef enum:
    EMPTY_STATE = 0

EMPTY = EMPTY_STATE
STARTING = 1
READY = 2
DRAINING = 3

MAX_SLOTS = 4000            # 12 bits of an entry, less the one that is no slot

Figures = namedtuple(
    "Figures",
    ("state", "pid", "worker", "admitted", "sockets", "accepted", "websockets", "capacity", "works", "beat_ns"),
)

cdef uint64_t MAGIC = 0x66617374777301          # of this layout: another one has another last byte
cdef uint64_t COUNT_MASK = (1 << 20) - 1
cdef uint64_t ONE_OWNER = 1 << 20
cdef uint64_t OWNER_MASK = 0xFFF00000
cdef uint64_t TAG_MASK = 0xFFFFFFFF00000000


cdef size_t size_for(uint64_t slots, uint64_t entries):
    return sizeof(Header) + slots * sizeof(Slot) + entries * 8


cdef class Board:
    def __cinit__(self, int fd):
        cdef void* mapped
        self.fd = fd
        self.size = os.fstat(fd).st_size
        if self.size < sizeof(Header):
            raise ValueError("this is no board")
        mapped = mmap(NULL, self.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if mapped == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))
        self.header = <Header*>mapped
        if self.header.magic != MAGIC or self.size < size_for(self.header.slots, self.header.entries):
            raise ValueError("this is no board, or one of another version")
        self.slots = <Slot*>(<char*>mapped + sizeof(Header))
        self.table = <uint64_t*>(<char*>self.slots + self.header.slots * sizeof(Slot))

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, self.size)

    @staticmethod
    def create(slots, addresses, window):
        cdef Header header
        if not 1 <= slots <= MAX_SLOTS:
            raise ValueError(f"slots must be from 1 to {MAX_SLOTS}")
        memset(&header, 0, sizeof(Header))
        header.magic = MAGIC
        header.slots = slots
        header.entries = 1 << max(addresses - 1, 1).bit_length()
        header.window = min(window, header.entries)
        header.key0 = int.from_bytes(os.urandom(8), "little")
        header.key1 = int.from_bytes(os.urandom(8), "little")
        fd = os.memfd_create("fastws-board", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size_for(header.slots, header.entries))
            os.pwrite(fd, (<const unsigned char*>&header)[:sizeof(Header)], 0)
            return Board(fd)
        except BaseException:
            os.close(fd)
            raise

    @property
    def slots(self):
        return self.header.slots

    @property
    def admitted(self):
        return self.total_admitted()

    def seat(self, int index):
        cdef Seat seat = Seat.__new__(Seat)
        self.check(index)
        seat.board = self
        seat.index = index
        seat.slot = &self.slots[index]
        return seat

    def figures(self, int index):
        self.check(index)
        cdef Slot* slot = &self.slots[index]
        return Figures(
            load32(&slot.state), load32(&slot.pid), load32(&slot.worker), load(&slot.admitted), load(&slot.sockets),
            load(&slot.accepted), load(&slot.websockets), load(&slot.capacity), load32(&slot.works) != 0,
            load(&slot.beat_ns),
        )

    def all(self):
        return [self.figures(index) for index in range(loadu32(&self.header.used))
                if load32(&self.slots[index].state) != EMPTY_STATE]

    def clear(self, int index):
        self.check(index)
        cdef uint64_t owner = (<uint64_t>index + 1) * ONE_OWNER
        cdef size_t begin = <char*>self.table - <char*>self.header, end = begin + self.header.entries * 8
        # Only what was ever written has memory, and looking at the rest would give it some.
        while begin < end:
            try:
                begin = os.lseek(self.fd, begin, os.SEEK_DATA)
            except OSError as error:
                if error.errno != ENXIO:
                    raise
                break                   # nothing more of it
            hole = os.lseek(self.fd, begin, os.SEEK_HOLE)
            self.forget(owner, begin, min(hole, end))
            begin = hole
        self.empty(&self.slots[index])

    cdef int forget(self, uint64_t owner, size_t begin, size_t end) noexcept:
        """Free a slot's entries of the table that are between two offsets of the mapping."""
        cdef uint64_t* entry = <uint64_t*>(<char*>self.header + begin)
        while entry < <uint64_t*>(<char*>self.header + end):
            if entry >= self.table and load64(entry) & OWNER_MASK == owner:
                store64(entry, 0)
            entry += 1
        return 0

    cdef int empty(self, Slot* slot) noexcept:
        store(&slot.admitted, 0)
        store(&slot.sockets, 0)
        store(&slot.websockets, 0)
        store(&slot.accepted, 0)
        store32(&slot.state, EMPTY_STATE)
        return 0

    cdef int check(self, int index) except -1:
        if not 0 <= index < <int>self.header.slots:
            raise IndexError("there is no such slot")
        return 0

    cdef int64_t total_admitted(self) noexcept:
        cdef int64_t total = 0
        cdef uint32_t i
        for i in range(loadu32(&self.header.used)):
            total += load(&self.slots[i].admitted)
        return total

    cdef int64_t count_of(self, uint64_t hashed) noexcept:
        """Connections of one address over all processes."""
        cdef int64_t total = 0
        cdef uint64_t i, entry, mask = self.header.entries - 1
        for i in range(self.header.window):
            entry = load64(&self.table[(hashed + i) & mask])
            if entry and (entry ^ hashed) & TAG_MASK == 0:
                total += entry & COUNT_MASK
        return total


cdef class Seat:
    def open(self, int pid, int worker, int64_t capacity):
        cdef Slot* slot = self.slot
        cdef Header* header = self.board.header
        self.board.empty(slot)
        store(&slot.beat_ns, 0)
        store(&slot.capacity, capacity)
        store32(&slot.pid, pid)
        store32(&slot.worker, worker)
        store32(&slot.works, 0)
        # Several that have just been forked sit down at once.
        shared_raise(&header.used, <uint32_t>self.index + 1)
        store32(&slot.state, STARTING)

    @property
    def state(self):
        return load32(&self.slot.state)

    @state.setter
    def state(self, int32_t value):
        store32(&self.slot.state, value)

    def beat(self, int64_t now_ns, int64_t sockets, int64_t accepted, int64_t websockets, bint works):
        store(&self.slot.sockets, sockets)
        store(&self.slot.accepted, accepted)
        store(&self.slot.websockets, websockets)
        store32(&self.slot.works, works)
        store(&self.slot.beat_ns, now_ns)

    def enter(self, int64_t limit):
        add(&self.slot.admitted, 1)
        if limit > 0 and self.board.total_admitted() > limit:
            add(&self.slot.admitted, -1)
            return False
        return True

    def leave(self):
        add(&self.slot.admitted, -1)

    def is_full(self, int64_t limit):
        return limit > 0 and self.board.total_admitted() >= limit

    def enter_address(self, str address not None, int64_t limit):
        cdef uint64_t hashed = self.hash_of(address)
        if self.board.count_of(hashed) >= limit:
            return False
        if self.add(hashed) and self.board.count_of(hashed) > limit:
            self.leave_address(address)
            return False
        return True

    def leave_address(self, str address not None):
        cdef uint64_t* entry = self.own_entry(self.hash_of(address))
        if entry != NULL:
            store64(entry, entry[0] - 1 if entry[0] & COUNT_MASK > 1 else 0)

    cdef uint64_t hash_of(self, str address) except? 0:
        cdef Py_ssize_t size = 0
        cdef const char* data = PyUnicode_AsUTF8AndSize(address, &size)
        if data == NULL:
            raise ValueError("this is no address")
        return fastws_siphash(<const unsigned char*>data, size, self.board.header.key0, self.board.header.key1)

    cdef uint64_t* own_entry(self, uint64_t hashed) noexcept:
        """This process's entry of the address; NULL if there is none."""
        cdef uint64_t i, entry, mask = self.board.header.entries - 1
        cdef uint64_t wanted = hashed & TAG_MASK | (<uint64_t>self.index + 1) * ONE_OWNER
        cdef uint64_t* table = self.board.table
        for i in range(self.board.header.window):
            entry = load64(&table[(hashed + i) & mask])
            if entry & ~COUNT_MASK == wanted:
                return &table[(hashed + i) & mask]
        return NULL

    cdef bint add(self, uint64_t hashed) noexcept:
        """Count one more of the address; False if the table has no room for it."""
        cdef uint64_t i, mask = self.board.header.entries - 1
        cdef uint64_t wanted = hashed & TAG_MASK | (<uint64_t>self.index + 1) * ONE_OWNER | 1
        cdef uint64_t* table = self.board.table
        cdef uint64_t* entry = self.own_entry(hashed)
        if entry != NULL:
            if entry[0] & COUNT_MASK == COUNT_MASK:
                return False
            store64(entry, entry[0] + 1)
            return True
        for i in range(self.board.header.window):
            if load64(&table[(hashed + i) & mask]) == 0 and shared_swap(&table[(hashed + i) & mask], 0, wanted):
                return True
        return False
