"""`heartbeat` and `ping`: what keeps a connection alive."""

from __future__ import annotations

import math
from time import time
from typing import Final

from fastws import closes
from fastws.core.codecs.commands import Heartbeat, Ping
from fastws.errors import TopicError
from fastws.gateway.commands.common import Result
from fastws.gateway.session import Session
from fastws.net.connection import Connection

MIN_HEARTBEAT_S: Final = 10
MAX_HEARTBEAT_S: Final = 300


class Keeping:
    """`has_heartbeat`: the server sends pings."""

    def __init__(self, *, has_heartbeat: bool) -> None:
        self._has_heartbeat = has_heartbeat

    def heartbeat(self, conn: Connection, _session: Session, command: Heartbeat) -> Result:
        if not self._has_heartbeat:
            raise TopicError(closes.NOT_AVAILABLE.code, "this server sends no pings")
        if math.isnan(command.interval):
            raise TopicError(closes.MALFORMED.code, "interval is a number of seconds")
        interval = min(max(command.interval, MIN_HEARTBEAT_S), MAX_HEARTBEAT_S)
        conn.set_ping_interval(interval)
        return {"interval": interval}

    def ping(self, _conn: Connection, _session: Session, _command: Ping) -> Result:
        return {"ts": int(time() * 1000)}
