"""What applications may rely on: names, signatures, documentation. A change here is a change for users."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

import fastws
from fastws import Connection, Context, FastWS, SendStatus, Tenant
from tests.gateway.stage import JSON, MSGPACK, staged

DECORATORS = {
    "on_startup": "(hook)",
    "on_shutdown": "(hook)",
    "on_upgrade": "(hook)",
    "on_connect": "(hook)",
    "on_disconnect": "(hook)",
    "use": "(middleware)",
    "can_subscribe": "(pattern)",
    "can_publish": "(pattern)",
    "on_publish": "(pattern)",
    "on_subscribe": "(pattern)",
    "on_unsubscribe": "(pattern)",
    "on_send": "(*_arguments)",
    "rpc": "(name)",
    "raw": "(path, auth=False)",
    "http": "(path, methods=('GET',), auth=False)",
}
SERVICES = {
    "publish": "(topic, data, *, key=None, exclude=None)",
    "broadcast": "(data)",
    "push": "(user_or_conn, data)",
    "disconnect": "(*, user=None, conn=None, tenant=None, code=4503, reason='')",
    "subscribe": "(user, topic)",
    "unsubscribe": "(user, topic)",
    "presence": "(topic)",
    "presence_stats": "(topic)",
    "history": "(topic, *, since=None, limit=100, reverse=False)",
    "status": "(users)",
    "sessions": "(user, *, limit=1000)",
    "online": "(attribute, value)",
    "topics": "(pattern='*')",
}
OTHERS = {"tenant": "(name)", "send": "(*_arguments, **_options)", "bind": "(services)", "unbind": "()"}
REGISTERED = {
    *("namespaces", "keep_headers", "raw_routes", "http_routes", "rpc_methods", "middleware"),
    *("startup_hooks", "shutdown_hooks", "upgrade_hooks", "connect_hooks", "disconnect_hooks"),
    *("subscribe_rules", "publish_rules", "publish_hooks", "subscribe_hooks", "unsubscribe_hooks"),
}


def signature(function: Any) -> str:
    """Parameters and defaults, without types."""
    parameters = list(inspect.signature(function).parameters.values())
    plain = [parameter.replace(annotation=parameter.empty) for parameter in parameters if parameter.name != "self"]
    return str(inspect.Signature(plain))


def public(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_the_application() -> None:
    assert public(FastWS()) == {*DECORATORS, *SERVICES, *OTHERS, *REGISTERED, "groups", "dead_letters"}
    for name, wanted in {**DECORATORS, **SERVICES, **OTHERS}.items():
        method = getattr(FastWS, name)
        assert signature(method) == wanted, name
        assert method.__doc__, name
        assert inspect.iscoroutinefunction(method) == (name in SERVICES or name == "send"), name
    assert signature(FastWS) == "(namespaces=None, keep_headers=())"


def test_a_tenant_has_the_same_services() -> None:
    assert public(Tenant) == {*SERVICES, "name"}


def test_names_are_exported_typed_and_documented() -> None:
    for name in fastws.__all__:
        assert inspect.getdoc(getattr(fastws, name)), name
    for kind in (FastWS, Tenant):
        for name in public(kind):
            member = inspect.getattr_static(kind, name)
            if inspect.isfunction(member):
                assert "return" in member.__annotations__, name


@pytest.mark.asyncio
async def test_every_attribute_of_a_connection() -> None:
    app = FastWS(keep_headers=("user-agent",))
    async with staged(app) as stage:
        for subprotocol, codec in (("", "json"), (JSON, "json"), (MSGPACK, "msgpack")):
            headers = ((b"user-agent", b"me"),) if subprotocol else ()
            player = stage.connect(subprotocol=subprotocol, headers=headers, query=b"a=1" if subprotocol else b"")
            player.ask("sub", topic="t")
            conn = player.conn
            assert isinstance(conn, Connection)
            assert conn.id
            assert (conn.user, conn.tenant, conn.device, conn.claims, conn.info) == ("", "", "default", {}, None)
            assert (conn.path, conn.query) == ("/ws", {"a": "1"} if subprotocol else {})
            assert dict(conn.headers) == ({"user-agent": "me"} if subprotocol else {})
            assert (conn.subprotocol, conn.codec, conn.topics) == (subprotocol, codec, ("t",))
            assert conn.remote is None  # there is no socket
            conn.state["name"] = 1
            assert conn.state == {"name": 1}
            assert conn.buffered == 0
            assert conn.send({"a": 1}) is SendStatus.SENT
            assert conn.send_json([2]) is SendStatus.SENT
            assert await conn.drain(conn.send("x")) is SendStatus.SENT
            await asyncio.sleep(0)
            assert [message["data"] for message in player.hear()] == [{"a": 1}, [2], "x"]
            conn.close(4321, "bye")
            assert conn.send(1) is SendStatus.CLOSED
            await stage.settle()
            assert player.hear() == []
            assert player.closed == (4321, "bye")
    assert [status.name for status in SendStatus] == ["SENT", "QUEUED", "DROPPED", "CLOSED"]
    assert inspect.isasyncgenfunction(Connection.__aiter__)


@pytest.mark.parametrize(
    "name",
    [
        *("id", "user", "tenant", "device", "claims", "info", "path", "query", "headers", "remote", "subprotocol"),
        *("codec", "topics", "state", "send", "send_json", "drain", "close", "buffered", "__aiter__", "receive"),
    ],
)
def test_what_a_connection_has_is_documented(name: str) -> None:
    assert getattr(inspect.getattr_static(Connection, name), "__doc__", None)


def test_the_context_of_middleware() -> None:
    assert public(Context) == {"conn", "cmd", "data", "request_id", "trace", "state"}
