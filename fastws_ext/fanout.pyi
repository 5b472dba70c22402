from typing import Any

from .endpoint import Gathering
from .loop_data import LoopData, Scheduled
from .wire import Wire

class Delivery(Scheduled):
    """The work list's hold on an audience with publications to deliver. Not made from Python."""

class Tally:
    """What has become of deliveries: of one audience, or of all that were given it."""

    @property
    def sent(self) -> int:
        """Given to the socket or to the end of the pass."""
    @property
    def queued(self) -> int:
        """Waiting for a full socket, or were; some of them may have been dropped later, which `Endpoint` counts."""
    @property
    def dropped(self) -> int:
        """Did not happen: member closed, 4003, or no frame in its codec."""

class Audience(Gathering):
    """The wires of this process that hear one topic."""

    def __init__(self, loop_data: LoopData, policy: int = 0, tally: Tally | None = None) -> None:
        """:param policy: what happens to a slow member: DISCONNECT 0, DROP_OLDEST 1, CONFLATE 2; else ValueError.
        :param tally: counts the deliveries; None: one of its own.
        """
    @property
    def tally(self) -> Tally: ...
    @property
    def loop_data(self) -> LoopData: ...
    policy: int
    behind: Audience | None
    """The audience that hears what was published to it before anything is delivered here: so that a connection in both
    hears one thing before the other. Not one that waits for this one.
    """
    @property
    def sent(self) -> int:
        """Of the tally, and so are these."""
    @property
    def queued(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    def __len__(self) -> int: ...
    def __contains__(self, wire: Wire, /) -> bool: ...
    def add(self, wire: Wire, skip: int = 0) -> bool:
        """Let `wire` hear what is published from now on; False if it did already or is not open.

        :param skip: publications of which it knows already: so many of the next ones are not for it.
        """
    def discard(self, wire: Wire) -> bool:
        """Take `wire` out; False if it was not in. What was published before is still sent to it, before this returns.
        A closing wire leaves by itself.
        """
    def wires(self, limit: int | None = None) -> list[Any]:
        """The members, or at most `limit` of them."""
    def count(self, codec: int) -> int:
        """How many members speak `codec`."""
    def publish(self, frames: tuple[bytes | None, ...], exclude: Wire | None = None, key: bytes | None = None) -> int:
        """Deliver one publication: `frames[wire.codec]` to every member but `exclude`.

        Publications of one audience arrive in the order of these calls. From 64 members on an audience is served at the
        end of the pass, in slices; what was published in one pass arrives as one piece, frame after frame.

        :param key: what CONFLATE keeps the newest of; None: the topic itself.
        :returns: how many members there were. :raises TypeError: a frame is neither bytes nor None.
        """
