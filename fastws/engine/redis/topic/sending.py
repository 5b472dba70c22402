"""What this process publishes.

What one pass of the loop publishes to a topic goes out together at its end, as one command: where much is published,
this process, Redis, and whoever hears it, have less to do for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

from fastws.core.publication import Publication, Retention
from fastws.engine.contract import IDEMPOTENCY_S, Answer, Outgoing
from fastws.engine.redis.common import Common, now_ms
from fastws.engine.redis.envelope import batch_of, envelope_of, flags_of, tail_of
from fastws.engine.redis.names import HISTORY, KEY, META, TOPIC, partition_of
from fastws.engine.redis.scripts import script
from fastws.engine.redis.topic.channels import Channels
from fastws.errors import EngineError, InternalError
from fastws.types import Published

_log: Final = logging.getLogger("fastws.engine")

IDLE_S: Final = 3600.0
"""Seconds that the position of a topic with a limit of age outlives its publications, at least; then its epoch ends."""

MAX_BATCH: Final = 256
"""Publications that go out together, at most."""
MAX_BATCH_BYTES: Final = 65_536

_WITHOUT_HISTORY: Final = Published(None, None, duplicate=False)
_KNOWN: Final = Published(None, None, duplicate=True, nodes=0)
_ALONE: Final = Published(None, None, duplicate=False, degraded=True)
_IDEMPOTENCY_S: Final = int(IDEMPOTENCY_S)

PUBLISH: Final = script("publish", after="epoch", needs_era=True, is_stored=True)
PUBLISH_ONCE: Final = script("publish_once")


def limits(retention: Retention) -> tuple[int, int, int]:
    """What scripts are told of how long a topic's publications are kept: number, milliseconds, milliseconds idle."""
    ttl_ms = max(1, int(retention.ttl_s * 1000)) if retention.ttl_s else 0
    return retention.size, ttl_ms, max(ttl_ms, int(IDLE_S * 1000))


class _Batch:
    """Publications of one topic that wait for the end of the pass."""

    __slots__ = ("entries", "retention", "size", "waiting")

    def __init__(self) -> None:
        self.entries: list[tuple[int, bytes]] = []
        """Flags and tails."""
        self.waiting: list[asyncio.Future[Published]] = []
        self.size = 0
        self.retention: Retention | None = None


class Sending:
    """Publishes."""

    def __init__(self, common: Common, channels: Channels, new_epoch: Callable[[], str]) -> None:
        """`new_epoch`: a name that no epoch has had."""
        self._common = common
        self._channels = channels
        self._new_epoch = new_epoch
        self._batches: dict[str, _Batch] = {}

    def publish(self, outgoing: Outgoing) -> Answer[Published]:
        """Publish; see the contract."""
        topic = outgoing.topic
        partition = partition_of(topic)
        if not self._common.backbone.is_up(partition):
            return self._publish_here(outgoing, partition)
        tail = tail_of(outgoing)
        if outgoing.key is not None:
            self._flush(topic)
            return self._publish_once(outgoing, partition, tail)
        batch = self._batches.get(topic)
        if batch is None:
            if not self._batches:
                asyncio.get_running_loop().call_soon(self.flush)
            batch = self._batches[topic] = _Batch()
        future: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        batch.entries.append((flags_of(outgoing), tail))
        batch.waiting.append(future)
        batch.size += len(tail)
        batch.retention = outgoing.retention
        if len(batch.entries) >= MAX_BATCH or batch.size >= MAX_BATCH_BYTES:
            self._flush(topic)
        return future

    def _publish_here(self, outgoing: Outgoing, partition: int) -> Published:
        """While nobody else can be reached: tell those who are here, if that is all there is to it."""
        if outgoing.retention is not None or outgoing.key is not None or not self._common.is_running:
            self._common.require(partition)
        if self._channels.is_joined(outgoing.topic):
            publication = Publication(outgoing.data, now_ms(), 0, outgoing.user, outgoing.conn, outgoing.exclude)
            self._common.events.on_publication(outgoing.topic, publication, outgoing.exclude, "")
        return _ALONE

    def flush(self) -> None:
        """Send what waits."""
        for topic in list(self._batches):
            self._flush(topic)

    def _flush(self, topic: str) -> None:
        batch = self._batches.pop(topic, None)
        if batch is None:
            return
        partition = partition_of(topic)
        try:
            if batch.retention is not None:
                answer = self._keep(topic, partition, batch.retention, batch.entries)
                answer.add_done_callback(lambda done: _placed(batch.waiting, done))
            else:
                ts_ms = now_ms()
                envelopes = [envelope_of(flags, tail, ts_ms) for flags, tail in batch.entries]
                payload = envelopes[0] if len(envelopes) == 1 else batch_of(envelopes)
                answer = self._common.backbone.say(partition, self._common.names.of(TOPIC, topic), payload)
                answer.add_done_callback(lambda done: _said(batch.waiting, done))
        except EngineError as error:
            _fail(batch.waiting, error)
        except Exception:  # others have to be sent still, and nobody may wait for ever
            _log.exception("publications could not be sent")
            _fail(batch.waiting, InternalError("publications could not be sent"))

    def _keep(
        self,
        topic: str,
        partition: int,
        retention: Retention,
        entries: Sequence[tuple[int, bytes]],
        keys: Sequence[bytes] = (),
    ) -> asyncio.Future[object]:
        names, backbone = self._common.names, self._common.backbone
        channel = names.of(TOPIC, topic)
        words: list[bytes | str | int] = [self._new_epoch(), *limits(retention)]
        words += (backbone.publish_command, channel, _IDEMPOTENCY_S)
        for entry in entries:
            words += entry
        return backbone.run(PUBLISH, partition, (names.of(META, topic), names.of(HISTORY, topic), *keys), words)

    def _publish_once(self, outgoing: Outgoing, partition: int, tail: bytes) -> asyncio.Future[Published]:
        """Publish something with a key."""
        names, backbone = self._common.names, self._common.backbone
        topic = outgoing.topic
        digest = blake2b((outgoing.key or "").encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        key = names.key(KEY, partition, f"{digest}:{topic}")
        waiting: list[asyncio.Future[Published]] = [asyncio.get_running_loop().create_future()]
        flags = flags_of(outgoing)
        if outgoing.retention is not None:
            answer = self._keep(topic, partition, outgoing.retention, [(flags, tail)], [key])
            answer.add_done_callback(lambda done: _placed(waiting, done))
        else:
            channel, envelope = names.of(TOPIC, topic), envelope_of(flags, tail, now_ms())
            words = (backbone.publish_command, channel, _IDEMPOTENCY_S, envelope)
            answer = backbone.run(PUBLISH_ONCE, partition, [key], words)
            answer.add_done_callback(lambda done: _said(waiting, done))
        return waiting[0]


def _fail(waiting: Sequence[asyncio.Future[Published]], error: BaseException) -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(error)
            future.exception()  # nobody has to look at it


def _said(waiting: Sequence[asyncio.Future[Published]], done: asyncio.Future[object]) -> None:
    """Without history."""
    error = _error_of(done)
    if error is not None:
        _fail(waiting, error)
        return
    published = _told_to(done.result())
    for future in waiting:
        if not future.done():
            future.set_result(published)


def _told_to(nodes: object) -> Published:
    """A publication without history that so many processes heard; -1: its key was known."""
    if nodes == 1:
        return _WITHOUT_HISTORY
    if not isinstance(nodes, int):
        return _WITHOUT_HISTORY._replace(nodes=0)
    return _WITHOUT_HISTORY._replace(nodes=nodes) if nodes >= 0 else _KNOWN


def _placed(waiting: Sequence[asyncio.Future[Published]], done: asyncio.Future[object]) -> None:
    """The script has answered where the last of them is; they follow each other."""
    error = _error_of(done)
    answer = done.result() if error is None else None
    match answer:
        case [b"", int(), int()]:
            if not waiting[0].done():
                waiting[0].set_result(_KNOWN)
        case [bytes() as epoch, int() as last, int() as nodes]:
            name = epoch.decode("ascii", "replace")
            for offset, future in enumerate(waiting, last - len(waiting) + 1):
                if not future.done():
                    future.set_result(Published(offset, name, duplicate=nodes < 0, nodes=max(0, nodes)))
        case _:
            _fail(waiting, error or EngineError("Redis has given a publication no position"))


def _error_of(done: asyncio.Future[object]) -> BaseException | None:
    if done.cancelled():
        return EngineError("Redis was disconnected from before it answered")
    return done.exception()
