"""How many connections one user may have: on one node, and over two nodes that share a Redis; in both codecs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from fastws import closes
from tests.contract.serving import SECRET, token
from tests.contract.shown import CODECS, shows
from tests.contract.talking import Talker
from tests.support.server import ServerProcess

Pair = tuple[ServerProcess, ServerProcess]

APP = """
from fastws import FastWS, Reject
app = FastWS()
ended = []

@app.on_connect
def connect(conn):
    if conn.query.get("connect") == "no":
        raise Reject(4507)

@app.on_disconnect
def disconnect(info, close):
    ended.append([info.user, info.device, close.code])

@app.rpc("ended")
def told(conn, data):
    return ended[:]
"""


def nodes_of(request: pytest.FixtureRequest, *options: str, app: bool = False) -> Iterator[Pair]:
    """Two nodes of a cluster, or twice the same one."""
    more: dict[str, Any] = {"source": APP} if app else {}
    options = ("--jwt-secret", SECRET, "--anonymous", *options)
    with ExitStack() as stack:
        if request.param == "memory":
            server = stack.enter_context(ServerProcess(*options, **more))
            yield server, server
            return
        options = (
            *options,
            "--redis",
            request.getfixturevalue("_redis_server").url,
            "--prefix",
            f"t{uuid4().hex[:12]}",
        )
        servers = [stack.enter_context(ServerProcess(*options, "--node-name", name, **more)) for name in ("n1", "n2")]
        yield servers[0], servers[1]


@pytest.fixture(scope="module", params=["memory", "redis"])
def refusing(request: pytest.FixtureRequest) -> Iterator[Pair]:
    yield from nodes_of(request, "--max-connections-per-user", "2", app=True)


@pytest.fixture(scope="module", params=["memory", "redis"])
def replacing(request: pytest.FixtureRequest) -> Iterator[Pair]:
    yield from nodes_of(request, "--max-connections-per-user", "2", "--user-limit-policy", "replace")


def someone() -> str:
    return uuid4().hex[:8]


def path(user: str, device: str = "", **claims: Any) -> str:
    return f"/ws?token={token(user, **({'device': device} if device else {}), **claims)}"


def upgraded(server: ServerProcess, codec: str, where: str) -> Talker:
    client = Talker(server, codec)
    client.upgrade(where, [("Sec-WebSocket-Protocol", codec)])
    return client


def ends(client: Talker, close: closes.Close) -> None:
    """The server closes it, and says nothing else."""
    assert client.closed_with() == close


def is_let_in(server: ServerProcess, codec: str, where: str) -> bool:
    """Once the ends of others are known."""
    for _ in range(200):
        with upgraded(server, codec, where) as client:
            if client.read_frame().opcode != 8:
                return True
    return False


@CODECS
@shows("close 4504")
def test_newcomers_are_refused(refusing: Pair, codec: str) -> None:
    one, two = refusing
    user = someone()
    with Talker.welcomed(one, codec, path(user)), Talker.welcomed(two, codec, path(user)):
        for server in refusing:
            with upgraded(server, codec, path(user)) as client:
                ends(client, closes.CONNECTION_LIMIT)
        with Talker.welcomed(two, codec, path(user, tenant="t")), Talker.welcomed(two, codec, path(someone())):
            pass
    assert is_let_in(one, codec, path(user))


@CODECS
def test_who_authenticates_later_takes_a_place_too(refusing: Pair, codec: str) -> None:
    one, two = refusing
    user = someone()
    with Talker.welcomed(one, codec) as first, Talker.welcomed(two, codec) as second:
        assert first.ask("auth", token=token(user)) == {}
        assert first.hear()["user"] == user
        assert second.ask("auth", token=token(user)) == {}
        assert second.hear()["user"] == user
        with Talker.welcomed(one, codec) as third:
            assert "ts" in third.ask("ping")
            third.say("auth", id=1, token=token(user))
            last = third.frames_until_close()
            assert (len(last), last[-1].close_code) == (1, 4504)
        assert first.ask("refresh", token=token(user)) == {}


@CODECS
def test_the_hooks_see_the_end_of_whom_they_let_in(refusing: Pair, codec: str) -> None:
    one, _ = refusing
    user = someone()
    with Talker.welcomed(one, codec, path(user)) as first, Talker.welcomed(one, codec, path(user)):
        with upgraded(one, codec, path(user, "x")) as client:
            ends(client, closes.CONNECTION_LIMIT)
        assert [user, "x", 4504] in first.ask("rpc", method="ended")["data"]
        with upgraded(one, codec, path(user, "y") + "&connect=no") as client:
            ends(client, closes.PERMISSION_DENIED)
        assert not [one for one in first.ask("rpc", method="ended")["data"] if one[:2] == [user, "y"]]


@CODECS
@shows("close 4506")
def test_the_oldest_goes(replacing: Pair, codec: str) -> None:
    one, two = replacing
    user = someone()
    with ExitStack() as stack:
        first = stack.enter_context(Talker.welcomed(one, codec, path(user)))
        second = stack.enter_context(Talker.welcomed(two, codec, path(user)))
        third = stack.enter_context(Talker.welcomed(two, codec, path(user)))
        ends(first, closes.REPLACED)
        fourth = stack.enter_context(Talker.welcomed(one, codec, path(user)))
        ends(second, closes.REPLACED)
        assert "ts" in third.ask("ping")
        assert "ts" in fourth.ask("ping")


@CODECS
def test_a_device_has_one_connection(replacing: Pair, codec: str) -> None:
    one, two = replacing
    user = someone()
    with ExitStack() as stack:
        first = stack.enter_context(Talker.welcomed(one, codec, path(user)))
        second = stack.enter_context(Talker.welcomed(two, codec, path(user, "tv")))
        third = stack.enter_context(Talker.welcomed(one, codec, path(user, "tv")))
        ends(second, closes.REPLACED)
        assert first.ask("refresh", token=token(user, device="tv")) == {}
        ends(third, closes.REPLACED)
        fourth = stack.enter_context(Talker.welcomed(two, codec))
        assert fourth.ask("auth", token=token(user, device="tv")) == {}
        ends(first, closes.REPLACED)
