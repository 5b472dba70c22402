"""What a connection keeps beside its wire, so that one which needs nothing owns nothing.

`conn.session` is None on an idle raw connection. The layer above may put a subclass of `Session` there that has more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from fastws.core.request import Request

_SEPARATOR: Final = b"\r\n"  # never inside a name or value


class Details:
    """What is rarely needed: made only for connections that have some of it."""

    __slots__ = (
        "client",
        "credentials",
        "drain_waiters",
        "kept_headers",
        "passes",
        "query",
        "request",
        "state",
        "subprotocol",
    )

    def __init__(self) -> None:
        self.request: Request | None = None
        """The upgrade request, until the connection is established."""
        self.credentials: Any = None
        """What was found out about who it is, until the connection is established."""
        self.passes: Any = None
        """What it was let do by tokens beside the one that says who it is."""
        self.client: tuple[str, int] | None = None
        """Where the client is, if a trusted proxy said so."""
        self.query = b""
        self.subprotocol = ""
        self.kept_headers = b""
        """`name\\r\\nvalue\\r\\n…` of the headers to keep, packed because they are seldom read."""
        self.state: dict[Any, Any] | None = None
        """The application's, made on first use."""
        self.drain_waiters: list[asyncio.Future[None]] | None = None
        """Coroutines in `conn.drain`; the list is made by the first of them."""

    def wake_drain_waiters(self) -> None:
        """The outbox has room again, or never will."""
        waiters, self.drain_waiters = self.drain_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """(name in lower case, value): all of them while the request is there, afterwards those kept."""
        if self.request is not None:
            return list(self.request.headers)
        parts = self.kept_headers.split(_SEPARATOR) if self.kept_headers else []
        return list(zip(parts[::2], parts[1::2], strict=True))

    def forget_request(self, keep_headers: Collection[bytes]) -> bool:
        """Drop the request but for the headers to keep, and the credentials. The query stays: whoever judged a token in
        it has taken it out.

        False: nothing is left that is worth keeping.
        """
        self.credentials = None
        if self.request is not None:
            kept = [part for pair in self.request.headers if pair[0] in keep_headers for part in pair]
            self.kept_headers = _SEPARATOR.join(kept)
            self.request = None
        worth = (self.kept_headers, self.query, self.subprotocol, self.client, self.drain_waiters)
        return any(worth) or self.state is not None or self.passes is not None


class Session:
    """Base of what is in `conn.session`."""

    __slots__ = ("details",)

    # What every connection answers, with or without identity; subclasses that know better have slots of these names.
    user = ""
    tenant = ""
    device = "default"
    claims: Any = None
    info: Any = None
    topics: Any = ()

    @property
    def is_busy(self) -> bool:
        """Whether a coroutine is under way that may still ask for what is here when the socket is gone."""
        return False

    def __init__(self, details: Details | None = None) -> None:
        self.details = details

    @property
    def subprotocol(self) -> str:
        """The one that was agreed on, empty if none was."""
        return self.details.subprotocol if self.details is not None else ""

    def claims_offered(self) -> dict[str, Any]:
        """All claims of the token, until the connection is established; empty afterwards."""
        credentials = self.details.credentials if self.details is not None else None
        return dict(getattr(credentials, "claims", {}))

    def need_details(self) -> Details:
        """The details, made if there are none."""
        if self.details is None:
            self.details = Details()
        return self.details
