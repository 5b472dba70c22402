from typing import Self

class Link:
    """How a wire reaches its socket. Not made from Python."""

class LoopLink(Link):
    """A transport of the event loop behind the same interface."""

    def __new__(cls, transport: object) -> Self: ...
