"""Channels of a cluster that are wanted and that no master sends: their partition is away, or changes its master.

A partition is not back before all of its channels are heard. If one is refused, it stays away, and is asked for again
now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.resp.errors import ELSEWHERE, ReplyError
from fastws.engine.redis.resp.link import DEADLINE_S

AGAIN_S: Final = 2.0
"""Seconds until a channel that was refused is asked for again."""
_AT_ONCE: Final = 500  # channels in one pass of the loop, some 3 ms


class Orphans:
    """Of all partitions."""

    def __init__(self) -> None:
        self._orphans: Final[dict[int, set[bytes]]] = {}
        self._asked: Final[dict[bytes, asyncio.Future[Any]]] = {}
        """Those that a master is told of now, with its answer."""
        self._refused_at: Final[dict[int, float]] = {}
        """When a channel of a partition was refused."""

    def __contains__(self, partition: int) -> bool:
        return partition in self._orphans

    def add(self, partition: int, channel: bytes) -> None:
        """It is wanted."""
        self._orphans.setdefault(partition, set()).add(channel)

    def discard(self, partition: int, channel: bytes) -> None:
        """It is not wanted any more."""
        self._asked.pop(channel, None)
        orphans = self._orphans.get(partition)
        if orphans is not None:
            orphans.discard(channel)
            if not orphans:
                del self._orphans[partition]

    def take_from(self, server: Server, partitions: Collection[int]) -> None:
        """A master has these partitions no more."""
        for channel, partition in [each for each in server.channels.items() if each[1] in partitions]:
            server.unsubscribe(channel)
            self.add(partition, channel)
        for partition in partitions:
            self._refused_at.pop(partition, None)

    def is_refused(self, partition: int, now_s: float) -> bool:
        """Whether a channel of it was refused, and it is too early to ask for it again."""
        return now_s - self._refused_at.get(partition, float("-inf")) < AGAIN_S

    async def settle(
        self, server: Server, partitions: Sequence[int], is_owner: Callable[[int], bool]
    ) -> dict[int, ReplyError]:
        """Have a master send the channels of its partitions, and wait until they are heard. Those that are not are here
        again; why those were refused that were, for each partition.

        :param is_owner: whether the master still has a partition.
        """
        heard: list[tuple[int, bytes, asyncio.Future[Any]]] = []
        try:
            for given, (partition, channel) in enumerate(self._drain(partitions, is_owner), 1):
                answer = server.subscribe(partition, channel)
                if answer is not None:
                    self._asked[channel] = future = asyncio.ensure_future(answer)
                    heard.append((partition, channel, future))
                if given % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            if heard:
                await asyncio.wait([future for _, _, future in heard], timeout=DEADLINE_S)
        finally:
            refused = self._judge(heard)
        return refused

    def _drain(self, partitions: Sequence[int], is_owner: Callable[[int], bool]) -> Iterator[tuple[int, bytes]]:
        """One channel after the other, each of which is not here any more."""
        for partition in partitions:
            while is_owner(partition) and (orphans := self._orphans.get(partition)):
                channel = orphans.pop()
                if not orphans:
                    del self._orphans[partition]
                yield partition, channel

    def _judge(self, heard: Sequence[tuple[int, bytes, asyncio.Future[Any]]]) -> dict[int, ReplyError]:
        refused: dict[int, ReplyError] = {}
        now_s = asyncio.get_running_loop().time()
        for partition, channel, answer in heard:
            is_wanted = self._asked.get(channel) is answer
            if is_wanted:
                del self._asked[channel]
            error = answer.exception() if answer.done() else None
            if answer.done() and (not isinstance(error, ReplyError) or error.code in ELSEWHERE):
                continue  # it is heard, or from the next link on; of one that is elsewhere its master has told
            if is_wanted:
                self.add(partition, channel)
                if isinstance(error, ReplyError):
                    refused[partition] = error
                    self._refused_at[partition] = now_s
        return refused
