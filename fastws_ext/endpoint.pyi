from collections.abc import Callable
from typing import Any

from .loop_data import LoopData

class Endpoint:
    """What all connections of one path share: limits, callbacks, counters.

    Times are seconds and 0 switches them off; limits of 0 are none. Callbacks get the connection first; what `on_open`,
    `on_message` and `on_close` return is handed to `on_result` unless it is None; what they raise goes to `on_error`
    and closes 1011.
    """

    def __init__(
        self,
        loop_data: LoopData,
        path: str,
        *,
        max_message_size: int = 65536,
        max_fragments: int = 1024,
        max_outbox: int = 1048576,
        ping_interval: float = 25.0,
        ping_timeout: float = 10.0,
        message_timeout: float = 60.0,
        close_timeout: float = 5.0,
        on_open: Callable[[Any], Any] = ...,
        on_message: Callable[[Any, str | bytes], Any] = ...,
        on_send: Callable[[Any, Any], int] | None = None,
        on_close: Callable[[Any, int, str], Any] = ...,
        on_result: Callable[[Any, Any], Any] = ...,
        on_error: Callable[[Any, BaseException, str], Any] = ...,
        on_deadline: Callable[[Any], Any] = ...,
        on_drain: Callable[[Any], Any] = ...,
        on_slow: Callable[[Any, float], Any] = ...,
        law_factory: Callable[[int, int, int], Any] | None = None,
        compress: Callable[[bytes, int], bytes] | None = None,
        inflate: Callable[[bytes, bool, int], str | bytes | None] | None = None,
    ) -> None: ...
    @property
    def loop_data(self) -> LoopData: ...
    @property
    def path(self) -> str: ...
    @property
    def max_message_size(self) -> int: ...
    @property
    def max_fragments(self) -> int: ...
    @property
    def max_outbox(self) -> int: ...
    on_open: Callable[[Any], Any]
    on_message: Callable[[Any, str | bytes], Any]
    on_send: Callable[[Any, Any], int] | None
    """Takes the place of `conn.send` where messages have a form of their own; it sends with `conn.send_frame`."""
    on_close: Callable[[Any, int, str], Any]
    on_result: Callable[[Any, Any], Any]
    on_error: Callable[[Any, BaseException, str], Any]
    on_deadline: Callable[[Any], Any]
    on_drain: Callable[[Any], Any]
    on_slow: Callable[[Any, float], Any]
    """What one read brought took longer than 50 ms (here in seconds), mostly in the handler: everybody waited."""
    law_factory: Callable[[int, int, int], Any] | None
    compress: Callable[[bytes, int], bytes] | None
    inflate: Callable[[bytes, bool, int], str | bytes | None] | None
    opened: int
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    pings_sent: int
    pongs_received: int
    slow_consumers: int
    dropped_oldest: int
    """Publications that were queued and made room for newer ones of their topic."""
    dropped_conflated: int
    """Publications that were queued until newer ones with their key made them needless."""
    dropped_slow: int
    """Frames that were queued when their connection was closed 4003."""
    dropped_ended: int
    """Frames that were queued when their connection ended."""
    @property
    def dropped(self) -> int:
        """Frames that were queued and will not be sent, for whatever reason."""
    closed: dict[int, int]
    """Close code -> connections that ended with it."""

    @property
    def rtt(self) -> tuple[list[int], float]:
        """Ping round trips: ([count under 1 ms, under 2 ms, under 4 ms, ...], sum of seconds)."""

class Ingress:
    """What all connections of one listener share until they are upgraded."""

    def __init__(self, loop_data: LoopData, *, handshake_timeout: float = 3.0) -> None: ...
    @property
    def loop_data(self) -> LoopData: ...
    connections: int
    """Sockets accepted and not closed yet."""

    def on_request(self, conn: Any, data: bytes) -> None:
        """The head is complete, too long or malformed: call conn.respond, accept, await_body, or one of them later."""
    def on_handshake_timeout(self, conn: Any) -> bool | None:
        """`handshake_timeout` seconds passed without an upgrade; TCP is closed after this unless it responds.

        True grants the same time once more, for a request that the layer above is still working on.
        """
    def on_lost(self, conn: Any) -> None:
        """The socket of a connection that was never opened is gone."""
    def on_released(self, conn: Any) -> Any:
        """Any connection's socket is gone. Returns the session that it keeps, if somebody still asks for it."""

class Gathering:
    """Base of Audience. Not made from Python."""

def ignore(*arguments: object) -> None:
    """The callback of an endpoint that was given none."""
