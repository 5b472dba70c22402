"""`auth` and `refresh`."""

from __future__ import annotations

from fastws import closes
from fastws.core.codecs.commands import Auth, Refresh
from fastws.gateway.commands.common import FatalError, Result
from fastws.gateway.session import Session
from fastws.net.connection import Connection


class Authenticating:
    """Who a connection is."""

    def auth(self, _conn: Connection, _session: Session, _command: Auth | Refresh) -> Result:
        """No key is configured, so no token can be valid."""
        raise FatalError(closes.UNAUTHORIZED, "the token is not valid here", closes.INVALID_TOKEN)
