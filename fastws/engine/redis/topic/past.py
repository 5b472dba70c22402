"""What was published to topics with history, and where they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from fastws.core.publication import Position, Publication, Retention
from fastws.engine.contract import UNREACHED, EpochError, Page, Recovery
from fastws.engine.redis.common import Common
from fastws.engine.redis.envelope import publication_in
from fastws.engine.redis.names import HISTORY, META, partition_of
from fastws.engine.redis.scripts import script
from fastws.engine.redis.topic.channels import Channels
from fastws.engine.redis.topic.sending import limits
from fastws.errors import EngineError

AT_ONCE: Final = 1000
"""Publications that one question asks for, at most."""
ENOUGH_BYTES: Final = 262_144
"""No more of them are told in one answer once there are so many bytes."""
POSITIONS_AT_ONCE: Final = 100
"""Topics that one question asks for the positions of."""

MAX_OFFSET: Final = 2**53
"""No topic comes so far, and Redis can still calculate with it."""

_SORTED_AT_ONCE: Final = 2000  # topics, about 1 ms
_ASKED_AT_ONCE: Final = 500  # topics whose positions are on their way: what they cost together stays short
_NOTHING: Final = -1  # the offset of what is not there
_DAMAGED: Final = -2

READ: Final = script("history", after="epoch", needs_era=True)
LOCATE: Final = script("positions", needs_era=True)


class _Part(NamedTuple):
    """What one question has answered."""

    position: Position
    ended: int
    """Where the epoch that was asked about has ended, or is; -1: nobody knows it."""
    trimmed: int
    """Up to where nothing is there any more."""
    publications: Sequence[Publication]


class Past:
    """Reads histories, a bounded part at a time."""

    def __init__(self, common: Common, channels: Channels, new_epoch: Callable[[], str]) -> None:
        self._common = common
        self._channels = channels
        self._new_epoch = new_epoch

    def recover(self, topic: str, retention: Retention, since: Position | None) -> asyncio.Task[Recovery]:
        """What was missed. It is not read before what is published from now on is heard."""
        self._common.require(partition_of(topic))
        return self._common.later(self._recover(topic, retention, since))

    async def _recover(self, topic: str, retention: Retention, since: Position | None) -> Recovery:
        joining = self._channels.joining(topic)
        if joining is not None:
            await joining
        if since is None:
            part = await self._read(topic, retention, None, 0)
            return Recovery(part.position, recovered=False, publications=())
        part = await self._read(topic, retention, since, AT_ONCE)
        epoch, until = part.position
        if not part.trimmed <= since.offset <= part.ended:
            return Recovery(part.position, recovered=False, publications=())
        found = list(part.publications)
        last = since.offset + len(found)
        while last < until:
            part = await self._read(topic, retention, Position(epoch, last), AT_ONCE)
            begins_at = part.publications[0].offset if part.publications else 0
            if part.position.epoch != epoch or begins_at != last + 1 or part.trimmed > last:
                return Recovery(part.position, recovered=False, publications=())
            found += part.publications
            last += len(part.publications)
        if [publication.offset for publication in found] != list(range(since.offset + 1, last + 1)):
            return Recovery(part.position, recovered=False, publications=())
        return Recovery(Position(epoch, max(last, until)), recovered=True, publications=found)

    def history(
        self, topic: str, retention: Retention, since: Position | None, limit: int, *, reverse: bool
    ) -> asyncio.Task[Page]:
        """A page."""
        self._common.require(partition_of(topic))
        return self._common.later(self._history(topic, retention, since, limit, reverse))

    async def _history(
        self, topic: str, retention: Retention, since: Position | None, limit: int, reverse: bool
    ) -> Page:
        part = await self._read(topic, retention, since, limit, reverse=reverse)
        position = part.position
        if since is not None and since.epoch != position.epoch:
            raise EpochError
        found = list(part.publications)
        while len(found) < limit and part.publications and _goes_on(part, reverse):
            since = Position(position.epoch, part.publications[-1].offset)
            part = await self._read(topic, retention, since, limit - len(found), reverse=reverse)
            if part.position.epoch != position.epoch:
                break
            found += part.publications
        offsets = [publication.offset for publication in found]
        if offsets != sorted(set(offsets), reverse=reverse):
            raise _unreadable()
        return Page(position, [publication for publication in found if publication.offset <= position.offset][:limit])

    async def _read(
        self, topic: str, retention: Retention, since: Position | None, limit: int, *, reverse: bool = False
    ) -> _Part:
        names = self._common.names
        keys = (names.of(META, topic), names.of(HISTORY, topic))
        epoch, offset = _asked(since) if since is not None else (b"", b"")
        asked = (epoch, offset, "1" if reverse else "", limit, ENOUGH_BYTES)
        words = (self._new_epoch(), *limits(retention), *asked)
        return _part_of(await self._common.backbone.run(READ, partition_of(topic), keys, words))

    async def positions(self, topics: Sequence[str]) -> Sequence[Position | None]:
        """Where they are; with an empty epoch those whose epoch is over. `EngineError` if none could be asked for."""
        found: list[Position | None] = [UNREACHED] * len(topics)
        by_partition: dict[int, list[int]] = {}
        for index, topic in enumerate(topics):
            by_partition.setdefault(partition_of(topic), []).append(index)
            if not index % _SORTED_AT_ONCE:
                await asyncio.sleep(0)
        parts = [
            (partition, indexes[begin : begin + POSITIONS_AT_ONCE])
            for partition, indexes in by_partition.items()
            for begin in range(0, len(indexes), POSITIONS_AT_ONCE)
        ]
        error, answered = None, 0
        while parts:
            asked, size = [], 0
            while parts and size < _ASKED_AT_ONCE:
                asked.append(parts.pop())
                size += len(asked[-1][1])
            answers = await asyncio.gather(
                *(self._locate(partition, [topics[index] for index in indexes]) for partition, indexes in asked),
                return_exceptions=True,
            )
            for (_, indexes), answer in zip(asked, answers, strict=True):
                if isinstance(answer, EngineError):
                    error = answer
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    answered += 1
                    for index, position in zip(indexes, answer, strict=True):
                        found[index] = position
        if error is not None and not answered:
            raise error
        return found

    async def _locate(self, partition: int, topics: Sequence[str]) -> Sequence[Position | None]:
        key = self._common.names.key
        keys = [key(kind, partition, topic) for topic in topics for kind in (META, HISTORY)]
        answer = await self._common.backbone.run(LOCATE, partition, keys, ())
        if not isinstance(answer, list) or len(answer) != 2 * len(topics):
            raise _unreadable()
        return [self._position(*pair) for pair in zip(answer[::2], answer[1::2], strict=True)]

    def _position(self, epoch: object, offset: object) -> Position | None:
        name, number = _text(epoch), _number(offset, least=_DAMAGED)
        if number >= 0:
            return Position(name, number)
        if number == _DAMAGED:
            self._common.skip("position")  # it begins anew when it is used
        return None


def _goes_on(part: _Part, reverse: bool) -> bool:
    last = part.publications[-1].offset
    return last > part.trimmed + 1 if reverse else last < part.position.offset


def _asked(since: Position) -> tuple[bytes, int]:
    """A position as Redis can be asked about it: clients may say anything."""
    return since.epoch.encode("utf-8", "surrogatepass"), min(max(since.offset, 0), MAX_OFFSET)


def _part_of(answer: object) -> _Part:
    if not isinstance(answer, list) or len(answer) < 4:
        raise _unreadable()
    epoch, offset, ended, trimmed, *envelopes = answer
    publications = []
    for envelope in envelopes:
        arrived = publication_in(envelope) if isinstance(envelope, bytes) else None
        if arrived is None:
            raise _unreadable()
        publications.append(arrived[0])
    return _Part(Position(_text(epoch), _number(offset)), _number(ended, least=-1), _number(trimmed), publications)


def _text(word: object) -> str:
    if not isinstance(word, bytes):
        raise _unreadable()
    return word.decode("ascii", "replace")


def _number(word: object, *, least: int = 0) -> int:
    if type(word) is not int or not least <= word <= MAX_OFFSET:
        raise _unreadable()
    return word


def _unreadable() -> EngineError:
    return EngineError("Redis has something else where the history of a topic is kept")
