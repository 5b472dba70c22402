"""What the processes of one server count together, in memory that all of them map."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef struct Header:
    uint64_t magic          # what this layout is called
    uint32_t slots
    uint32_t used           # slots below this one were ever used
    uint64_t entries        # of the table of addresses; a power of two
    uint64_t window         # entries that one address may be in
    uint64_t key0, key1     # of the hash of addresses
    uint64_t spare[10]

cdef struct Slot:           # of one process; a cache line, written by that process only
    int64_t admitted
    int64_t sockets
    int64_t accepted
    int64_t websockets
    int64_t capacity
    int64_t beat_ns         # when it wrote last, CLOCK_MONOTONIC
    int32_t pid
    int32_t state
    int32_t worker
    int32_t works

cdef class Board:
    cdef Header* header     # the beginning of the mapping
    cdef Slot* slots
    cdef uint64_t* table    # tag << 32 | (slot + 1) << 20 | count; 0 = free. Only its slot's process writes an entry.
    cdef size_t size
    cdef readonly int fd
    cdef int check(self, int index) except -1
    cdef int forget(self, uint64_t owner, size_t begin, size_t end) noexcept
    cdef int empty(self, Slot* slot) noexcept
    cdef int64_t total_admitted(self) noexcept
    cdef int64_t count_of(self, uint64_t hashed) noexcept

cdef class Seat:
    cdef Board board        # keeps the mapping
    cdef Slot* slot
    cdef readonly int index
    cdef uint64_t hash_of(self, str address) except? 0
    cdef uint64_t* own_entry(self, uint64_t hashed) noexcept
    cdef bint add(self, uint64_t hashed) noexcept
