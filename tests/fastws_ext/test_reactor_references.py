"""Nothing is kept of a connection, a request or a reactor that is gone."""

import gc
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from fastws_ext.wire import Wire
from tests.fastws_ext.harness import Client, on_reactor, serving, turns, until, upgrade_request
from tests.support.frames import BINARY, TEXT, build_frame


class Session:
    """What the layer above keeps for a connection."""


class Traced(Wire):
    """A connection that tells when it is gone."""

    __slots__ = ("__weakref__",)


async def by_close_handshake(client: Client, conn: Any) -> None:
    await client.send_close()
    client.shutdown_write()


async def by_reset(client: Client, conn: Any) -> None:
    client.reset()


async def by_half_a_message(client: Client, conn: Any) -> None:
    await client.send(build_frame(TEXT, b"a", fin=False) + build_frame(0, b"b")[:3])
    client.close()


async def by_violation(client: Client, conn: Any) -> None:
    await client.send(b"\xff\xff")
    await client.frames_until_eof()
    client.close()


async def by_server(client: Client, conn: Any) -> None:
    conn.close(1001, "away")
    await client.send_close(1001)
    client.shutdown_write()


async def by_abort_with_bytes_unsent(client: Client, conn: Any) -> None:
    for _ in range(200):
        conn.send(bytes(60_000))
    conn.abort()


async def by_handler(client: Client, conn: Any) -> None:
    await client.send_frame(TEXT, b"raise")
    await client.read_frame()
    await client.send_close(1011)
    client.shutdown_write()


async def by_pause(client: Client, conn: Any) -> None:
    conn.pause_reading()
    await client.send_frame(TEXT, b"unread")
    client.reset()


ENDS = (
    by_close_handshake,
    by_reset,
    by_half_a_message,
    by_violation,
    by_server,
    by_abort_with_bytes_unsent,
    by_handler,
    by_pause,
)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """References have to come back by themselves: with a million connections the collector is off."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def raise_if_asked(conn: Any, message: str | bytes) -> None:
    if message == "raise":
        raise ValueError(message)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("end", ENDS)
@on_reactor
async def test_nothing_is_kept_of_a_connection_that_is_gone(end: Callable[[Client, Any], Awaitable[None]]) -> None:
    gone: list[weakref.ref[Any]] = []

    def on_open(conn: Any) -> None:
        conn.session = Session()
        audience.add(conn)
        conn.set_deadline(60)
        gone.extend((weakref.ref(conn), weakref.ref(conn.session)))

    options: dict[str, Any] = {"on_open": on_open, "on_message": raise_if_asked, "max_outbox": 1 << 30}
    async with serving("reactor", connection_class=Traced, keep=False, ping_interval=5, **options) as server:
        audience = Audience(server.loop_data)
        held = [sys.getrefcount(thing) for thing in (server.endpoint, server.ingress, server.loop_data, audience)]
        client = await server.connect(receive_buffer=4096)
        await end(client, gone[0]())
        await until(lambda: not server.ingress.connections)
        server.errors.clear()
        await turns(3)
        assert [ref() for ref in gone] == [None, None]
        assert len(audience) == 0
        assert held == [
            sys.getrefcount(thing) for thing in (server.endpoint, server.ingress, server.loop_data, audience)
        ]


@pytest.mark.usefixtures("no_collector")
@on_reactor
async def test_nothing_is_kept_of_a_request_that_was_refused() -> None:
    gone: list[weakref.ref[Any]] = []

    def refuse(conn: Any, data: bytes) -> None:
        gone.append(weakref.ref(conn))
        conn.session = Session()
        gone.append(weakref.ref(conn.session))
        conn.respond(b"HTTP/1.1 404 Not Found\r\n\r\n")

    async with serving("reactor", connection_class=Traced) as server:
        server.on_request = refuse
        client = await server.client()
        await client.send(upgrade_request("/other"))
        assert await client.ending() == "fin"
        client.close()
        await server.all_closed()
        await turns(3)
        assert [ref() for ref in gone] == [None, None]


@on_reactor
async def test_a_connection_that_somebody_keeps_has_let_go_of_session_and_frames() -> None:
    frame = encode_frame(BINARY, bytes(500_000))
    async with serving("reactor", max_outbox=1 << 30) as server:
        held = sys.getrefcount(frame)
        await server.connect(receive_buffer=4096)
        conn = server.conns[0]
        conn.session = Session()
        session = weakref.ref(conn.session)
        for _ in range(20):
            conn.send_frame(frame)
        await turns(3)
        assert sys.getrefcount(frame) > held
        conn.abort()
        await server.all_closed()
        await turns(1)
        assert (conn.session, session(), conn.buffered) == (None, None, 0)
        assert sys.getrefcount(frame) == held
        assert conn.send("x") == 3


@pytest.mark.usefixtures("no_collector")
@on_reactor
async def test_nothing_is_kept_of_a_reactor_that_is_closed() -> None:
    async with serving("reactor") as server:
        await server.connect_many(3)
        server.reactor.close()
        reactor = weakref.ref(server.reactor)
        server.reactor = Closed()
        await turns(3)
        assert reactor() is None


class Closed:
    """Stands for a reactor that the harness need not close."""

    def close(self) -> None:
        pass
