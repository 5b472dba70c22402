from .lifecycle import Lifecycle

class Wire(Lifecycle):
    """The asyncio Protocol of one connection."""

    def data_received(self, data: bytes) -> None:
        """asyncio's side of the Protocol."""

    def get_buffer(self, size_hint: int) -> bytearray:
        """asyncio's side of the BufferedProtocol: uvloop's transports read into what this returns."""

    def buffer_updated(self, size: int) -> None:
        """asyncio's side of the BufferedProtocol."""
