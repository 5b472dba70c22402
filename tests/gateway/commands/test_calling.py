"""`rpc`."""

from __future__ import annotations

import pytest

from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


@both_codecs
async def test_a_method_that_nobody_has(codec: str) -> None:
    async with staged() as stage:
        assert stage.connect(subprotocol=codec).ask("rpc", method="nope") == 108
