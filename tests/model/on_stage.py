"""The world of the model without sockets: a gateway over an engine whose answers and events the script delays."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import orjson

from fastws.app import FastWS
from fastws.core.topics import scoped
from fastws.engine.contract import IDEMPOTENCY_S, Order, Outgoing
from fastws.types import Published
from tests.gateway.engines import DistantEngine
from tests.gateway.stage import Clock, Player, Stage
from tests.model.ledger import Ledger
from tests.model.machine import NAMESPACES, SIZE, TTL_S

T = TypeVar("T")


class RecordingEngine(DistantEngine):
    """Writes down what is published."""

    def __init__(self, ledger: Ledger, clock: Clock, *, prompt: bool, direct: bool) -> None:
        super().__init__(clock, clock, prompt=prompt, direct=direct)
        self.ledger = ledger
        self.clock = clock

    def publish(self, outgoing: Outgoing) -> Published:
        if self.is_away and (outgoing.retention is not None or outgoing.key is not None):
            return super().publish(outgoing)
        now_s = self.clock()
        key = (outgoing.topic, outgoing.key or "")
        is_known = outgoing.key is not None and self.ledger.keys.get(key, now_s) > now_s
        if not is_known:
            # Those who are here hear it before this answers, so it is written down first: with the place it will have.
            position = None
            if outgoing.retention is not None:
                log = self._log(outgoing.topic, outgoing.retention)
                position = (log.epoch, log.offset + 1)
            data = orjson.loads(outgoing.data)
            self.ledger.record(outgoing.topic, data, position, outgoing.exclude, now_s)
            if outgoing.key is not None:
                self.ledger.keys[key] = now_s + IDEMPOTENCY_S
        published = super().publish(outgoing)
        assert published.duplicate is is_known
        return published


class StageLine:
    """A connection of a player."""

    def __init__(self, world: StageWorld, player: Player) -> None:
        self.conn_id: str = player.conn.id
        self._world = world
        self._player = player

    def say(self, command: dict[str, Any]) -> None:
        self._world.run(self._say(command))

    async def _say(self, command: dict[str, Any]) -> None:
        self._player.say(command)

    def receive(self) -> list[Any]:
        self._world.settle()
        return self._player.hear()

    def drop(self, *, politely: bool) -> None:
        self._world.run(self._drop(politely=politely))

    async def _drop(self, *, politely: bool) -> None:
        if politely:
            self._player.go()
        self._player.vanish()


class StageWorld:
    """See `World`."""

    def __init__(self, *, prompt: bool, direct: bool) -> None:
        self.ledger = Ledger(SIZE, TTL_S)
        self.clock = Clock()
        self.engine = RecordingEngine(self.ledger, self.clock, prompt=prompt, direct=direct)
        self._loop = asyncio.new_event_loop()
        self._orders: set[asyncio.Future[Any]] = set()
        self.stage: Stage = self.run(self._start())

    async def _start(self) -> Stage:
        stage = Stage(FastWS(namespaces=NAMESPACES), self.engine, dev=False)
        await stage.gateway.start()
        return stage

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let it happen."""
        return self._loop.run_until_complete(coroutine)

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        self.run(self.stage.settle())

    def connect(self, name: str, codec: str) -> StageLine:
        return self.run(self._connect(name, codec))

    async def _connect(self, name: str, codec: str) -> StageLine:
        return StageLine(self, self.stage.name(self.stage.connect(subprotocol=codec), name))

    def topic(self, topic: str) -> str:
        return topic

    def publish(self, topic: str, data: Any, exclude: str) -> None:
        if not self.engine.is_away or topic.startswith("plain"):
            self.run(self._publish(topic, data, exclude))

    async def _publish(self, topic: str, data: Any, exclude: str) -> None:
        await self.stage.app.publish(topic, data, exclude=exclude or None)

    def order(self, action: str, name: str, topic: str) -> None:
        self.run(self._order(Order(action, user=scoped("", name), topic=topic)))

    async def _order(self, order: Order) -> None:
        answer = self.engine.order(order)
        if not isinstance(answer, tuple):  # it waits for answers that the script gives later
            task = asyncio.ensure_future(answer)
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)

    def forget(self, topic: str) -> None:
        self.engine.forget(topic)
        self.ledger.forget(topic)

    def now_s(self) -> float:
        return self.clock()

    def rest(self) -> None:
        if self.engine.is_away:
            self.run(self.come_back())
        for _ in range(1000):
            self.run(self.arrive())
            self.settle()
            if not self.engine.open and not self.engine.link:
                break
        else:
            raise AssertionError("the server asks the engine without end")
        for topic in self.stage.hub.topics.values():
            if topic.roll is not None and topic.roll.news is not None:
                self.run(self._flush(topic.roll.news))
        self.settle()

    async def arrive(self) -> None:
        """Whatever the engine has to say arrives."""
        self.engine.answer_all()
        self.engine.let_arrive()

    async def come_back(self) -> None:
        """The engine is there again."""
        self.engine.come_back()

    async def _flush(self, news: Any) -> None:
        news.flush()

    def members(self, topic: str) -> set[str]:
        return set(self.engine.presence(topic, 1000).members)

    def close(self) -> None:
        try:
            self.settle()
            self.run(self.stage.gateway.stop())
            assert self.stage.gateway.errors == 0
        finally:
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            self.run(asyncio.wait(pending)) if pending else None
            self._loop.close()
