from .lifecycle import Lifecycle

class Wire(Lifecycle):
    """The asyncio Protocol of one connection."""
