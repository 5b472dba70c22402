"""Connections by their numbers.

A place costs 8 bytes, and as connections come three to six of eight are taken: 11 to 21 for each. A dict takes 70 to 110,
for it keeps hash and key beside the value, and the number as an object of its own; here the connection has it.
"""
from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport uint64_t
from .wire cimport Wire

cdef enum:
    LEAST_ROOM = 16

cdef uint64_t SPREAD = 0x9E3779B97F4A7C15     # 2 ** 64 / golden ratio: neighbours are spread all over


cdef inline uint64_t number_at(list places, Py_ssize_t place) noexcept:
    return (<Wire>PyList_GET_ITEM(places, place)).number


cdef inline bint is_free(list places, Py_ssize_t place) noexcept:
    return <object>PyList_GET_ITEM(places, place) is None


cdef class Roster:
    def __cinit__(self):
        self.resize(LEAST_ROOM)

    def __len__(self):
        return self.used

    def __contains__(self, Wire wire not None):
        return self.get(wire.number) is wire

    def wires(self):
        """A list of the connections, in no order."""
        return [wire for wire in self.places if wire is not None]

    def get(self, uint64_t number):
        """The connection of that number; None if it is not here."""
        return <object>PyList_GET_ITEM(self.places, self.place_of(number))

    def add(self, Wire wire not None):
        """Note a connection; False if its number is here already."""
        cdef Py_ssize_t room = len(self.places)
        if (self.used + 1) * 4 > room * 3:
            self.resize(room * 2)
        cdef Py_ssize_t place = self.place_of(wire.number)
        if not is_free(self.places, place):
            return False
        self.places[place] = wire
        self.used += 1
        return True

    def discard(self, Wire wire not None):
        """Forget a connection; False if it was not here."""
        cdef list places = self.places
        cdef Py_ssize_t mask = len(places) - 1
        cdef Py_ssize_t hole = self.place_of(wire.number)
        cdef Py_ssize_t place = hole
        if <object>PyList_GET_ITEM(places, hole) is not wire:
            return False
        # Those behind move up, unless that is before where their numbers say: nobody is looked for beyond a gap.
        while True:
            place = (place + 1) & mask
            if is_free(places, place):
                break
            if (place - self.home(number_at(places, place))) & mask >= (place - hole) & mask:
                places[hole] = <object>PyList_GET_ITEM(places, place)
                hole = place
        places[hole] = None
        self.used -= 1
        if self.used * 8 < mask + 1 and mask + 1 > LEAST_ROOM:
            self.resize((mask + 1) // 2)
        return True

    cdef Py_ssize_t home(self, uint64_t number) noexcept:
        """Where a number belongs."""
        return <Py_ssize_t>((number * SPREAD) >> self.shift)

    cdef Py_ssize_t place_of(self, uint64_t number) noexcept:
        """Where the connection of that number is, or would be."""
        cdef Py_ssize_t mask = len(self.places) - 1
        cdef Py_ssize_t place = self.home(number)
        while not is_free(self.places, place) and number_at(self.places, place) != number:
            place = (place + 1) & mask
        return place

    cdef int resize(self, Py_ssize_t room) except -1:
        cdef list before = self.places
        self.places = [None] * room
        self.shift = 64
        while room > 1:
            room >>= 1
            self.shift -= 1
        if before is not None:
            for wire in before:
                if wire is not None:
                    self.places[self.place_of((<Wire>wire).number)] = wire
        return 0
