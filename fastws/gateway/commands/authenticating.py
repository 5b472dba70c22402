"""`auth` and `refresh`."""

from __future__ import annotations

from typing import Protocol

from fastws import closes
from fastws.core.codecs.commands import Auth, Refresh
from fastws.engine.contract import Answer
from fastws.errors import TopicError
from fastws.gateway.auth.gate import Credentials, Gate
from fastws.gateway.auth.tokens import TokenError, TokenExpiredError
from fastws.gateway.commands.common import FatalError, Result
from fastws.gateway.session import Session
from fastws.net.connection import Connection


class Opening(Protocol):
    """What becomes of connections whose token is right."""

    def authenticate(self, conn: Connection, session: Session, credentials: Credentials) -> Answer[Result]: ...

    def refresh(self, conn: Connection, session: Session, credentials: Credentials) -> Answer[Result]: ...


class Authenticating:
    """Who a connection is. Tokens that have only expired answer 109, all others 101 and then close 4500."""

    def __init__(self, gate: Gate, opening: Opening) -> None:
        self._gate = gate
        self._opening = opening

    def auth(self, conn: Connection, session: Session, command: Auth) -> Answer[Result]:
        """A stranger, or an anonymous client, says who it is."""
        if session.user:
            raise TopicError(closes.MALFORMED.code, "this connection has a user already, `refresh` renews its token")
        return self._opening.authenticate(conn, session, self._judge(command.token, anonymous=self._gate.terms.welcome))

    def refresh(self, conn: Connection, session: Session, command: Refresh) -> Answer[Result]:
        """A client has a newer token of the same user."""
        return self._opening.refresh(conn, session, self._judge(command.token, anonymous=not session.user))

    def _judge(self, token: str, *, anonymous: bool) -> Credentials:
        try:
            return self._gate.credentials(token, anonymous=anonymous)
        except TokenExpiredError:
            raise TopicError(closes.EXPIRED.code, "the token has expired") from None
        except TokenError as error:
            raise FatalError(closes.UNAUTHORIZED, str(error), closes.INVALID_TOKEN) from None
