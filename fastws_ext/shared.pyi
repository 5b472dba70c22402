from typing import Final, NamedTuple, Self

EMPTY: Final = 0
STARTING: Final = 1
READY: Final = 2
DRAINING: Final = 3

MAX_SLOTS: Final = 4000

class Figures(NamedTuple):
    """What one process says of itself."""

    state: int
    """EMPTY, STARTING, READY or DRAINING."""
    pid: int
    worker: int
    admitted: int
    sockets: int
    """Of clients, open now."""
    accepted: int
    """Of clients, so far."""
    websockets: int
    capacity: int
    """Sockets of clients that it may have open."""
    works: bool
    """Whether what carries its messages does."""
    beat_ns: int
    """When it said so: the clock of `time.monotonic_ns`."""

class Board:
    """What the processes of one server count together: a slot for each process and a table of addresses.

    It is an anonymous file that is mapped by whoever is given its descriptor. Slots are written by the process that
    sits there; nobody waits for anybody, and whoever dies leaves nothing half done that `clear` would not put right.
    """

    def __new__(cls, fd: int) -> Self:
        """Map what `create` made; the descriptor stays the caller's. ValueError for what is none, or another layout."""
    @staticmethod
    def create(slots: int, addresses: int, window: int) -> Board:
        """A new one; its `fd` is the caller's to close. `addresses`: entries of the table, rounded up to a power of
        two; `window`: among how many of them the entry of one address is looked for.
        """
    @property
    def fd(self) -> int: ...
    @property
    def slots(self) -> int: ...
    def seat(self, index: int) -> Seat:
        """The slot of one process, to be written by it."""
    def figures(self, index: int) -> Figures: ...
    def all(self) -> list[Figures]:
        """Of every slot that is not empty."""
    def clear(self, index: int) -> None:
        """Give back what a process counted that is there no longer. It must have ended."""
    @property
    def admitted(self) -> int:
        """Connections that are in, over all processes."""

class Seat:
    """The slot of one process. `enter` and `enter_address` never let more in than the limit; of two that come at the
    same moment where there is one place, both may be refused.
    """

    @property
    def index(self) -> int: ...
    def open(self, pid: int, worker: int, capacity: int) -> None:
        """Sit down in a slot that was cleared: nothing is counted yet, the state is STARTING."""
    @property
    def state(self) -> int: ...
    @state.setter
    def state(self, value: int) -> None: ...
    def beat(self, now_ns: int, sockets: int, accepted: int, websockets: int, works: bool) -> None:
        """Say that the loop goes round, and what there is."""
    def enter(self, limit: int) -> bool:
        """Count one more connection unless there are `limit` over all processes; 0 = no limit."""
    def leave(self) -> None: ...
    def is_full(self, limit: int) -> bool: ...
    def enter_address(self, address: str, limit: int) -> bool:
        """Count one more of an address unless it has `limit`. Where the table has no room for it, it is let in and not
        counted.
        """
    def leave_address(self, address: str) -> None: ...
