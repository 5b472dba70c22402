class Link:
    """How a wire reaches its socket. Not made from Python."""

class LoopLink(Link):
    """A transport of the event loop behind the same interface."""

    def __init__(self, transport: object) -> None: ...
