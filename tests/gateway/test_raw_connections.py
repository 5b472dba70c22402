"""Connections of raw endpoints with `auth`: found, counted, pushed to and closed like any other, at every node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from fastws import FastWS, Reject
from fastws.gateway.auth.tokens import Verifier
from fastws.testing import Client, ConnectionClosed, RefusedError, TestServer
from fastws.types import CloseInfo, ConnectionInfo

pytestmark = pytest.mark.asyncio

SECRET = "a secret of the tests, and long enough for HS256"
PATIENCE_S = 30


class App:
    """An application with raw endpoints, and what it was told."""

    def __init__(self) -> None:
        self.fast = app = FastWS(namespaces={"chat": {"subscribe": "all", "publish": "all"}})
        self.ended: list[tuple[str, int]] = []

        @app.on_connect
        def come(conn: Any) -> None:
            if conn.user == "mallory":
                raise Reject(4507)

        @app.on_disconnect
        def bye(info: ConnectionInfo, close: CloseInfo) -> None:
            self.ended.append((info.user, close.code))

        @app.raw("/each", auth=True)
        def each(conn: Any, message: str | bytes) -> None:
            conn.send(message)

        @app.raw("/stream", auth=True)
        async def stream(conn: Any) -> None:
            async for message in conn:
                conn.send(message)

        @app.raw("/open")
        def anybody(conn: Any, message: str | bytes) -> None:
            conn.send(message)


class Nodes:
    """Servers that are one; `came` has to be at one of them, and the others are asked."""

    def __init__(self, apps: list[App], servers: list[TestServer]) -> None:
        self.apps = apps
        self.servers = servers

    @property
    def first(self) -> TestServer:
        return self.servers[0]

    @property
    def last(self) -> TestServer:
        return self.servers[-1]

    async def connect(self, path: str, user: str = "ann", **claims: Any) -> Client:
        """A client at the last one, that is known to the first."""
        client = await self.last.connect(path, user=user, **claims)
        await client.send_text("here")
        assert await client.receive() == "here"
        return client

    async def until(self, condition: Callable[[], Awaitable[Any]]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await condition():
                await asyncio.sleep(0.005)

    async def until_known(self, count: int, user: str = "ann") -> None:
        async def are_known() -> bool:
            return len(await self.first.app.sessions(user)) == count

        await self.until(are_known)


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    return "none" if request.param == "memory" else str(request.getfixturevalue("redis_server").url)


@asynccontextmanager
async def served(url: str, **settings: Any) -> AsyncIterator[Nodes]:
    prefix = uuid4().hex
    apps = [App() for _ in range(1 if url == "none" else 2)]
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                TestServer(one.fast, redis=url, prefix=prefix, node_name=f"n{number}", jwt_secret=SECRET, **settings)
            )
            for number, one in enumerate(apps)
        ]
        yield Nodes(apps, servers)


@pytest.mark.parametrize("path", ["/each", "/stream"])
async def test_they_are_known_everywhere(url: str, path: str) -> None:
    async with served(url) as nodes:
        client = await nodes.connect(path, tenant=None, device="phone")
        await nodes.until_known(1)
        (session,) = await nodes.first.app.sessions("ann")
        assert (session.user, session.tenant, session.device, session.node) == (
            "ann",
            "",
            "phone",
            nodes.last.settings.node_name,
        )
        status = (await nodes.first.app.status(["ann"]))["ann"]
        assert (status.online, list(status.devices)) == (True, ["phone"])
        assert await nodes.first.app.online("codec", "raw") == 1
        assert await nodes.first.app.push("ann", {"for": "you"}) == 1
        assert await client.receive() == '{"for":"you"}'
        assert await nodes.first.app.disconnect(user="ann") == 1
        assert (await client.wait_closed()).code == 4503
        await nodes.until_known(0)
        assert not (await nodes.first.app.status(["ann"]))["ann"].online


@pytest.mark.parametrize("path", ["/each", "/stream"])
async def test_by_their_ids_and_by_their_tenants(url: str, path: str) -> None:
    async with served(url) as nodes:
        one = await nodes.connect(path)
        await nodes.until_known(1)
        (session,) = await nodes.first.app.sessions("ann")
        assert await nodes.first.app.disconnect(conn=session.conn, code=4006) == 1
        assert (await one.wait_closed()).code == 4006
        two = await nodes.connect(path, tenant="acme")
        other = await nodes.connect(path)
        assert await nodes.first.app.disconnect(tenant="acme") == 1
        assert (await two.wait_closed()).code == 4503
        assert other.closed is None


async def test_what_is_for_topics_or_everybody_is_not_for_them(url: str) -> None:
    async with served(url) as nodes:
        raw = await nodes.connect("/each")
        member = await nodes.last.connect(user="ann")
        await nodes.until_known(2)
        assert await nodes.first.app.subscribe("ann", "chat:lobby") == 1
        await member.expect("subscribed", topic="chat:lobby")
        await nodes.first.app.publish("chat:lobby", "news")
        await nodes.first.app.broadcast("for all")
        await member.expect("publication", data="news")
        await member.expect("message", data="for all")
        await raw.send_text("last")
        assert await raw.receive() == "last"
        assert await nodes.first.app.unsubscribe("ann", "chat:lobby") == 1


@pytest.mark.parametrize("path", ["/each", "/stream"])
async def test_they_take_places(url: str, path: str) -> None:
    async with served(url, max_connections_per_user=1) as nodes:
        holder = await nodes.connect(path)
        await nodes.until_known(1)
        with pytest.raises(ConnectionClosed) as refused:
            await nodes.first.connect(user="ann")
        assert refused.value.code == 4504
        late = await nodes.first.connect(path, user="ann")
        assert (await late.wait_closed()).code == 4504
        await holder.close()
        await nodes.until_known(0)
        await (await nodes.first.connect(user="ann")).close()


@pytest.mark.parametrize("path", ["/each", "/stream"])
async def test_the_newest_takes_the_place_of_an_older_one(url: str, path: str) -> None:
    async with served(url, user_limit_policy="replace", max_connections_per_user=1) as nodes:
        older = await nodes.connect(path)
        await nodes.until_known(1)
        newer = await nodes.first.connect(user="ann")
        assert (await older.wait_closed()).code == 4506
        newest = await nodes.connect(path)
        assert (await newer.wait_closed()).code == 4506
        assert newest.closed is None


@pytest.mark.parametrize("path", ["/each", "/stream"])
async def test_their_ends_are_told_once(url: str, path: str) -> None:
    async with served(url, max_connections_per_user=1) as nodes:
        client = await nodes.connect(path)
        refused = await nodes.last.connect(path, user="ann")
        assert (await refused.wait_closed()).code == 4504
        mallory = await nodes.last.connect(path, user="mallory")
        assert (await mallory.wait_closed()).code == 4507
        await client.close(4321)

        async def are_told() -> bool:
            return len(nodes.apps[-1].ended) == 2

        await nodes.until(are_told)
    assert sorted(nodes.apps[-1].ended) == [("ann", 4321), ("ann", 4504)]
    assert len(nodes.apps) == 1 or nodes.apps[0].ended == []


async def test_who_shows_no_token_is_nobody(url: str) -> None:
    async with served(url) as nodes:
        client = await nodes.last.connect("/open")
        await client.send_text("here")
        assert await client.receive() == "here"
        assert await nodes.first.app.online("codec", "raw") == 0


@pytest.mark.parametrize("path", ["/ws", "/each"])
async def test_a_token_is_verified_once(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    verified = []
    verify = Verifier.verify

    def counting(self: Verifier, token: str) -> Any:
        verified.append(token)
        return verify(self, token)

    monkeypatch.setattr(Verifier, "verify", counting)
    async with served("none") as nodes:
        for token in (nodes.last.token("ann"), "bad", nodes.last.token("ann", ttl=-5)):
            for given in ({"headers": {"Authorization": f"Bearer {token}"}}, {"query": {"token": token}}):
                verified.clear()
                try:
                    client = await nodes.last.connect(path, **given)
                    await client.close()
                except (RefusedError, ConnectionClosed):
                    pass
                assert verified == [token], given
