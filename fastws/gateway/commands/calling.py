"""`rpc`: what the application answers itself."""

from __future__ import annotations

from fastws import closes
from fastws.core.codecs.commands import Rpc
from fastws.engine.contract import Answer
from fastws.errors import TopicError
from fastws.gateway.commands.common import Result
from fastws.gateway.session import Session
from fastws.net.connection import Connection


class Calling:
    """The application's methods."""

    def rpc(self, _conn: Connection, _session: Session, _command: Rpc) -> Answer[Result]:
        raise TopicError(closes.NOT_AVAILABLE.code, "the application has no such method")
