"""What each command does. Handlers check, act and answer with the result of the reply, or an awaitable of it."""

from __future__ import annotations

from dataclasses import dataclass

from fastws.core.codecs.commands import (
    Auth,
    Heartbeat,
    History,
    Ping,
    Presence,
    PresenceStats,
    Pub,
    Refresh,
    Rpc,
    Status,
    Sub,
    Unsub,
)
from fastws.gateway.commands.authenticating import Authenticating
from fastws.gateway.commands.calling import Calling
from fastws.gateway.commands.common import Handler
from fastws.gateway.commands.keeping import Keeping
from fastws.gateway.commands.looking import Looking
from fastws.gateway.commands.publishing import Publishing
from fastws.gateway.commands.subscribing import Subscribing


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of the client protocol, by what they are about."""

    authenticating: Authenticating
    subscribing: Subscribing
    publishing: Publishing
    looking: Looking
    calling: Calling
    keeping: Keeping

    def table(self) -> dict[type, Handler]:
        """The handler of each command, by its type."""
        return {
            Auth: self.authenticating.auth,
            Refresh: self.authenticating.refresh,
            Sub: self.subscribing.sub,
            Unsub: self.subscribing.unsub,
            Pub: self.publishing.pub,
            History: self.publishing.history,
            Presence: self.looking.presence,
            PresenceStats: self.looking.presence_stats,
            Status: self.looking.status,
            Rpc: self.calling.rpc,
            Heartbeat: self.keeping.heartbeat,
            Ping: self.keeping.ping,
        }
