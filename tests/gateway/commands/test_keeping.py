"""`heartbeat` and `ping`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


class TestHeartbeat:
    """`heartbeat` and `ping`."""

    @pytest.mark.parametrize(
        ("asked", "got"), [(30, 30), (10, 10), (9.5, 10), (-1, 10), (300, 300), (1e30, 300), (12.5, 12.5)]
    )
    async def test_the_reply_has_the_number_in_force(self, asked: float, got: float) -> None:
        async with staged() as stage:
            assert stage.connect().ask("heartbeat", interval=asked) == {"interval": got}

    @pytest.mark.parametrize("asked", [None, "30", True, [1]])
    async def test_nonsense(self, asked: Any) -> None:
        async with staged() as stage:
            player = stage.connect()
            assert player.ask("heartbeat", interval=asked) == 107
            assert player.ask("heartbeat") == 107
            assert stage.connect(subprotocol=MSGPACK).ask("heartbeat", interval=float("nan")) == 107

    async def test_a_server_without_pings_has_none(self) -> None:
        async with staged(ping_interval=0.0) as stage:
            assert stage.connect().ask("heartbeat", interval=30) == 108

    @both_codecs
    async def test_ping_tells_the_time(self, codec: str) -> None:
        async with staged() as stage:
            answer = stage.connect(subprotocol=codec).ask("ping")
            assert answer.keys() == {"ts"}
            assert answer["ts"] > 1_600_000_000_000
