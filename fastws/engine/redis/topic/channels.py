"""The channels that this process hears: one for each topic that was joined."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Final

from fastws.engine.contract import Answer, EngineEvents
from fastws.engine.redis.common import Common
from fastws.engine.redis.envelope import BATCH, VERSION, publication_in, publications_in
from fastws.engine.redis.names import TOPIC, partition_of

_log: Final = logging.getLogger("fastws.engine")

LINGER_S: Final = 1.0
"""Seconds that a channel is heard, at least, after the topic was left: who comes back does not cost anything."""

_LEFT_AT_ONCE: Final = 2000  # channels per turn, some 5 ms with what the link does


class Channels:
    """Subscribes to channels, and says what comes from them."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._heard: dict[bytes, str] = {}
        """Channel -> topic, of those that are joined."""
        self._lingering: dict[bytes, str] = {}
        """Those that were left since the last sweep,"""
        self._ending: dict[bytes, str] = {}
        """and those that the next one unsubscribes from."""
        self._joining: dict[str, list[asyncio.Future[None]]] = {}
        """Topics whose subscription is not confirmed -> who waits for that."""
        self._sweeper: asyncio.TimerHandle | None = None

    def hear(self, channel: bytes, payload: bytes) -> bool:
        """Something was said in a channel; False if it is no topic's."""
        topic = self._heard.get(channel)
        if topic is None:
            return channel in self._lingering or channel in self._ending
        hub = self._common.hub
        if hub is None:
            return True
        arrived = publication_in(payload)
        if arrived is None:
            self._hear_others(topic, payload, hub)
            return True
        publication, exclude, epoch = arrived
        try:
            hub.on_publication(topic, publication, exclude, epoch)
        except Exception:
            self._fail()
        return True

    def _hear_others(self, topic: str, payload: bytes, hub: EngineEvents) -> None:
        """What is no publication by itself."""
        kind = payload[1] if len(payload) > 1 and payload[0] == VERSION else 0
        many = publications_in(payload) if kind == BATCH else None
        listener = self._common.kinds.get(kind)
        if many is not None:
            for publication, exclude, epoch in many:
                try:
                    hub.on_publication(topic, publication, exclude, epoch)
                except Exception:
                    self._fail()
        elif listener is not None:
            listener(topic, payload)
        else:
            self._common.skip("publication")

    def _fail(self) -> None:
        """The hub could not take it: its data is no JSON, which nobody looks at before it is encoded for somebody."""
        self._common.skip("publication")
        _log.debug("a publication could not be delivered", exc_info=True)

    def is_joined(self, topic: str) -> bool:
        """Whether somebody here hears it."""
        return self._common.names.of(TOPIC, topic) in self._heard

    def join(self, topic: str) -> Answer[None]:
        """Subscribe to its channel."""
        channel = self._common.names.of(TOPIC, topic)
        if channel in self._heard:
            return self.joining(topic)
        self._heard[channel] = topic
        is_subscribed = self._lingering.pop(channel, None) is not None or self._ending.pop(channel, None) is not None
        if not is_subscribed:
            answer = self._common.backbone.subscribe(partition_of(topic), channel)
            if answer is not None:
                waiters = self._joining[topic] = []
                asyncio.ensure_future(answer).add_done_callback(partial(self._confirmed, topic, waiters))
        return self.joining(topic)

    def _confirmed(self, topic: str, waiters: Sequence[asyncio.Future[None]], answer: asyncio.Future[None]) -> None:
        """Redis has answered. An error is a refusal even where Redis is away by now: nobody asks again for the channel.
        Where the link broke before it had answered there is none: the channel is heard when Redis is back.
        """
        error = None if answer.cancelled() else answer.exception()
        if self._joining.get(topic) is waiters:
            del self._joining[topic]
            if error is not None:
                self._forget(topic)
        for waiter in waiters:
            if waiter.done():
                continue  # whoever waited has given up
            if answer.cancelled():
                waiter.cancel()
            elif error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
                waiter.exception()  # nobody has to look at it

    def _forget(self, topic: str) -> None:
        """Its channel was refused, so it is not heard: whoever joins the topic asks for it anew."""
        channel = self._common.names.of(TOPIC, topic)
        for channels in (self._heard, self._lingering, self._ending):
            channels.pop(channel, None)
        self._common.backbone.unsubscribe(partition_of(topic), channel)

    def joining(self, topic: str) -> asyncio.Future[None] | None:
        """What is done when its channel is heard; None if it is. Whoever waits for it may give up."""
        waiters = self._joining.get(topic)
        if waiters is None:
            return None
        # One for each, which costs a fifth of what it does to shield one from all the others.
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        return waiter

    def leave(self, topic: str) -> None:
        """Unsubscribe, after a moment."""
        channel = self._common.names.of(TOPIC, topic)
        if self._heard.pop(channel, None) is not None:
            self._lingering[channel] = topic
            if self._sweeper is None:
                self._sweeper = asyncio.get_running_loop().call_later(LINGER_S, self._sweep)

    def _sweep(self) -> None:
        """Unsubscribe from what was left between one and two sweeps ago, a part at a time."""
        loop = asyncio.get_running_loop()
        for channel in list(islice(self._ending, _LEFT_AT_ONCE)):
            topic = self._ending.pop(channel)
            self._common.backbone.unsubscribe(partition_of(topic), channel)
        if self._ending:
            self._sweeper = loop.call_later(0, self._sweep)
            return
        self._ending, self._lingering = self._lingering, self._ending
        self._sweeper = loop.call_later(LINGER_S, self._sweep) if self._ending else None

    def stop(self) -> None:
        """Nothing is unsubscribed any more: the connections end."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
