from collections.abc import Callable
from typing import Any

from .endpoint import Endpoint, Ingress
from .loop_data import LoopData

ANSWER: bytes
INTERNAL_ERROR: bytes

class FastIngress(Ingress):
    """An ingress that decides and answers the common upgrade by itself and leaves the others to `on_request`."""

    def __init__(self, loop_data: LoopData, *, handshake_timeout: float = 3.0) -> None: ...
    routes: dict[bytes, Endpoint]
    """Path -> endpoint whose common upgrade needs nothing of the layer above."""
    admit: Callable[[Any], int] | None
    """Asked after the syntax checks: 0 lets in, anything else leaves the refusal to `on_request`."""
    recognize: Callable[[Any, Endpoint, bytes, bytes | None, bytes | None], bytes | None] | None
    """Asked instead where there is a query, an Authorization or a Sec-WebSocket-Protocol, which it gets (the latter two
    None if absent): the further header lines of the answer, each with its line end, and it is in; None leaves the
    request to `on_request`.
    """
    same_host_origins: bool
    """An Origin equal to Host is let in; False leaves every Origin to `on_request`."""
    decline_extensions: bool
    """Offers of extensions are ignored; False leaves them to `on_request`."""
    trust_forwarded: bool
    """X-Forwarded-For and -Proto matter, so requests with one are left to `on_request`."""

    @property
    def common(self) -> int:
        """Upgrades decided here."""
    @property
    def uncommon(self) -> int:
        """Requests left to `on_request`."""

def accept_key(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept value for a Sec-WebSocket-Key of 24 characters (RFC 6455 4.2.2)."""
