"""Clients that leave, in every manner, at every step of their connection's life; nothing may be left of them."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.fastws_ext.client import Client
from tests.fastws_ext.harness import Server, over, serving, turns, upgrade_request
from tests.support.frames import BINARY, CONTINUATION, PING, TEXT, build_frame, close_frame
from tests.torture.handlers import Traced
from tests.torture.servers import collected

BIG = build_frame(BINARY, bytes(60_000))


def script(*, pauses: bool) -> list[bytes]:
    """What a client says from the first byte to the last, cut where it matters."""
    head, text, close = upgrade_request(), build_frame(TEXT, b"text"), close_frame(1000, b"bye")
    pieces = [head[:1], head[1:-1], head[-1:], text[:1], text[1:5], text[5:]]
    pieces += [build_frame(TEXT, b"one", fin=False), build_frame(PING, b"p"), build_frame(CONTINUATION, b"two")[:7]]
    pieces += [build_frame(CONTINUATION, b"two")[7:], BIG[:14], BIG[14:30_000], BIG[30_000:]]
    pieces += [build_frame(TEXT, b"pause"), text, BIG] if pauses else []
    pieces += [close[:1], close[1:6], close[6:]]
    return pieces


def reset(client: Client) -> None:
    """RST."""
    client.reset()


def close(client: Client) -> None:
    """FIN, or RST if anything was not read."""
    client.close()


def half_close(client: Client) -> None:
    """FIN, and listen on."""
    client.shutdown_write()


def half_close_and_reset(client: Client) -> None:
    """FIN, and RST behind it."""
    client.shutdown_write()
    client.reset()


def handle(conn: Any, message: str | bytes) -> None:
    """Send back; pause before "pause"."""
    if message == "pause":
        conn.pause_reading()
    conn.send(message)


async def leave(server: Server, pieces: list[bytes], manner: Callable[[Client], None]) -> None:
    """Say `pieces`, and go."""
    client = await server.client()
    for piece in pieces:
        await client.send(piece)
        await turns(3)
    manner(client)
    if manner is half_close:
        await client.read_until_eof()  # a reset would raise
    await server.all_closed()
    client.close()
    server.clients.clear()


@pytest.mark.parametrize("pauses", [False, True], ids=["reading", "pausing"])
@pytest.mark.parametrize("manner", [reset, close, half_close, half_close_and_reset])
@over("reactor", "uvloop")
async def test_leaving_at_every_step(transport: str, manner: Callable[[Client], None], pauses: bool) -> None:
    made: weakref.WeakSet[Any] = weakref.WeakSet()

    def connection(ingress: Any) -> Any:
        conn = Traced(ingress)
        made.add(conn)
        return conn

    # Whoever does not read hears of no FIN, nor on the loop's transports of a RST: the heartbeat notices.
    options: dict[str, Any] = {"ping_interval": 0.1, "ping_timeout": 0.1, "close_timeout": 0.1} if pauses else {}
    async with serving(transport, keep=False, connection_class=connection, on_message=handle, **options) as server:
        pieces = script(pauses=pauses)
        for count in range(len(pieces) + 1):
            await leave(server, pieces[:count], manner)
        assert server.endpoint.opened == sum(server.endpoint.closed.values())
        assert server.loop_data.backlog == (0, 0, 0)
        gc.collect()
        assert await collected(made) == []


LATE = (
    build_frame(TEXT, b"late"),
    build_frame(TEXT, b"late", fin=False),
    build_frame(CONTINUATION, b"late", fin=False),
    build_frame(CONTINUATION, b"late"),
    build_frame(TEXT, b"late", rsv=4),
    build_frame(TEXT, b"late", mask=None),
    build_frame(BINARY, bytes(200), fin=False),
    build_frame(BINARY, bytes(70_000), fin=False)[:80],
    build_frame(PING, b"late"),
    build_frame(PING),
)


@pytest.mark.parametrize("late", LATE)
@over("reactor", "uvloop")
async def test_what_comes_behind_a_close_frame_may_be_cut_anywhere(transport: str, late: bytes) -> None:
    """It is skipped by its header, which may arrive byte by byte."""
    async with serving(transport, on_message=lambda conn, message: conn.close(4000)) as server:
        for cut in range(1, min(len(late), 16)):
            client = await server.connect()
            await client.send_frame(TEXT, b"close")
            assert await client.read_close() == (4000, "")
            single = [late[at : at + 1] for at in range(cut, min(len(late), 20))]
            await client.send_in_pieces(late[:cut], *single, late[20:])
            await client.send(close_frame(4000))
            client.shutdown_write()
            assert await client.read_until_eof() == b""
            client.close()
        await server.all_closed()
