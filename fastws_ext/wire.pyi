from .lifecycle import Lifecycle

class Wire(Lifecycle):
    """The asyncio Protocol of one connection."""

    def data_received(self, data: bytes) -> None:
        """asyncio's side of the Protocol."""
