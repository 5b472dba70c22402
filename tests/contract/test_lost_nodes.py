"""Nodes that are killed or stopped: what the others say of their connections, and when."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.serving import SECRET, token
from tests.contract.talking import Talker
from tests.support.redis import RedisServer
from tests.support.server import ServerProcess
from tests.support.waiting import Stopwatch, wait_until

LEASE_S = 3.0
USERS = 500

APP = """
from fastws import FastWS
app = FastWS(namespaces={"room": dict(subscribe="all", presence=True, join_leave=True)})
ended = []

@app.on_disconnect
async def disconnect(info, close):
    ended.append([info.id, info.user, info.device, info.node, close.code, close.reason])

@app.rpc("ended")
def told(conn, data):
    return ended[data:]

@app.rpc("sessions")
async def sessions(conn, data):
    return [session.conn for session in await app.sessions(data)]

@app.rpc("kick")
async def kick(conn, data):
    return await app.disconnect(user=data)
"""


class Trio:
    """Three nodes, and who stays connected to each of them."""

    def __init__(self, stack: ExitStack, redis: RedisServer) -> None:
        prefix = f"t{uuid4().hex[:12]}"
        options = ("--jwt-secret", SECRET, "--anonymous", "--redis", redis.url, "--prefix", prefix)
        options += ("--ping-interval", "1", "--ping-timeout", "60")  # a lease is three of the former
        first, *others = (ServerProcess(*options, "--node-name", name, source=APP) for name in ("n1", "n2", "n3"))
        stack.callback(first.kill)  # how it ends is what these tests are about
        self.nodes = [first.start(), *(stack.enter_context(other) for other in others)]
        self.observers = [stack.enter_context(Talker.welcomed(node)) for node in self.nodes]

    def ask(self, at: int, method: str, data: Any = None) -> Any:
        """What a node answers to a call."""
        answer = self.observers[at].ask("rpc", method=method, data=data)
        assert isinstance(answer, dict), answer
        return answer["data"]

    def come(self, stack: ExitStack, at: int, user: str, device: str = "web") -> Talker:
        path = f"/ws?token={token(user, device=device)}"
        return stack.enter_context(Talker.welcomed(self.nodes[at], path=path))


@pytest.fixture
def trio(redis_server: RedisServer) -> Iterator[tuple[Trio, ExitStack]]:
    with ExitStack() as stack:
        yield Trio(stack, redis_server), stack


def test_every_connection_of_a_killed_node_is_reported_once(trio: tuple[Trio, ExitStack]) -> None:
    nodes, stack = trio
    clients = [nodes.come(stack, 0, f"u{number}") for number in range(USERS)]
    for client in clients[:50]:
        client.ask("sub", topic="room:1")
    other = nodes.come(stack, 1, "u7", "tv")
    other.ask("sub", topic="room:1")
    wait_until(lambda: nodes.observers[2].ask("presence_stats", topic="room:1")["connections"] == 51, what="presence")
    expected = {client.welcome["conn"]: f"u{number}" for number, client in enumerate(clients)}
    expected[nodes.observers[0].welcome["conn"]] = ""  # anonymous
    killed = Stopwatch()
    nodes.nodes[0].kill()
    told: list[list[Any]] = []
    seen = [0, 0, 0]

    def is_over() -> bool:
        for at in (1, 2):
            told.extend(more := nodes.ask(at, "ended", seen[at]))
            seen[at] += len(more)
        return len(told) >= len(expected)

    wait_until(is_over, what="every connection is reported", timeout=LEASE_S + 30)
    took_s = killed.own_s
    assert {id_: user for id_, user, *_ in told} == expected
    assert set(Counter(id_ for id_, *_ in told).values()) == {1}
    assert {(device, node, code, reason) for _, user, device, node, code, reason in told if user} == {
        ("web", "n1", 1006, "node_lost")
    }
    assert took_s < LEASE_S + 1, "a second is for a busy machine"
    for at in (1, 2):
        assert nodes.ask(at, "sessions", "u7") == [other.welcome["conn"]]
        assert nodes.ask(at, "sessions", "u8") == []
        listed = nodes.observers[at].ask("presence", topic="room:1")
        assert list(listed["members"]) == [other.welcome["conn"]] if "members" in listed else listed
    time.sleep(0.5)
    assert is_over()
    assert len(told) == len(expected), "and not again"


def test_a_node_that_was_stopped_for_too_long_comes_back_with_its_connections(trio: tuple[Trio, ExitStack]) -> None:
    nodes, stack = trio
    stays, goes = nodes.come(stack, 0, "ann"), nodes.come(stack, 0, "bob")
    wait_until(lambda: nodes.ask(1, "sessions", "bob") == [goes.welcome["conn"]], what="the session is known")
    nodes.nodes[0].signal(signal.SIGSTOP)
    try:
        wait_until(
            lambda: len(nodes.ask(1, "ended", 0) + nodes.ask(2, "ended", 0)) == 3, what="taken for dead", timeout=30
        )
        assert nodes.ask(1, "sessions", "ann") == []
    finally:
        nodes.nodes[0].signal(signal.SIGCONT)
    wait_until(lambda: nodes.ask(1, "sessions", "ann") == [stays.welcome["conn"]], what="it is back", timeout=30)
    goes.close()
    late = nodes.come(stack, 0, "eve")
    wait_until(lambda: nodes.ask(1, "sessions", "bob") == [], what="its end is known")
    late.close()
    wait_until(lambda: [told[1] for told in nodes.ask(0, "ended", 0)] == ["eve"], what="who was reported is not again")
    crowd = [stays, *(nodes.come(stack, number % 3, "ann", f"d{number}") for number in range(30))]
    wait_until(lambda: len(nodes.ask(2, "sessions", "ann")) == 31, what="all are known")
    watch = Stopwatch()
    assert nodes.ask(2, "kick", "ann") == 31
    assert [client.read_close()[0] for client in crowd] == [4503] * 31
    assert watch.own_s < 1
    lost = [told for at in (1, 2) for told in nodes.ask(at, "ended", 0) if told[-1] == "node_lost"]
    assert sorted(told[1] for told in lost) == ["", "ann", "bob"]
