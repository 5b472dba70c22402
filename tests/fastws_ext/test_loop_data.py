"""Passes are bounded, work that is left goes on in the next one, and the wheel calls what is due."""

import time
from collections import Counter
from typing import Any

from tests.fastws_ext.harness import TEXT, Client, every_transport, on_reactor, over, serving, turns, until
from tests.support.frames import build_frame


async def talk(clients: list[Client], data: bytes) -> None:
    """Have every client send `data`, all of it before the loop turns again."""
    for client in clients:
        assert client.send_now(data) == len(data)


@on_reactor
async def test_a_pass_over_many_busy_sockets_is_bounded() -> None:
    """With no time at all a pass serves one socket's turn, and no message is lost or served twice."""
    per_pass: Counter[int] = Counter()

    def count(conn: Any, message: str | bytes) -> None:
        per_pass[server.loop_data.passes] += 1

    async with serving("reactor", on_message=count) as server:
        clients = await server.connect_many(50)
        server.loop_data.pass_ns = 0
        await talk(clients, build_frame(TEXT, b"x") * 16)
        await until(lambda: sum(per_pass.values()) >= 800)
        assert max(per_pass.values()) <= 32
        assert sum(per_pass.values()) == 800


