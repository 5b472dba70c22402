"""A server that nobody stopped: the garbage collector takes it apart in an order of its own."""

from __future__ import annotations

import asyncio
import gc

from tests.gateway.stage import Stage


def test_connections_and_their_loop_are_freed_together() -> None:
    async def leave() -> None:
        stage = Stage()
        await stage.gateway.start()
        for _ in range(20):
            stage.connect().ask("sub", topic="t")
        await stage.gateway.stop()

    for _ in range(5):
        asyncio.run(leave())
        gc.collect()
        # What was freed twice shows when its memory is given out again.
        assert len([{"name": number} for number in range(10_000)]) == 10_000
