"""What makes sure that nobody hears a topic with history with a gap in it, or anything twice.

The audience of a topic has heard everything up to `topic.offset`. A publication that is not the next one is held back
and what is missing is asked for; if it is gone, every subscriber is told to subscribe again. A connection that begins
to hear a topic while the engine is still being asked where that topic is gets what came meanwhile with the answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from math import ceil
from typing import Any, Final, NamedTuple

from fastws.core.publication import Position, Publication
from fastws.engine.contract import UNREACHED, Engine, Recovery
from fastws.errors import EngineError
from fastws.hub.topic import UNKNOWN, Arrival, Kept, Topic

_log: Final = logging.getLogger("fastws.hub")

FETCHED_AT_ONCE: Final = 32
"""Topics for which the engine is asked at the same time after an outage."""
LOCATED_AT_ONCE: Final = 20_000
"""Topics whose positions it is asked for before, together: the more of them, the less each costs."""
COMPARED_AT_ONCE: Final = 1000
"""Of them, those that are looked at before others have their turn: less than 1 ms."""

LOOK_EVERY_S: Final = 25.0
"""Seconds from one look at where a topic is to the next: what was lost, and nothing came behind it, shows in two."""

LOOKED_AT_ONCE: Final = 500
"""Topics that are looked at together."""
MOST_LOOKS: Final = 100
"""Parts in which all topics are looked at within that time; if there are more topics, it takes longer."""


class Meeting(NamedTuple):
    """How what the engine has answered to a newcomer fits together with what came meanwhile."""

    position: Position
    """Up to where the newcomer is told everything in the reply."""
    more: tuple[Publication, ...]
    """What the reply has beyond the engine's answer."""
    skip: int
    """So many of the next publications are known to the newcomer, though not to the rest of the audience."""


class Watch:
    """Of the hub. `deliver` sends a publication to an audience, `lose` ends all subscriptions to a topic, `is_heard`
    tells whether this is still what the hub knows under the topic's name, `is_away` whether what the topic needs of the
    engine is away: then `catch_up` follows.
    """

    def __init__(
        self,
        engine: Engine,
        deliver: Callable[[Topic, Publication, str], None],
        lose: Callable[[Topic], None],
        is_heard: Callable[[Topic], bool],
        is_away: Callable[[Topic], bool],
    ) -> None:
        self.duplicates = 0
        """Publications that came again, so far."""
        self.gaps = 0
        """Times that something was missing, so far."""
        self.failures = 0
        """Publications that were held back or fetched and could not be encoded for who hears them, so far."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self._engine = engine
        self._deliver = deliver
        self._lose = lose
        self._is_heard = is_heard
        self._is_away = is_away
        self._looking: asyncio.Task[None] | None = None

    # Publications.

    def take(self, topic: Topic, arrival: Arrival) -> None:
        """A publication with an offset has come, and it may not be the next one."""
        if topic.held is not None:
            if not topic.held.add(arrival):
                self._lose(topic)
        elif topic.offset == UNKNOWN:
            _remember(topic, arrival)
        elif arrival.epoch != topic.epoch:
            self._lose(topic)
        elif arrival.publication.offset <= topic.offset:
            self.duplicates += 1
        elif arrival.publication.offset == topic.offset + 1:
            self._pass_on(topic, arrival)
        else:
            self.gaps += 1
            self._fetch(topic, arrival)

    def _pass_on(self, topic: Topic, arrival: Arrival) -> None:
        topic.offset = arrival.publication.offset
        _remember(topic, arrival)
        try:
            self._deliver(topic, arrival.publication, arrival.exclude)
        except Exception:  # its data is no JSON: what comes behind it, and other topics, are heard all the same
            self.failures += 1
            if not self.failures & (self.failures - 1):
                _log.warning("%d publications could not be delivered", self.failures, exc_info=True)

    def await_join(self, topic: Topic, answer: Awaitable[None]) -> None:
        """The engine will hear the topic when it has answered; who is told before that that it hears it might miss
        something.
        """
        topic.joining = joining = asyncio.ensure_future(answer)
        joining.add_done_callback(partial(self._joined, topic))

    def _joined(self, topic: Topic, joining: asyncio.Future[None]) -> None:
        """If the engine refused it, who waits for it is told so, and the next who asks begins anew."""
        if joining.cancelled():
            return
        if joining.exception() is None:
            topic.joining = None
        else:
            self._lose(topic)

    # What is missing.

    def _fetch(self, topic: Topic, arrival: Arrival | None) -> Awaitable[None] | None:
        """Ask the engine for what is missing before `arrival`, or was published at all; None: it has answered.

        An answer that is under way already does not count any more.
        """
        before, held = topic.held, Kept()
        if before is not None:
            held.arrivals, held.size = before.arrivals, before.size
        if arrival is not None:
            held.add(arrival)
        topic.held = held
        known = arrival.publication.offset if arrival is not None else 0
        retention = topic.namespace.retention
        assert retention is not None
        try:
            answer = self._engine.recover(topic.key, retention, Position(topic.epoch, topic.offset))
        except Exception as error:
            self._give_up(topic, held, error)
            return None
        if isinstance(answer, Recovery):
            self._close(topic, held, known, answer)
            return None
        task = asyncio.get_running_loop().create_task(self._close_later(topic, held, known, answer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _close_later(self, topic: Topic, held: Kept, known: int, answer: Awaitable[Recovery]) -> None:
        try:
            recovery = await answer
        except Exception as error:
            self._give_up(topic, held, error)
        else:
            self._close(topic, held, known, recovery)

    def _give_up(self, topic: Topic, held: Kept, error: Exception) -> None:
        if not isinstance(error, EngineError):
            _log.error("what is missing of a topic could not be asked for", exc_info=error)
        elif self._is_away(topic):
            return  # it is asked again when the engine is back; until then nothing is delivered
        if topic.held is held:
            self._lose(topic)

    def _close(self, topic: Topic, held: Kept, known: int, recovery: Recovery) -> None:
        """Deliver what was missing, then what was held back meanwhile. `known`: an offset that the topic has had."""
        if topic.held is not held or not self._is_heard(topic):
            return  # it was asked again since then, or nobody hears it any more
        topic.held = None
        position = recovery.position
        if not recovery.recovered or position.epoch != topic.epoch or position.offset < known:
            self._lose(topic)
            return
        for publication in recovery.publications:
            if publication.offset == topic.offset + 1:
                self._pass_on(topic, Arrival(publication, publication.exclude, topic.epoch))
        if topic.offset < position.offset:
            self._lose(topic)
        for arrival in held.arrivals:
            is_known = arrival.epoch == topic.epoch and arrival.publication.offset <= topic.offset
            if not is_known and self._is_heard(topic):
                self.take(topic, arrival)

    def catch_up(self, topics: Sequence[Topic], concerns: Callable[[str], bool] | None = None) -> asyncio.Task[None]:
        """Events may have been missed: ask for what these topics lack, and deliver it. `concerns`: of them, those alone
        whose keys it is true for.
        """
        task = asyncio.get_running_loop().create_task(self._catch_up(topics, concerns))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _catch_up(self, topics: Sequence[Topic], concerns: Callable[[str], bool] | None) -> None:
        waiting: list[Topic] = []
        quiet: list[Topic] = []
        for number, topic in enumerate(topics, 1):
            is_concerned = topic.namespace.retention is not None and (concerns is None or concerns(topic.key))
            if is_concerned and self._is_heard(topic):
                (quiet if self._can_be_judged(topic) else waiting).append(topic)
            if not number % COMPARED_AT_ONCE:
                await asyncio.sleep(0)
        await self._fetch_all(waiting)  # their subscribers wait already
        for begin in range(0, len(quiet), LOCATED_AT_ONCE):
            await self._fetch_moved(quiet[begin : begin + LOCATED_AT_ONCE])

    async def _fetch_moved(self, topics: Sequence[Topic]) -> None:
        """Ask where they are, which costs a tenth of a question for what was missed, and then for what was."""
        heard = [topic.offset for topic in topics]
        positions = await self._positions(topics)
        if positions is None:
            await self._fetch_all(topics)
            return
        for begin in range(0, len(topics), COMPARED_AT_ONCE):
            part = slice(begin, begin + COMPARED_AT_ONCE)
            pairs = zip(topics[part], positions[part], heard[part], strict=True)
            # What is behind what was heard already is no answer to be trusted.
            moved = [
                topic
                for topic, position, before in pairs
                if position is None or position.epoch != topic.epoch or not before <= position.offset <= topic.offset
            ]
            await self._fetch_all(moved)
            await asyncio.sleep(0)

    async def _positions(self, topics: Sequence[Topic]) -> Sequence[Position | None] | None:
        """Where topics are; None if the engine does not say. Who asks goes on in any case."""
        try:
            answer = self._engine.positions([topic.key for topic in topics])
            return await answer if isinstance(answer, Awaitable) else answer
        except EngineError:
            return None
        except Exception:
            _log.exception("where topics are could not be asked for")
            return None

    async def _fetch_all(self, topics: Iterable[Topic]) -> None:
        rest = iter(topics)
        while batch := list(islice(rest, FETCHED_AT_ONCE)):
            answers = [self._ask_again(topic) for topic in batch if self._is_heard(topic)]
            waiting = [answer for answer in answers if answer is not None]
            await asyncio.gather(*waiting) if waiting else await asyncio.sleep(0)

    def _ask_again(self, topic: Topic) -> Awaitable[None] | None:
        if topic.offset == UNKNOWN:
            self._lose(topic)  # nobody hears it, and those who are awaited ask again
            return None
        return self._fetch(topic, None)

    # What was lost at the end.

    def look_around(self, topics: Mapping[str, Topic]) -> None:
        """From now on compare where topics are with what their audiences have heard."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_on(topics))
            self.tasks.add(self._looking)
            self._looking.add_done_callback(self.tasks.discard)

    async def _look_on(self, topics: Mapping[str, Topic]) -> None:
        while True:
            heard = list(topics.values())
            parts = max(1, ceil(len(heard) / LOOKED_AT_ONCE))
            for begin in range(0, max(1, len(heard)), LOOKED_AT_ONCE):
                await asyncio.sleep(LOOK_EVERY_S / min(parts, MOST_LOOKS))
                part = [topic for topic in heard[begin : begin + LOOKED_AT_ONCE] if self._can_be_judged(topic)]
                if part:
                    await self._look_at(part)

    def _can_be_judged(self, topic: Topic) -> bool:
        """Whether it is known what its audience has heard, and nothing is being asked about it."""
        is_known = topic.namespace.retention is not None and topic.offset != UNKNOWN
        return is_known and topic.held is None and self._is_heard(topic)

    async def _look_at(self, topics: Sequence[Topic]) -> None:
        positions = await self._positions(topics)
        if positions is None:
            return  # when it is back all topics are asked for anyway
        for topic, position in zip(topics, positions, strict=True):
            if position == UNREACHED or not self._can_be_judged(topic):
                continue
            if position is None or position.epoch != topic.epoch:
                self._fetch(topic, None)
                continue
            if topic.offset < topic.seen:
                self.gaps += 1
                self._fetch(topic, None)
            topic.seen = position.offset

    # Newcomers.

    def expect(self, topic: Topic) -> None:
        """A connection will hear the topic once the engine has answered: what comes meanwhile is kept for it."""
        topic.awaited += 1
        if topic.recent is None:
            topic.recent = Kept()

    def expect_no_longer(self, topic: Topic) -> None:
        """The opposite, once for each `expect`."""
        topic.awaited -= 1
        if not topic.awaited:
            topic.recent = None

    def meet(self, topic: Topic, recovery: Recovery) -> Meeting | None:
        """Fit what the engine has answered together with what the audience has heard.

        None: that cannot be done, and the engine has to be asked again.
        """
        epoch, offset = recovery.position
        if topic.offset == UNKNOWN and not self._begins_at(topic, recovery.position):
            return None
        if topic.epoch != epoch:
            self._lose(topic)
            return None
        if offset >= topic.offset:
            return Meeting(recovery.position, (), offset - topic.offset)
        more = tuple(
            arrival.publication
            for arrival in (topic.recent.arrivals if topic.recent is not None else ())
            if arrival.publication.offset > offset
        )
        if [publication.offset for publication in more] != list(range(offset + 1, topic.offset + 1)):
            return None
        return Meeting(Position(epoch, topic.offset), more, 0)

    def _begins_at(self, topic: Topic, position: Position) -> bool:
        """Nobody has heard the topic yet: the first who does begins at this position, or later if more has come.

        False: more has come than was kept, something is missing, or the epoch has changed meanwhile. What was kept of
        another epoch would fit no answer, so then everybody who is awaited begins anew.
        """
        offset = position.offset
        for arrival in topic.recent.arrivals if topic.recent is not None else ():
            if arrival.epoch != position.epoch:
                self._lose(topic)
                return False
            if arrival.publication.offset > offset + 1:
                return False
            offset = max(offset, arrival.publication.offset)
        topic.epoch, topic.offset = position.epoch, offset
        return True


def _remember(topic: Topic, arrival: Arrival) -> None:
    """Keep it for those who are awaited."""
    if topic.recent is not None:
        topic.recent.push(arrival)
