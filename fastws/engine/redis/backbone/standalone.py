"""One Redis server has everything: `redis://`, `rediss://`, `unix://`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastws.engine.contract import Answer
from fastws.engine.redis.backbone.contract import Backbone, BackboneEvents, Word
from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.names import PARTITIONS, Names
from fastws.engine.redis.resp.address import Address
from fastws.engine.redis.resp.link import DEADLINE_S, DEFAULT_TUNING, Tuning
from fastws.engine.redis.scripts import Script

ALL: Final = range(PARTITIONS)


class Standalone(Backbone):
    """See the contract. All partitions are in one server."""

    def __init__(
        self,
        address: Address,
        *,
        prefix: str,
        name: str = "fastws",
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        """`prefix` of all keys; `name`: how the server lists our connections, without spaces. Raises `ConfigError` if a
        file that TLS needs cannot be used.
        """
        self._server: Final = Server(address, self, Names(prefix), name=name, tuning=tuning)
        self._events: BackboneEvents | None = None

    @property
    def server(self) -> Server:
        """The server."""
        return self._server

    async def start(self, events: BackboneEvents, within_s: float = DEADLINE_S) -> None:
        self._events = events
        await self._server.start(within_s)

    async def stop(self) -> None:
        self._events = None
        await self._server.stop()

    def is_up(self, partition: int) -> bool:  # noqa: ARG002 - one server has them all
        return self._server.is_up

    def call(self, partition: int, *words: Word) -> asyncio.Future[Any]:
        return self._server.call(partition, *words)

    def run(self, script: Script, partition: int, keys: Sequence[bytes], words: Sequence[Word]) -> asyncio.Future[Any]:
        return self._server.run(script, partition, keys, words)

    def say(self, partition: int, channel: bytes, payload: bytes) -> asyncio.Future[Any]:
        return self._server.call(partition, self.publish_command, channel, payload)

    def subscribe(self, partition: int, channel: bytes) -> Answer[None]:
        return self._server.subscribe(partition, channel)

    def unsubscribe(self, partition: int, channel: bytes) -> None:  # noqa: ARG002 - the same
        self._server.unsubscribe(channel)

    # What the server tells.

    def on_message(self, channel: bytes, payload: bytes) -> None:
        """Something was said in a channel."""
        if self._events is not None:
            self._events.on_message(channel, payload)

    def on_server_away(self, server: Server, reason: str) -> None:  # noqa: ARG002 - there is one
        """The server is away."""
        if self._events is not None:
            self._events.on_away(ALL, reason)

    def on_server_back(self, server: Server) -> None:  # noqa: ARG002 - there is one
        """It is back."""
        if self._events is not None:
            self._events.on_back(ALL)
