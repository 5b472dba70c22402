"""Pushes to one connection."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.hub.pushes import push
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
async def test_they_come_in_the_codec_of_the_connection(codec: str) -> None:
    content: dict[str, Any] = {"topic": "a", "code": 2000}
    async with staged() as stage:
        player = stage.connect(subprotocol=codec)
        push(player.conn, "unsubscribed", content)
        await stage.settle()
        assert player.hear_one() == {"event": "unsubscribed", **content}
