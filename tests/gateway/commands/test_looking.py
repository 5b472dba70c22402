"""`presence`, `presence_stats`, `status`."""

from __future__ import annotations

import pytest

from fastws import FastWS
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


@both_codecs
@pytest.mark.parametrize("cmd", ["presence", "presence_stats"])
async def test_a_topic_without_presence(codec: str, cmd: str) -> None:
    app = FastWS(namespaces={"plain": {"subscribe": "all"}})
    async with staged(app) as stage:
        assert stage.connect(subprotocol=codec).ask(cmd, topic="plain:a") == 108
