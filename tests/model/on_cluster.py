"""The world of the model over two nodes and a real Redis: half of the users are at each."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from fastws.engine.redis import names
from fastws.engine.redis.names import Names
from tests.model.machine import NAMES
from tests.model.on_server import Server, ServerWorld
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

PREFIX = "model"
BARRIER = "plain:barrier"


class Cluster:
    """Two nodes for many scripts."""

    def __init__(self) -> None:
        self.redis = RedisServer()
        self._stack = ExitStack()
        self._marks = itertools.count(1)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.redis)
            options = ("--redis", self.redis.url, "--prefix", PREFIX)
            self.nodes = [stack.enter_context(Server(*options, "--node-name", name)) for name in ("n1", "n2")]
            for node in self.nodes:
                assert isinstance(node.operator.ask("sub", topic=BARRIER), dict)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def settle(self) -> None:
        """Whatever one node has told the other has arrived there."""
        for sender in self.nodes:
            mark = next(self._marks)
            sender.operator.say("pub", id="mark", topic=BARRIER, data=mark)
            for node in self.nodes:
                awaited = {"mark", mark} if node is sender else {mark}
                while awaited:
                    message = node.operator.hear()
                    awaited.discard(message.get("id") or message.get("data"))


class ClusterWorld(ServerWorld):
    """See `World`."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.nodes[0])
        self.cluster = cluster
        self._turn = itertools.cycle(cluster.nodes)

    def server_of(self, name: str) -> Server:
        return self.cluster.nodes[NAMES.index(name) % 2]

    def publish(self, topic: str, data: Any, exclude: str) -> None:
        self.server = next(self._turn)
        super().publish(topic, data, exclude)

    def order(self, action: str, name: str, topic: str) -> None:
        self.server = next(self._turn)
        super().order(action, name, topic)

    def forget(self, topic: str) -> None:
        self.cluster.settle()
        made = Names(PREFIX)
        self.cluster.redis.ask("DEL", made.of(names.META, topic), made.of(names.HISTORY, topic))
        self.ledger.forget(topic)

    def rest(self) -> None:
        self.cluster.settle()
        for node in self.cluster.nodes:
            wait_until(lambda node=node: not node.call("is busy", None))
        self.cluster.settle()
        for node in self.cluster.nodes:
            node.call("tell", None)

    def members(self, topic: str) -> set[str]:
        found = [set(node.call("members", topic)) for node in self.cluster.nodes]
        assert found[0] == found[1]
        return found[0]
