"""`auth` and `refresh`."""

from __future__ import annotations

import pytest

from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


@both_codecs
@pytest.mark.parametrize("cmd", ["auth", "refresh"])
async def test_a_token_where_no_key_is_configured_ends_the_connection(codec: str, cmd: str) -> None:
    async with staged() as stage:
        player = stage.connect(subprotocol=codec)
        assert player.ask(cmd) == 107
        assert player.ask(cmd, token=5) == 107
        player.say({"cmd": cmd, "token": "x.y.z", "id": 1}, {"cmd": "ping", "id": 2})
        assert player.hear_one()["error"]["code"] == 101
        assert player.closed == (4500, "invalid_token")
