"""The admin address of a whole server: what calls do to clients, who may call, and how long it answers."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import jsonschema
import jwt
import pytest

from fastws.observe.admin.calls import BATCH
from fastws.observe.admin.methods import METHODS
from tests.contract.talking import MSGPACK, Talker
from tests.support import on_redis
from tests.support.raw_client import RawClient
from tests.support.server import ServerFailed, ServerProcess
from tests.support.waiting import wait_until

SECRET = "a secret of 32 bytes or more, for HS256"


def ask(server: ServerProcess, path: str, content: Any = None, method: str = "POST", **headers: str) -> tuple[int, Any]:
    """Status and content of the answer of the admin address."""
    host, _, port = server.admin_url.removeprefix("http://").rpartition(":")
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = None if method == "GET" else json.dumps(content or {})
        connection.request(method, path, body, {"Content-Type": "application/json"} | named)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def done(server: ServerProcess, name: str, **fields: Any) -> Any:
    """The result of a call."""
    status, content = ask(server, f"/api/{name}", fields)
    assert status == 200, content
    return content["result"]


def refused(server: ServerProcess, name: str, **fields: Any) -> tuple[int, int]:
    """Status and code of a call that fails."""
    status, content = ask(server, f"/api/{name}", fields)
    return status, content["error"]["code"]


def user(server: ServerProcess, name: str, subprotocol: str = "fastws.json.v1", **claims: Any) -> Talker:
    """A connection of a user."""
    token = jwt.encode({"sub": name, **claims}, SECRET, "HS256")
    return Talker.welcomed(server, subprotocol, path=f"/ws?token={token}")


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--admin-port", "0", "--dev", "--node-name", "n1", "--jwt-secret", SECRET) as running:
        yield running


def test_it_says_where_it_is(server: ServerProcess) -> None:
    assert server.lines == [f"listening on http://127.0.0.1:{server.port}", f"admin on {server.admin_url}"]
    assert server.admin_url.startswith("http://127.0.0.1:")


def test_publishing(server: ServerProcess) -> None:
    with user(server, "1") as ann, user(server, "2", MSGPACK) as bob, user(server, "3", tenant="acme") as eve:
        for client in (ann, bob, eve):
            client.ask("sub", topic="publishing:1")
        first = done(server, "publish", topic="publishing:1", data={"n": 1}, key="k")
        assert first["offset"] == 1
        again = done(server, "publish", topic="publishing:1", data={"n": 1}, key="k")
        assert again | {"nodes": 1} == {**first, "duplicate": True}  # Redis says that it was given to nobody
        for client in (ann, bob):
            heard = client.hear()
            assert (heard["event"], heard["data"], heard["offset"]) == ("publication", {"n": 1}, 1)
            assert "from" not in heard
        page = done(server, "history", topic="publishing:1")
        assert [(entry["data"], entry["offset"]) for entry in page["publications"]] == [({"n": 1}, 1)]
        assert done(server, "publish", topic="publishing:1", data=2, tenant="acme")["offset"] == 1
        assert eve.hear()["data"] == 2
        since = {"epoch": page["epoch"], "offset": 1}
        assert done(server, "history", topic="publishing:1", since=since)["publications"] == []
        assert refused(server, "history", topic="publishing:1", since={"epoch": "x", "offset": 0}) == (400, 112)
        topics = done(server, "broadcast", topics=["publishing:1", "other"], data=3)["topics"]
        assert topics["publishing:1"]["offset"] == 2
        assert topics["other"]["offset"] == 1
        assert ann.hear()["data"] == 3
        assert {"topic": "publishing:1", "subscribers": 2} in done(server, "topics", pattern="publishing:*")["topics"]


def test_what_cannot_be_published(server: ServerProcess) -> None:
    assert refused(server, "publish", topic="a\n", data=1) == (400, 107)
    assert refused(server, "publish", topic="é" * 200, data=1) == (400, 107)
    assert refused(server, "publish", topic="a", data="x" * 70_000) == (413, 110)
    assert refused(server, "publish", topic="a", data="x" * 1_100_000) == (413, 110)
    assert refused(server, "send", to="1") == (400, 108)
    with ServerProcess("--admin-port", "0") as strict:
        assert refused(strict, "publish", topic="undeclared:1", data=1) == (404, 102)
        assert refused(strict, "subscribe", user="1", topic="undeclared:1") == (404, 102)
        assert refused(strict, "presence", topic="a") == (400, 108)
        assert refused(strict, "history", topic="a") == (400, 108)


def test_messages_to_connections(server: ServerProcess) -> None:
    with user(server, "10") as first, user(server, "10", MSGPACK) as second, user(server, "10", tenant="acme") as third:
        assert done(server, "push", user="10", data={"n": 1}) == {"connections": 2}
        assert done(server, "push", conn=third.welcome["conn"], data=2) == {"connections": 1}
        assert done(server, "announce", data=3) == {}
        assert done(server, "announce", data=4, tenant="acme") == {}
        assert done(server, "push", user="nobody", data=5) == {"connections": 0}
        assert [first.hear()["data"], first.hear()["data"]] == [{"n": 1}, 3]
        assert [second.hear()["data"], second.hear()["data"]] == [{"n": 1}, 3]
        heard = [third.hear() for _ in range(3)]
        assert [message["data"] for message in heard] == [2, 3, 4]
        assert all(message["event"] == "message" for message in heard)


def test_subscriptions_by_the_server(server: ServerProcess) -> None:
    with user(server, "20") as first, user(server, "20") as second, user(server, "20", tenant="acme"):
        second.ask("sub", topic="chat:20")
        assert done(server, "subscribe", user="20", topic="chat:20") == {"connections": 1}
        assert first.hear()["event"] == "subscribed"
        done(server, "publish", topic="chat:20", data=1)
        assert first.hear()["data"] == second.hear()["data"] == 1
        assert done(server, "unsubscribe", user="20", topic="chat:20") == {"connections": 2}
        for client in (first, second):
            ended = client.hear()
            assert (ended["event"], ended["code"], ended["resubscribe"]) == ("unsubscribed", 2000, False)
        assert done(server, "unsubscribe", user="20", topic="chat:20") == {"connections": 0}


def test_disconnecting(server: ServerProcess) -> None:
    clients = [user(server, "30"), user(server, "30"), user(server, "30", tenant="acme"), user(server, "31")]
    one, two, other, last = clients
    assert done(server, "disconnect", conn=one.welcome["conn"], code=4000, reason="enough") == {"connections": 1}
    assert one.read_close() == (4000, "enough")
    assert done(server, "disconnect", user="30") == {"connections": 1}
    assert two.read_close() == (4503, "kicked")
    assert done(server, "disconnect", tenant="acme", code=4006) == {"connections": 1}
    assert other.read_close() == (4006, "force_reconnect")
    assert done(server, "disconnect", user="30") == {"connections": 0}
    assert refused(server, "disconnect") == (400, 107)
    assert last.ask("ping").keys() == {"ts"}
    for client in clients:
        client.close()


def test_looking(server: ServerProcess) -> None:
    with user(server, "40", device="web", info={"name": "Ann"}) as client:
        client.ask("sub", topic="chat:40")
        conn = client.welcome["conn"]
        member = {"user": "40", "device": "web", "info": {"name": "Ann"}}
        assert done(server, "presence", topic="chat:40") == {"members": {conn: member}, "connections": 1, "users": 1}
        assert done(server, "presence_stats", topic="chat:40") == {"connections": 1, "users": 1}
        (session,) = done(server, "sessions", user="40")["sessions"]
        assert (session["conn"], session["device"], session["node"]) == (conn, "web", "n1")
        users = done(server, "status", users=["40", "nobody"])["users"]
        assert users["40"]["online"] is True
        assert users["nobody"] == {"online": False, "devices": []}
        assert done(server, "online", attribute="user", value="40") == {"connections": 1}
        (node,) = done(server, "nodes")["nodes"]
        assert (node["id"], node["engine"], node["workers"], node["draining"]) == (
            "n1",
            on_redis.engine_name(),
            1,
            False,
        )
        assert node["connections"] >= 1
        assert node["uptime"] > 0
    wait_until(lambda: done(server, "status", users=["40"])["users"]["40"]["online"] is False)
    assert "last_seen" in done(server, "status", users=["40"])["users"]["40"]


def test_a_batch(server: ServerProcess) -> None:
    commands = [
        {"method": "publish", "topic": "batch:1", "data": 1},
        {"method": "publish", "topic": "\n", "data": 2},
        {"method": "history", "topic": "batch:1"},
    ]
    replies = done(server, "batch", commands=commands)["replies"]
    assert replies[0]["result"]["offset"] == 1
    assert replies[1]["error"]["code"] == 107
    assert [entry["data"] for entry in replies[2]["result"]["publications"]] == [1]


def test_what_is_repeated_at_once_happens_once(server: ServerProcess) -> None:
    body = {"topic": "once:1", "data": 1}
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(ask, server, "/api/publish", body, Idempotency_Key="once") for _ in range(24)]
        answers = [call.result() for call in calls]
    assert all(answer == answers[0] and answer[0] == 200 for answer in answers)
    assert done(server, "history", topic="once:1", limit=0)["offset"] == 1
    assert ask(server, "/api/publish", {**body, "data": 2}, Idempotency_Key="once")[0] == 409


def test_the_description_is_true(server: ServerProcess) -> None:
    status, description = ask(server, "/api/openapi.json", method="GET")
    assert status == 200
    for name in (*METHODS, BATCH):
        operation = description["paths"][f"/api/{name}"]["post"]
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            status, content = ask(server, f"/api/{name}", example["value"])
            assert status == 200, (name, content)
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.Draft202012Validator({**schema, "components": description["components"]}).validate(content)


def test_the_public_port_has_none_of_it(server: ServerProcess) -> None:
    for path in ("/api/publish", "/api/nodes", "/api/openapi.json"):
        with RawClient(server.host, server.port) as client:
            client.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            assert client.read_response().status == 404


def test_a_key_opens_it_on_any_address() -> None:
    with ServerProcess("--admin-host", "0.0.0.0", "--admin-port", "0", env={"FASTWS_ADMIN_KEY": "k3y"}) as server:
        assert server.admin_url.startswith("http://0.0.0.0:")
        assert ask(server, "/api/nodes")[0] == 401
        assert ask(server, "/api/nodes", Authorization="Bearer k3Y")[0] == 401
        assert ask(server, "/api/nodes", Authorization="Bearer k3y")[0] == 200
        assert ask(server, "/healthz", method="GET") == (200, {"status": "ok"})
        assert ask(server, "/readyz", method="GET")[0] == 200
        assert "k3y" not in server.stderr()


def test_without_a_key_no_page_of_a_browser_may_call(server: ServerProcess) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Content_Type": "text/plain"}):
        assert ask(server, "/api/nodes", **headers)[0] == 401


def test_other_machines_need_a_key() -> None:
    with pytest.raises(ServerFailed, match=r"exited 3 (.|\n)*protected mode(.|\n)*--admin-key"):
        ServerProcess("--admin-host", "0.0.0.0", "--admin-port", "0").start()


def test_a_port_in_use_exits_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(ServerFailed, match=rf"exited 3 (.|\n)*admin address: (.|\n)*{port}(.|\n)*--admin-port"):
            ServerProcess("--admin-port", port).start()


def test_a_port_that_is_the_clients_too_exits_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with pytest.raises(ServerFailed, match=rf"exited 3 (.|\n)*admin address: (.|\n)*{port}(.|\n)*--admin-port"):
        ServerProcess("--port", port, "--admin-port", port).start()


def test_a_host_that_is_none_is_not_blamed_on_the_port() -> None:
    with pytest.raises(ServerFailed, match=r"exited 3 (.|\n)*admin address: (.|\n)*192\.0\.2\.1:0") as failed:
        ServerProcess("--admin-host", "192.0.2.1", "--admin-port", "0", env={"FASTWS_ADMIN_KEY": "k3y"}).start()
    assert "takes another port" not in str(failed.value)


def test_nobody_is_kept_waiting_while_the_library_is_loaded() -> None:
    """It is loaded, which takes long, before the first client may come."""
    source = APP.partition("@app.on_shutdown")[0] + LOADED_AT_START
    with ServerProcess("--admin-port", "0", source=source) as server:
        assert "loaded: True" in server.lines


def test_it_answers_until_the_process_exits() -> None:
    with ServerProcess("--admin-port", "0", "--drain-timeout", "20", "--drain-rate", "1", "--dev") as server:
        with Talker.welcomed(server) as first, Talker.welcomed(server) as second:
            server.signal(signal.SIGTERM)
            assert first.read_close()[0] == 1012
            assert ask(server, "/healthz", method="GET") == (200, {"status": "ok"})
            status, content = ask(server, "/readyz", method="GET")
            assert (status, content["checks"]["accepting"]) == (503, False)
            (node,) = done(server, "nodes")["nodes"]
            assert (node["draining"], node["connections"]) == (True, 2)
            assert done(server, "publish", topic="late", data=1)["offset"] == 1
            first.send_close(1012)
            assert second.read_close()[0] == 1012
            second.send_close(1012)
        assert server.wait(30) == 0
        with pytest.raises(OSError):  # noqa: PT011 - refused or reset
            ask(server, "/healthz", method="GET")


APP = """
import asyncio, os, pathlib, sys, urllib.request
from fastws import FastWS

app = FastWS()

@app.http("/loaded")
def loaded(request):
    return {"aiohttp": "aiohttp" in sys.modules}

@app.on_shutdown
async def look():
    url = pathlib.Path(os.environ["FASTWS_TEST_URL_FILE"]).read_text() + "/healthz"
    print("health at the end:", await asyncio.to_thread(lambda: urllib.request.urlopen(url).status), flush=True)
"""

LOADED_AT_START = """
@app.on_startup
def start():
    print("loaded:", "aiohttp" in sys.modules, flush=True)
"""


@pytest.mark.parametrize(("port", "loaded"), [("-1", False), ("0", True)])
def test_the_library_is_loaded_only_where_it_serves(port: str, loaded: bool) -> None:
    source = APP.partition("@app.on_shutdown")[0]
    with ServerProcess("--admin-port", port, source=source) as server, RawClient(server.host, server.port) as client:
        client.send(b"GET /loaded HTTP/1.1\r\nHost: a\r\n\r\n")
        assert json.loads(client.read_response().body) == {"aiohttp": loaded}


def test_it_outlives_the_application(tmp_path: Path) -> None:
    place = tmp_path / "url"
    with ServerProcess("--admin-port", "0", source=APP, env={"FASTWS_TEST_URL_FILE": str(place)}) as server:
        place.write_text(server.admin_url)
        assert server.stop() == 0
        wait_until(lambda: "health at the end: 200" in server.lines)
