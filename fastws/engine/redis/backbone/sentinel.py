"""The master that sentinels name has everything: `redis+sentinel://`.

They are listened to all the time, so another master is followed when they say so, whether the connections to the old
one have noticed anything or not. Sentinels that are away are needed by nobody while the master is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from fastws.engine.redis.backbone.contract import BackboneEvents
from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.backbone.watching import Watch
from fastws.engine.redis.resp.address import Address
from fastws.engine.redis.resp.link import DEADLINE_S, Tuning

_log: Final = logging.getLogger("fastws.engine")


class Sentinel(Standalone):
    """See the contract."""

    def __init__(
        self,
        address: Address,
        sentinels: Sequence[Address],
        master_name: str,
        *,
        prefix: str,
        name: str = "fastws",
        tuning: Tuning = Tuning(),  # noqa: B008 - immutable
    ) -> None:
        """`address`: how the master is reached, whatever its host and port; `sentinels`: at least one. The rest is as
        for `Standalone`.
        """
        super().__init__(address, prefix=prefix, name=name, tuning=tuning)
        self._watch: Final = Watch(sentinels, master_name, self._on_master)

    async def start(self, events: BackboneEvents, within_s: float = DEADLINE_S) -> None:
        deadline = asyncio.get_running_loop().time() + within_s
        try:
            await self._watch.start(within_s)
            await super().start(events, max(deadline - asyncio.get_running_loop().time(), 0.0))
        except BaseException:
            await self._watch.stop()
            raise
        self._watch.hurry(False)

    async def stop(self) -> None:
        await self._watch.stop()
        await super().stop()

    def _on_master(self, host: str, port: int) -> None:
        """The sentinels name another one, or the first."""
        address = self.server.address.at(host, port)
        _log.info("the sentinels name %s as the master", address)
        self.server.move_to(address)

    def on_server_away(self, server: Server, reason: str) -> None:
        """The master is away."""
        self._watch.hurry(True)
        super().on_server_away(server, reason)

    def on_server_back(self, server: Server) -> None:
        """It is back, or another one is."""
        self._watch.hurry(False)
        super().on_server_back(server)
