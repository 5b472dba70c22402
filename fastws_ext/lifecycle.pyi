from typing import Any

from .endpoint import Endpoint
from .sender import Sender

class Lifecycle(Sender):
    """A connection from accept to the end of its socket: HTTP stage, heartbeat, close handshake."""

    def connection_made(self, transport: object) -> None:
        """asyncio's side of the Protocol: the connection runs on a transport of the event loop."""
    def data_received(self, data: bytes) -> None:
        """asyncio's side of the Protocol."""

    def get_buffer(self, size_hint: int) -> bytearray:
        """asyncio's side of the BufferedProtocol: uvloop's transports read into what this returns."""

    def buffer_updated(self, size: int) -> None:
        """asyncio's side of the BufferedProtocol."""
    def eof_received(self) -> bool:
        """asyncio's side of the Protocol; True keeps our half open until everything is sent."""
    def connection_lost(self, error: Exception | None) -> None:
        """asyncio's side of the Protocol."""
    def pause_writing(self) -> None:
        """asyncio's side of the Protocol."""
    def resume_writing(self) -> None:
        """asyncio's side of the Protocol."""
    def respond(self, answer: bytes) -> None:
        """HTTP stage: answer, then FIN; what the peer is still writing is discarded for up to 2 s or 256 KiB."""
    def accept(self, endpoint: Endpoint, answer: bytes, head_size: int, window_bits: int = 0) -> None:
        """HTTP stage: answer the upgrade and become OPEN; `endpoint.on_open` has been called after this.

        :param head_size: bytes of what was received that belong to the request; the rest are frames.
        :param window_bits: 0, or the deflate window of what the server sends (RFC 7692).
        """
    def await_body(self, total: int) -> None:
        """HTTP stage: have `Ingress.on_request` called again when `total` bytes, head included, are there."""
    def pause_reading(self) -> None:
        """Stop reading and parsing. Pings are not answered meanwhile; the heartbeat's deadline stays."""
    def resume_reading(self) -> None:
        """Go on after pause_reading."""
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Start the close handshake: nothing is sent after its frame, the peer's is awaited for `close_timeout`.

        Does nothing unless OPEN. Code 1005 sends a close frame without a code. ValueError outside 1000..4999
        and for 1004, 1006 and 1015, which RFC 6455 7.4.1 keeps off the wire.
        """
    def abort(self) -> None:
        """End the connection with RST, without a close frame."""
    def set_deadline(self, seconds: float) -> None:
        """Have `endpoint.on_deadline` called once in `seconds`, up to 0.2 s later, not before; 0 calls it off."""
    def set_ping_interval(self, seconds: float) -> None:
        """Ping after `seconds` without inbound traffic from now on; 0 switches the heartbeat off."""
    @property
    def buffered(self) -> int:
        """Bytes that wait in the outbox."""
    @property
    def congested(self) -> bool:
        """True from 64 KiB in the outbox until it is below 16 KiB again; `endpoint.on_drain` tells when."""
    @property
    def paused(self) -> bool:
        """True between pause_reading and resume_reading."""
    @property
    def close_code(self) -> int:
        """The code that `on_close` reports: received, or sent when we closed, or 1006; 0 while open."""
    @property
    def close_reason(self) -> str:
        """The reason that belongs to `close_code`."""
    @property
    def transport(self) -> Any:
        """The asyncio transport underneath, the reactor's or the loop's; None when the socket is gone."""
    @property
    def remote(self) -> tuple[str, int] | None:
        """(host, port) of the TCP peer; None for a Unix socket, or when the socket is gone."""
