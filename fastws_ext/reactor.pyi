import socket
from collections.abc import Callable
from typing import Any, Self

from .endpoint import Ingress
from .loop_data import LoopData
from .transport import Poller

class Reactor(Poller):
    """Raw sockets under an event loop that can watch a descriptor (uvloop, or asyncio's selector loop)."""

    def __new__(cls, loop_data: LoopData, connection_class: Callable[[Ingress], Any], ingress: Ingress) -> Self: ...
    @property
    def loop_data(self) -> LoopData: ...
    @property
    def ingress(self) -> Ingress: ...
    @property
    def accepted(self) -> int:
        """Sockets accepted so far."""
    @property
    def refused_descriptors(self) -> int:
        """Times that accepting failed for want of descriptors or memory."""
    @property
    def waits(self) -> int:
        """epoll_wait calls so far."""
    @property
    def receives(self) -> int:
        """recv calls so far."""
    def listen(self, sock: socket.socket) -> None:
        """Serve a bound, listening TCP socket (at most 16); ValueError when there is no room for it."""
    def stop_accepting(self) -> None:
        """Take the listeners out of epoll; they are left open."""
    def connections(self) -> list[Any]:
        """The live connections."""
    def close(self) -> None:
        """Reset what is left and give everything back. The reactor is of no use after this."""
    def disable(self) -> None:
        """Let go of the descriptors without touching any connection; what a forked child does."""
    def poll(self) -> None:
        """One pass; called by the event loop when the epoll descriptor is readable. Never raises."""
    def rearm(self) -> None:
        """Accept again after descriptors ran out."""

def disable_in_child() -> None:
    """Disable every reactor of a forked child."""
