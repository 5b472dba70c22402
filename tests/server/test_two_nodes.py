"""Two nodes and one Redis: what is asked of one is done by both."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from fastws.observe.admin.methods import METHODS
from fastws.server.engines.binaries import WHEEL
from tests.contract.talking import Talker
from tests.server.test_worker_admin import ask, done, refused
from tests.support.redis import RedisServer, free_port
from tests.support.server import ServerFailed, ServerProcess
from tests.support.waiting import Stopwatch, wait_until

SECRET = "a secret of 32 bytes or more, for HS256"
SOON_S = 3.0  # a second at most, and what a busy machine takes
CONFIG = """
[namespaces.chat]
subscribe = "all"
publish = "all"
history_size = 100
recover = true
presence = true
[namespaces.news]
subscribe = "all"
publish = "all"
"""


def node(redis: str, name: str, folder: Path, *options: str) -> ServerProcess:
    (folder / "fastws.toml").write_text(CONFIG)
    return ServerProcess(
        *("--redis", redis, "--node-name", name, "--admin-port", "0", *options),
        env={"FASTWS_JWT_SECRET": SECRET},
        directory=folder,
    )


def user(server: ServerProcess, name: str, **claims: Any) -> Talker:
    token = jwt.encode({"sub": name, **claims}, SECRET, "HS256")
    return Talker.welcomed(server, path=f"/ws?token={token}")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def nodes(
    redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    folder = tmp_path_factory.mktemp("nodes")
    with node(redis.url, "a", folder) as a, node(redis.url, "b", folder) as b:
        wait_until(lambda: len(done(a, "nodes")["nodes"]) == 2)
        yield a, b


Nodes = tuple[ServerProcess, ServerProcess]


def test_publications_cross_and_are_counted(nodes: Nodes) -> None:
    a, b = nodes
    with user(b, "ann") as ann, user(a, "ben") as ben:
        ann.ask("sub", topic="news")
        assert done(a, "publish", topic="news", data=1) == {"duplicate": False, "nodes": 1}
        assert ann.hear()["data"] == 1
        ben.ask("sub", topic="news")
        assert done(a, "publish", topic="news", data=2) == {"duplicate": False, "nodes": 2}
        assert ann.hear()["data"] == ben.hear()["data"] == 2
        ann.ask("sub", topic="chat:count")
        first = done(a, "publish", topic="chat:count", data=1)
        assert (first["offset"], first["nodes"]) == (1, 1)
        assert done(b, "history", topic="chat:count")["epoch"] == first["epoch"]
        assert ann.hear()["data"] == 1


def test_a_call_that_is_repeated_at_the_other_node_has_one_effect(nodes: Nodes) -> None:
    a, b = nodes
    for topic in ("news:once", "chat:once"):
        call = {"topic": topic, "data": 1}
        with user(b, "ann") as ann:
            ann.ask("sub", topic=topic)
            _, first = ask(a, "/api/publish", call, Idempotency_Key=f"key {topic}")
            assert ann.hear()["data"] == 1
            _, again = ask(a, "/api/publish", call, Idempotency_Key=f"key {topic}")
            assert again == first
            _, other = ask(b, "/api/publish", call, Idempotency_Key=f"key {topic}")
            assert other == first
            done(b, "publish", topic=topic, data=2)
            assert ann.hear()["data"] == 2
        for server in nodes:
            assert ask(server, "/api/publish", {**call, "data": 3}, Idempotency_Key=f"key {topic}")[0] == 409


def test_whatever_is_repeated_at_the_other_node_has_one_effect(nodes: Nodes) -> None:
    """Each call at one node, then at the other: the second gets the answer of the first, and nobody hears it twice."""
    a, b = nodes
    calls: list[tuple[str, dict[str, Any]]] = [
        ("push", {"user": "ann", "data": 1}),
        ("announce", {"data": 2}),
        ("broadcast", {"topics": ["news"], "data": 3}),
        ("subscribe", {"user": "ann", "topic": "news:more"}),
        ("unsubscribe", {"user": "ann", "topic": "news:more"}),
        ("batch", {"commands": [{"method": "push", "user": "ann", "data": 4}, {"method": "nonsense"}]}),
        ("disconnect", {"user": "ann"}),
    ]
    told: list[tuple[str, Any]] = []
    with user(b, "ann") as ann:
        ann.ask("sub", topic="news")
        for number, (method, call) in enumerate(calls):
            first, *others = (
                ask(server, f"/api/{method}", call, Idempotency_Key=f"once {number}") for server in (a, b, a, b)
            )
            assert first[0] == 200, first
            assert others == [first] * 3
            if method != "disconnect":
                told.append(_told(ann.hear()))
        assert ann.closed_with()[0] == 4503
    assert told == [
        ("message", 1),
        ("message", 2),
        ("publication", 3),
        ("subscribed", "news:more"),
        ("unsubscribed", "news:more"),
        ("message", 4),
    ]


def _told(push: dict[str, Any]) -> tuple[str, Any]:
    return push["event"], push["data"] if "data" in push else push["topic"]


def test_broadcast_announce_and_push(nodes: Nodes) -> None:
    a, b = nodes
    with user(b, "ann") as ann, user(a, "ben") as ben:
        ann.ask("sub", topic="news")
        assert done(a, "broadcast", topics=["news", "news:none"], data=1)["topics"].keys() == {"news", "news:none"}
        assert ann.hear()["data"] == 1
        done(a, "announce", data="all")
        assert ann.hear()["data"] == ben.hear()["data"] == "all"
        assert done(a, "push", user="ann", data="you") == {"connections": 1}
        assert ann.hear()["data"] == "you"
        assert done(a, "push", conn=ann.welcome["conn"], data="there") == {"connections": 1}
        assert ann.hear()["data"] == "there"
        assert done(a, "push", user="nobody", data=0) == {"connections": 0}
        assert done(a, "push", conn=ann.welcome["conn"], tenant="other", data=0) == {"connections": 0}


def test_orders_reach_everybody(nodes: Nodes) -> None:
    a, b = nodes
    with user(b, "cat") as there, user(a, "cat") as here:
        assert done(a, "subscribe", user="cat", topic="news:x") == {"connections": 2}
        assert there.hear()["event"] == here.hear()["event"] == "subscribed"
        assert done(b, "unsubscribe", user="cat", topic="news:x") == {"connections": 2}
        assert there.hear()["code"] == here.hear()["code"] == 2000
        assert refused(a, "subscribe", user="cat", topic="none:x") == (404, 102)
        assert done(a, "disconnect", conn=there.welcome["conn"], code=4004) == {"connections": 1}
        assert there.read_close()[0] == 4004
        with user(b, "cat") as back:
            watch = Stopwatch()
            assert done(a, "disconnect", user="cat") == {"connections": 2}
            assert back.read_close()[0] == here.read_close()[0] == 4503
            assert watch.own_s < SOON_S
    with user(b, "dan", tenant="acme") as there, user(a, "eve", tenant="acme") as here:
        assert done(a, "disconnect", tenant="acme", code=4001) == {"connections": 2}
        assert there.read_close()[0] == here.read_close()[0] == 4001


def test_who_and_what_is_here(nodes: Nodes) -> None:
    a, b = nodes
    with user(a, "fay", device="web") as here, user(b, "fay", device="phone") as there:
        for talker in (here, there):
            talker.ask("sub", topic="chat:room")
        both = {here.welcome["conn"], there.welcome["conn"]}
        for server in nodes:
            wait_until(lambda: done(server, "presence", topic="chat:room")["connections"] == 2)  # noqa: B023
            assert done(server, "presence", topic="chat:room")["members"].keys() == both
            assert done(server, "presence_stats", topic="chat:room") == {"connections": 2, "users": 1}
            wait_until(lambda: len(done(server, "sessions", user="fay")["sessions"]) == 2)  # noqa: B023
            sessions = done(server, "sessions", user="fay")["sessions"]
            assert {one["conn"] for one in sessions} == both
            assert {one["node"] for one in sessions} == {"a", "b"}
            assert {one["device"] for one in sessions} == {"web", "phone"}
            status = done(server, "status", users=["fay", "nobody"])["users"]
            assert status["fay"]["online"] is True
            assert status["fay"]["devices"] == ["phone", "web"]
            assert status["nobody"]["online"] is False
            assert done(server, "topics", pattern="chat:r*") == {"topics": [{"topic": "chat:room", "subscribers": 2}]}
            assert done(server, "topics", pattern="chat:room")["topics"][0]["subscribers"] == 2
            assert done(server, "online", attribute="user", value="fay") == {"connections": 2}
            assert done(server, "online", attribute="device", value="phone") == {"connections": 1}
            assert here.ask("presence_stats", topic="chat:room")["connections"] == 2
    wait_until(lambda: not done(a, "sessions", user="fay")["sessions"])
    assert done(b, "status", users=["fay"])["users"]["fay"]["last_seen"] > 0


def test_history_is_the_same(nodes: Nodes) -> None:
    a, b = nodes
    for number in range(3):
        done(nodes[number % 2], "publish", topic="chat:history", data=number)
    assert done(a, "history", topic="chat:history") == done(b, "history", topic="chat:history")
    assert [one["data"] for one in done(a, "history", topic="chat:history")["publications"]] == [0, 1, 2]


def test_nodes_are_listed(nodes: Nodes) -> None:
    a, b = nodes
    with user(b, "ann"), user(b, "ben"):
        wait_until(lambda: [one["connections"] for one in done(a, "nodes")["nodes"]] == [0, 2])
        listed = done(a, "nodes")["nodes"]
        assert [(one["id"], one["workers"], one["engine"], one["draining"]) for one in listed] == [
            ("a", 1, "redis", False),
            ("b", 1, "redis", False),
        ]


def test_every_method_has_been_tried() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in METHODS if f'"{name}"' not in source and f"/api/{name}" not in source] == []


def readiness(server: ServerProcess) -> tuple[int, Any]:
    return ask(server, "/readyz", method="GET")


def test_a_node_whose_redis_is_away_is_not_ready_and_says_so_at_once(tmp_path: Path) -> None:
    with RedisServer() as own, node(own.url, "alone", tmp_path) as server, user(server, "ann") as ann:
        wait_until(lambda: readiness(server)[0] == 200)
        ann.ask("sub", topic="news")
        own.stop()
        assert ann.hear()["event"] == "degraded"
        wait_until(lambda: readiness(server)[0] == 503)
        watch = Stopwatch()
        assert readiness(server) == (503, {"status": "unavailable", "checks": {"accepting": True, "engine": False}})
        assert refused(server, "nodes") == (503, 113)
        assert refused(server, "publish", topic="chat:1", data=1) == (503, 113)
        published = done(server, "publish", topic="news", data=1)
        assert watch.own_s < SOON_S
        assert published["degraded"] is True
        assert ann.hear()["data"] == 1
        own.start()
        assert ann.hear()["event"] == "restored"
        wait_until(lambda: readiness(server)[0] == 200)
        assert done(server, "nodes")["nodes"][0]["id"] == "alone"


def test_a_redis_that_cannot_be_reached_ends_the_start(tmp_path: Path) -> None:
    watch = Stopwatch()
    with pytest.raises(ServerFailed, match="exited 3 instead of listening") as failed:
        node(f"redis://127.0.0.1:{free_port()}/0", "a", tmp_path).start()
    assert "Error: the engine cannot start: " in str(failed.value)
    assert "cannot be reached" in str(failed.value)
    assert "; start Redis there, or name another one with --redis" in str(failed.value)
    assert watch.own_s < 15


def test_secrets_are_not_said(tmp_path: Path) -> None:
    with RedisServer(password="s3cret") as own:
        with node(own.url, "a", tmp_path, "--log-level", "debug") as server:
            assert "engine redis (redis://:***@127.0.0.1:" in json.loads(server.stderr().splitlines()[0])["event"]
            assert "s3cret" not in server.stderr()
        with pytest.raises(ServerFailed, match="exited 3") as failed:
            node(own.url.replace("s3cret", "wr0ng"), "a", tmp_path).start()
        assert "password" in str(failed.value)
        assert "wr0ng" not in str(failed.value).partition("\n")[2]


def test_a_private_redis(tmp_path: Path) -> None:
    with node("embedded", "a", tmp_path, "--data-dir", str(tmp_path / "data")) as server:
        assert "engine redis (embedded, " in server.stderr()
        wait_until(lambda: readiness(server)[0] == 200)
        done(server, "publish", topic="chat:kept", data=1)
        with user(server, "ann") as ann:
            was = ann.ask("sub", topic="chat:kept")
            threads = Path(f"/proc/{server.pid}/task").glob("*/children")
            (redis,) = [child for thread in threads for child in thread.read_text().split()]
            os.kill(int(redis), signal.SIGTERM)  # in order: what is on its disk is all there was
            # It is another one now: whether anything was lost is found out by subscribing again.
            events = [ann.hear() for _ in range(3)]
            assert [one["event"] for one in events] == ["degraded", "unsubscribed", "restored"]
            assert events[1]["code"] == 2500
            done(server, "publish", topic="chat:kept", data=2)
            back = ann.ask("sub", topic="chat:kept", recover={"epoch": was["epoch"], "offset": was["offset"]})
            assert back["recovered"] is True
            assert [one["data"] for one in back["publications"]] == [2]
        before = done(server, "history", topic="chat:kept")
        assert [one["offset"] for one in before["publications"]] == [1, 2]
    with node("none", "a", tmp_path, "--data-dir", str(tmp_path / "data")) as server:
        after = done(server, "history", topic="chat:kept")
        assert after["publications"] == before["publications"]
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)


def test_workers_get_a_redis_of_their_own_and_are_one_node(tmp_path: Path) -> None:
    with node("none", "a", tmp_path, "--workers", "2") as server:
        assert "engine redis (embedded, " in server.stderr()
        wait_until(lambda: [one["workers"] for one in done(server, "nodes")["nodes"]] == [2])
        talkers = [user(server, f"u{number}") for number in range(12)]
        try:
            for talker in talkers:
                talker.ask("sub", topic="news")
            workers = len({one.welcome["conn"].partition("-")[0] for one in talkers})
            assert done(server, "publish", topic="news", data=1) == {"duplicate": False, "nodes": workers}
            assert [talker.hear()["data"] for talker in talkers] == [1] * 12
            wait_until(lambda: done(server, "nodes")["nodes"][0]["connections"] == 12)
            assert done(server, "online", attribute="codec", value="json") == {"connections": 12}
        finally:
            for talker in talkers:
                talker.close()


def test_workers_without_a_redis_to_start(tmp_path: Path) -> None:
    if importlib.util.find_spec(WHEEL) is not None:
        pytest.skip("a package that ships a server is installed")
    if setpriv := shutil.which("setpriv"):
        (tmp_path / "setpriv").symlink_to(setpriv)  # what starts it in tests
    server = ServerProcess("--workers", "2", env={"PATH": str(tmp_path)})
    with pytest.raises(ServerFailed, match="exited 3") as failed:
        server.start()
    assert "Error: --workers 2 needs a Redis: there is no Redis that could be started" in str(failed.value)
