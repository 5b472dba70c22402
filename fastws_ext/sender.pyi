from typing import Any, Self

from .endpoint import Endpoint, Ingress
from .loop_data import LoopData, Scheduled

def use_statuses(statuses: tuple[int, int, int, int]) -> None:
    """Let `send` return these for SENT, QUEUED, DROPPED and CLOSED: the enum of the layer above."""

class Sender(Scheduled):
    """The sending half of a connection and the state that all of it shares."""

    def __new__(cls, ingress: Ingress) -> Self: ...
    @property
    def loop_data(self) -> LoopData: ...
    @property
    def endpoint(self) -> Endpoint | None: ...
    @property
    def number(self) -> int:
        """Unique in this process, counts from 1."""
    @property
    def state(self) -> int:
        """HANDSHAKING 0, OPEN 1, CLOSING 2, LINGERING 3, CLOSED 4."""
    @property
    def deadline(self) -> float:
        """Seconds until `endpoint.on_deadline` is called (to 0.1 s); 0 if it will not be."""
    session: Any
    """The layer above keeps its object here; None while unused, and again after on_close."""
    max_message_size: int
    """Bytes of one message in force for this connection."""
    codec: int
    """Index into the frames of a publication. Set it before joining an audience."""

    def send(self, message: str | bytes) -> int:
        """Send one message, text for str and binary for bytes; never waits.

        :returns: a SendStatus: SENT 0 (with the kernel, or by the end of this pass), QUEUED 1 (the socket is full),
            CLOSED 3 (not open, or just closed 4003 because the outbox is full).
        :raises TypeError: the message is something else. :raises UnicodeEncodeError: lone surrogates.
        """
    def send_frame(self, frame: bytes) -> int:
        """Send one or more frames that are encoded already; returns a SendStatus."""
    def ping(self, payload: bytes = b"") -> None:
        """Send a ping of at most 125 bytes (RFC 6455 5.5.2); ValueError if it is longer."""
