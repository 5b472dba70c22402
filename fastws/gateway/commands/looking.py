"""`presence`, `presence_stats` and `status`: who is there."""

from __future__ import annotations

from fastws import closes
from fastws.core.codecs.commands import Presence, PresenceStats, Status
from fastws.engine.contract import Answer
from fastws.errors import TopicError
from fastws.gateway.commands.common import Result
from fastws.gateway.session import Session
from fastws.net.connection import Connection


class Looking:
    """Who is there."""

    def presence(self, _conn: Connection, _session: Session, _command: Presence) -> Answer[Result]:
        raise TopicError(closes.NOT_AVAILABLE.code, "the topic has no presence")

    def presence_stats(self, _conn: Connection, _session: Session, _command: PresenceStats) -> Answer[Result]:
        raise TopicError(closes.NOT_AVAILABLE.code, "the topic has no presence")

    def status(self, _conn: Connection, _session: Session, _command: Status) -> Answer[Result]:
        raise TopicError(closes.NOT_AVAILABLE.code, "this server does not know who is online")
