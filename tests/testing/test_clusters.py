"""Several servers of tests and one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from fastws import FastWS
from fastws.errors import StartError
from fastws.server.engines import facts
from fastws.testing import TestServer
from tests.support.redis import RedisServer, redis_binary

pytestmark = pytest.mark.asyncio

NAMESPACES = {"chat": {"subscribe": "all", "publish": "all", "history_size": 10, "recover": True, "presence": True}}


@pytest.fixture(params=["redis_server", "sentinel_fleet", "cluster_fleet"])
def url(request: pytest.FixtureRequest) -> str:
    """Of one server, of sentinels, and of a cluster."""
    return str(request.getfixturevalue(request.param).url)


@asynccontextmanager
async def two_nodes(url: str) -> AsyncIterator[tuple[TestServer, TestServer]]:
    prefix = uuid4().hex
    async with (
        TestServer(FastWS(namespaces=NAMESPACES), redis=url, prefix=prefix, node_name="a", admin_port=0) as a,
        TestServer(FastWS(namespaces=NAMESPACES), redis=url, prefix=prefix, node_name="b") as b,
    ):
        yield a, b


async def test_what_is_published_at_one_is_heard_at_all(url: str) -> None:
    async with two_nodes(url) as (a, b):
        ann, ben = await a.connect(user="ann"), await b.connect(user="ben")
        await ben.subscribe("chat:lobby")
        await ann.publish("chat:lobby", "hello")
        push = await ben.expect("publication", data="hello")
        assert push["from"]["user"] == "ann"
        assert (await b.app.history("chat:lobby")).publications[0].data == "hello"
        published = await a.app.publish("chat:lobby", 2)
        assert (published.offset, published.nodes) == (2, 1)
        await ben.expect("publication", data=2)
        async with asyncio.timeout(30):  # what is known of others is written behind
            while [session.node for session in await a.app.sessions("ben")] != ["b"]:
                await asyncio.sleep(0.01)
            while (await a.app.presence("chat:lobby")).users != 1:
                await asyncio.sleep(0.01)
        assert await a.app.push("ben", "you") == 1
        await ben.expect("message", data="you")
        assert [node["id"] for node in (await a.api("nodes"))["nodes"]] == ["a", "b"]


async def test_a_user_may_be_at_both(url: str) -> None:
    async with two_nodes(url) as (a, b):
        here, there = await a.connect(user="ann"), await b.connect(user="ann")
        assert here.id != there.id
        async with asyncio.timeout(30):  # what is known of sessions is written behind
            while {session.conn for session in await a.app.sessions("ann")} != {here.id, there.id}:
                await asyncio.sleep(0.01)
        for client in (here, there):
            await client.subscribe("chat:both")
        await here.publish("chat:both", 1, echo=False)
        await there.expect("publication", data=1)
        await here.nothing_arrives()
        async with asyncio.timeout(30):
            while (await b.app.presence("chat:both")).connections != 2:
                await asyncio.sleep(0.01)
        assert await a.app.push(there.id, "you") == 1
        await there.expect("message", data="you")


async def test_what_was_missed_is_recovered_at_another_one(url: str) -> None:
    async with two_nodes(url) as (a, b):
        ann = await a.connect(user="ann")
        was = await ann.subscribe("chat:moving")
        await ann.close()
        await b.app.publish("chat:moving", 1)
        ann = await b.connect(user="ann")
        back = await ann.subscribe("chat:moving", recover={"epoch": was["epoch"], "offset": was["offset"]})
        assert back["recovered"]
        assert [one["data"] for one in back["publications"]] == [1]


async def test_one_redis_for_one_test() -> None:
    redis_binary()
    server = TestServer(FastWS(namespaces=NAMESPACES), redis="embedded")
    for _ in range(2):
        async with server:
            path = Path(server.settings.redis.removeprefix("unix://"))
            assert path.is_socket()
            assert (await server.app.publish("chat:1", 1)).offset == 1
            async with TestServer(FastWS(namespaces=NAMESPACES), redis=server.settings.redis, node_name="b") as other:
                assert (await other.app.history("chat:1")).offset == 1
        assert server.settings.redis == "embedded"
        assert not path.exists()


async def test_a_private_redis_ends_with_a_server_whose_end_is_cancelled() -> None:
    redis_binary()
    app = FastWS()
    ends = asyncio.Event()

    @app.on_shutdown
    async def linger() -> None:
        ends.set()
        await asyncio.sleep(60)

    server = await TestServer(app, redis="embedded").start()
    path = Path(server.settings.redis.removeprefix("unix://"))
    stopping = asyncio.create_task(server.stop())
    await ends.wait()
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not path.exists()
    assert server.settings.redis == "embedded"


async def test_a_redis_that_is_too_old(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "OLDEST", (99, 0))
    server = TestServer(FastWS(), redis=redis_server.url, prefix=uuid4().hex)
    with pytest.raises(StartError, match=r"Redis \S+ is too old: fastws needs Redis 99.0 or later"):
        await server.start()


async def test_a_redis_that_throws_data_away(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as redis:
        async with TestServer(FastWS(), redis=redis.url):
            assert "Redis throws data away when its memory is used up (maxmemory-policy allkeys-lru)" in caplog.text
