"""The world of the model over real sockets: a server process, whose application lets the script look behind it."""

from __future__ import annotations

import itertools
from collections import deque
from types import TracebackType
from typing import Any, Self

from tests.contract.serving import SECRET, token
from tests.contract.talking import Talker
from tests.model.ledger import Ledger
from tests.model.machine import NAMESPACES, SIZE, TTL_S
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

APP = f"""
from fastws import FastWS
app = FastWS(namespaces={NAMESPACES!r})

@app.rpc("publish")
async def publish(conn, data):
    published = await app.publish(data["topic"], data["data"], exclude=data["exclude"] or None)
    return [published.epoch, published.offset]

@app.rpc("subscribe")
async def subscribe(conn, data):
    return await app.subscribe(data["user"], data["topic"])

@app.rpc("unsubscribe")
async def unsubscribe(conn, data):
    return await app.unsubscribe(data["user"], data["topic"])

@app.rpc("members")
async def members(conn, topic):
    return list((await app.presence(topic)).members)

@app.rpc("forget")
def forget(conn, topic):
    engine = app._services._engine
    if engine._logs.pop(topic, None) is not None:
        engine._turns.remove(topic)

@app.rpc("is here")
def is_here(conn, conn_id):
    return app._services._hub.find(conn_id) is not None

@app.rpc("is busy")
def is_busy(conn, data):
    hub = app._services._hub
    under_way = hub.watch.tasks - {{hub.watch._looking}} | hub._attendance.tasks
    return bool(under_way) or any(topic.held is not None for topic in hub.topics.values())

@app.rpc("tell")
def tell(conn, data):
    for topic in app._services._hub.topics.values():
        if topic.roll is not None and topic.roll.news is not None:
            topic.roll.news.flush()
"""


class Server:
    """One process for many scripts, and a client that has it do what no client can."""

    def __init__(self, *options: str) -> None:
        self.process = ServerProcess("--jwt-secret", SECRET, "--ping-interval", "0", *options, source=APP)
        self.scripts = itertools.count(1)

    def __enter__(self) -> Self:
        self.process.__enter__()
        self.operator = Talker.welcomed(self.process, path=f"/ws?token={token('operator')}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.operator.close()
        self.process.__exit__(kind, error, traceback)

    def call(self, method: str, data: Any) -> Any:
        """What the application answers."""
        answer = self.operator.ask("rpc", method=method, data=data)
        assert isinstance(answer, dict), (method, data, answer)
        return answer["data"]


class ServerLine:
    """A connection. What it says has had its effect when `say` returns."""

    def __init__(self, world: ServerWorld, talker: Talker, server: Server) -> None:
        self.conn_id: str = talker.welcome["conn"]
        self._world = world
        self._server = server
        self._talker = talker
        self._heard: deque[Any] = deque()

    def say(self, command: dict[str, Any]) -> None:
        self._talker.say(**command)
        answer = self._hear_until(command["id"])
        if command["cmd"] == "pub" and not answer["result"]["duplicate"]:
            result = answer["result"]
            position = (result["epoch"], result["offset"]) if "epoch" in result else None
            unheard_by = "" if command["echo"] else self.conn_id
            self._world.ledger.record(command["topic"], command["data"], position, unheard_by, 0.0)

    def _hear_until(self, reply_id: Any) -> Any:
        while True:
            message = self._talker.hear()
            self._heard.append(message)
            if message.get("id") == reply_id:
                return message

    def receive(self) -> list[Any]:
        self._talker.say("ping", id="here")
        self._hear_until("here")
        self._heard.pop()
        heard, self._heard = list(self._heard), deque()
        return heard

    def drop(self, *, politely: bool) -> None:
        if politely:
            self._talker.send_close(1000)
        self._talker.close()
        wait_until(lambda: not self._server.call("is here", self.conn_id))


class ServerWorld:
    """See `World`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ledger = Ledger(SIZE, TTL_S)
        self._script = next(server.scripts)
        self._lines: list[Talker] = []

    def connect(self, name: str, codec: str) -> ServerLine:
        server = self.server_of(name)
        talker = Talker.welcomed(server.process, codec, f"/ws?token={token(self._own(name))}")
        self._lines.append(talker)
        return ServerLine(self, talker, server)

    def server_of(self, _name: str) -> Server:
        """Where a user connects."""
        return self.server

    def _own(self, name: str) -> str:
        """Scripts do not meet."""
        return f"{name}-{self._script}"

    def topic(self, topic: str) -> str:
        return self._own(topic)

    def publish(self, topic: str, data: Any, exclude: str) -> None:
        epoch, offset = self.server.call("publish", {"topic": topic, "data": data, "exclude": exclude})
        self.ledger.record(topic, data, (epoch, offset) if epoch is not None else None, exclude, 0.0)

    def order(self, action: str, name: str, topic: str) -> None:
        self.server.call(action, {"user": self._own(name), "topic": topic})

    def forget(self, topic: str) -> None:
        self.server.call("forget", topic)
        self.ledger.forget(topic)

    def now_s(self) -> float:
        return 0.0

    def rest(self) -> None:
        self.server.call("tell", None)

    def members(self, topic: str) -> set[str]:
        return set(self.server.call("members", topic))

    def close(self) -> None:
        for talker in self._lines:
            talker.close()
