from typing import Any

from .link import Link

class Poller:
    """What a transport needs of the reactor. Not made from Python."""

    @property
    def sends(self) -> int:
        """send calls so far."""

class SlimTransport(Link):
    """The transport of one accepted socket, with the face of `asyncio.Transport`. Made by the reactor."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send raw bytes, whole frames, in the order of everything sent; nothing once it is closing."""
    def close(self) -> None:
        """End the connection with a close frame, code 1001, if it is a WebSocket; with RST if it is none yet."""
    def abort(self) -> None:
        """End the connection with RST."""
    def is_closing(self) -> bool:
        """Whether no more messages are sent or heard."""
    def pause_reading(self) -> None:
        """See `Wire.pause_reading`."""
    def resume_reading(self) -> None:
        """See `Wire.resume_reading`."""
    def is_reading(self) -> bool:
        """Whether the socket is watched for bytes."""
    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the socket."""
    def get_protocol(self) -> Any:
        """The connection."""
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname` and `fileno`; `default` for everything else, and when the socket is closed."""
