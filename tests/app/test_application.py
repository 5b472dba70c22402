"""The application object itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws import FastWS, UsageError
from fastws.app import Tenant
from tests.gateway.stage import staged

pytestmark = pytest.mark.asyncio


async def test_nothing_is_registered_while_a_server_runs() -> None:
    app = FastWS()
    async with staged(app):
        for decorator in (app.on_connect, app.use, app.rpc("m"), app.can_subscribe("t"), app.on_subscribe("t")):
            with pytest.raises(UsageError, match="too late"):
                decorator(lambda *arguments: None)
    app.on_connect(lambda conn: None)


async def test_services_work_in_background_tasks_while_it_runs() -> None:
    app = FastWS()
    async with staged(app):
        assert (await app.publish("t", 1)).offset == 1
    with pytest.raises(UsageError, match="needs a running server"):
        await app.publish("t", 1)


async def test_services_of_another_event_loop_say_how() -> None:
    app = FastWS()

    def elsewhere() -> None:
        asyncio.run(app.publish("t", 1))

    async with staged(app):
        with pytest.raises(UsageError, match="another event loop") as raised:
            await asyncio.to_thread(elsewhere)
        assert "run_coroutine_threadsafe" in raised.value.hint
        loop = asyncio.get_running_loop()
        published = asyncio.run_coroutine_threadsafe(app.publish("t", 1), loop)
        assert (await asyncio.to_thread(published.result)).offset == 1


async def test_services_inside_a_tenant() -> None:
    """All of them, in a server: what is one tenant's is nobody else's."""
    app = FastWS()
    async with staged(app) as stage:
        acme, other, nobodys = (stage.name(stage.connect(), "42", tenant) for tenant in ("acme", "other", ""))
        everyone = (acme, other, nobodys)
        tenant = app.tenant("acme")
        for player in everyone:
            player.ask("sub", topic="t")
        assert (await tenant.publish("t", 1)).offset == 1
        assert (await tenant.history("t")).offset == 1
        assert (await app.history("t")).offset == 0
        await stage.settle()
        assert [player.hear() != [] for player in everyone] == [True, False, False]
        await tenant.broadcast("all")
        assert await tenant.push("42", "him") == 1
        assert await tenant.push(acme.conn, "it") == 1
        assert await tenant.push(other.conn, "not it") == 0
        assert await app.push(other.conn.id, "it") == 1
        await stage.settle()
        assert [[message["data"] for message in player.hear()] for player in everyone] == [
            ["all", "him", "it"],
            ["it"],
            [],
        ]
        assert (await tenant.presence("t")).connections == 1
        assert (await tenant.presence_stats("t")).users == 1
        assert await tenant.subscribe("42", "u") == 1
        assert [topic.topic for topic in await tenant.topics()] == ["t", "u"]
        assert await tenant.unsubscribe("42", "u") == 1
        assert (await tenant.status(["42", "43"]))["42"].online
        assert [session.conn for session in await tenant.sessions("42")] == [acme.conn.id]
        assert (await tenant.online("user", "42"), await app.online("user", "42")) == (1, 3)
        assert await tenant.disconnect(conn=other.conn) == 0
        assert await tenant.disconnect(user="42") == 1
        assert await app.disconnect(tenant="other", code=4006) == 1
        assert await app.disconnect(conn=nobodys.conn.id, reason="bye") == 1
        await stage.settle()
        for player in everyone:
            player.hear()
        assert [player.closed for player in everyone] == [(4503, "kicked"), (4006, "force_reconnect"), (4503, "bye")]


async def test_tenants() -> None:
    app = FastWS()
    assert isinstance(app.tenant("acme"), Tenant)
    wrong: list[Any] = ["", "a\0b", None, 5]
    for name in wrong:
        with pytest.raises(UsageError, match="no tenant"):
            app.tenant(name)
