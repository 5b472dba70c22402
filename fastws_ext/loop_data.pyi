import asyncio
from typing import Self

class Scheduled:
    """Base of what the loop's work lists and timing wheel call back. Not made from Python."""

class LoopData:
    """What exists once per event loop: scratch buffers, work lists, timing wheel. Bound to the loop's thread.

    `numbers`: connections are numbered from the next one on, below 2**64. Of several in one process each begins far
    from the others, so that none of their connections has the same.
    """

    def __new__(cls, loop: asyncio.AbstractEventLoop, numbers: int = 0) -> Self: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def numbers(self) -> int:
        """The number of the last connection."""
    @property
    def passes(self) -> int:
        """Passes made so far."""
    @property
    def errors(self) -> int:
        """Internal errors reported to the loop's exception handler so far."""
    @property
    def backlog(self) -> tuple[int, int, int]:
        """(unsent, unparsed, to finish): connections waiting in each work list."""
    pass_ns: int
    """Nanoseconds that one pass may take before the loop gets its turn; default 2,000,000."""

    def start(self) -> None:
        """Start the wheel's tick (every 0.1 s). Call before connections are made."""
    def stop(self) -> None:
        """Stop the tick: no deadline and no heartbeat after this."""
