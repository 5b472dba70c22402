"""Who is present in the topics of this process.

Members are the topic's audience, and what is known of them is in their sessions: presence costs a connection nothing
but its share in the count of users. Those who asked are told who comes and goes by `fastws.hub.news`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final

from fastws.engine.contract import Change, Engine
from fastws.errors import EngineError
from fastws.hub.news import News, Roll
from fastws.hub.topic import Topic
from fastws.types import Member, Presence, PresenceStats
from fastws_ext.loop_data import LoopData

_LOOKED_AT: Final = 2000  # topics before others have their turn, about 1 ms
_ASKED_AT_ONCE: Final = 100
"""Topics whose members are counted together, some 10 ms,"""
_PAUSE_S: Final = 0.05
"""and what comes between them and the next: 2,000 topics in a second, as their watchers ask after that too."""


class Attendance:
    """Keeps the rolls of all topics that have one; the hub calls it."""

    def __init__(self, loop_data: LoopData, engine: Engine) -> None:
        self._loop_data = loop_data
        self._engine = engine
        self.tasks: set[asyncio.Task[None]] = set()
        """Countings under way."""
        self._asking: set[asyncio.Task[None]] = set()

    def enter(self, conn: Any, topic: Topic, roll: Roll, *, watching: bool) -> None:
        """A connection is subscribed from now on; `watching`: it wants to hear who comes and goes after it."""
        member = member_of(conn)
        roll.count(member.user)
        announce = topic.namespace.join_leave
        self._engine.present(topic.key, conn.id, member, announce=announce)
        if not announce:
            return
        if roll.news is not None:
            roll.news.note(Change(conn.id, member.user, member.info, joined=True))
        if watching:
            if roll.news is None:
                roll.news = News(self._loop_data, topic.name, partial(self._summarise, topic))
                # A join is heard before anything that is published by who joined.
                topic.audience.behind = roll.news.audience
            roll.news.watch(conn)

    def leave(self, conn: Any, topic: Topic, roll: Roll) -> None:
        """A connection that had entered is subscribed no longer."""
        member = member_of(conn)
        roll.discount(member.user)
        self._engine.absent(topic.key, conn.id, member, announce=topic.namespace.join_leave)
        news = roll.news
        if news is None:
            return
        news.unwatch(conn)
        if news.watchers:
            # Where publications come back later, something of this connection may be under way: its join is told first.
            news.note(Change(conn.id, member.user, member.info, joined=False), cancels=not self._engine.may_lose)
        else:
            roll.news = topic.audience.behind = None

    def rename(self, conn: Any, before: str, topics: Iterable[Topic]) -> None:
        """Who a connection is has changed; `before` is the user it was, `topics` are those it is subscribed to.

        It was announced once, and is not again: presence tells who it is now, and so does what it publishes.
        """
        member = member_of(conn)
        for topic in topics:
            if topic.roll is not None:
                topic.roll.discount(before)
                topic.roll.count(member.user)
                announce = topic.namespace.join_leave
                self._engine.present(topic.key, conn.id, member, announce=announce, is_known=True)

    def ask_again(self, topics: Sequence[Topic], concerns: Callable[[str], bool] | None = None) -> None:
        """Who came and went in an outage was not heard: those who keep lists ask again, not all of them at once.
        `concerns`: those of these topics alone.
        """
        if concerns is None:
            for asking in self._asking:
                asking.cancel()
        asking = self._begin(self._ask_again(topics, concerns))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _ask_again(self, topics: Sequence[Topic], concerns: Callable[[str], bool] | None) -> None:
        watched = 0
        for number, topic in enumerate(topics, 1):
            if topic.roll is not None and topic.roll.news is not None and (concerns is None or concerns(topic.key)):
                topic.roll.news.count(0, 0)
                watched += 1
                if watched % _ASKED_AT_ONCE == 0:
                    await asyncio.sleep(_PAUSE_S)
            if number % _LOOKED_AT == 0:
                await asyncio.sleep(0)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _summarise(self, topic: Topic, joined: int, left: int) -> None:
        try:
            answer = self._engine.presence_stats(topic.key)
        except EngineError:
            answer = stats_here(topic)
        if isinstance(answer, PresenceStats):
            _tell(topic, answer, joined, left)
            return
        self._begin(self._summarise_later(topic, answer, joined, left))

    async def _summarise_later(self, topic: Topic, answer: Awaitable[PresenceStats], joined: int, left: int) -> None:
        try:
            stats = await answer
        except EngineError:
            stats = stats_here(topic)
        _tell(topic, stats, joined, left)


def note_others(topic: Topic, changes: Sequence[Change]) -> None:
    """Connections of other processes came or left."""
    news = topic.roll.news if topic.roll is not None else None
    if news is not None:
        for change in changes:
            news.note(change, cancels=False)  # it may be in a list that came before its join did


def count_others(topic: Topic, joined: int, left: int) -> None:
    """So many connections of other processes came and left."""
    news = topic.roll.news if topic.roll is not None else None
    if news is not None:
        news.count(joined, left)


class Asking:
    """Other processes are asked who is in a topic; see `fastws.engine.contract.Listing`."""

    __slots__ = ("_news", "_told_early")

    def __init__(self, topic: Topic | None) -> None:
        self._news = topic.roll.news if topic is not None and topic.roll is not None else None
        self._told_early = 0
        if self._news is not None:
            self._news.ask()
            self._told_early = self._news.told_early

    def is_outdated(self) -> bool:
        """What is told because it could not wait has made the answer wrong, since this was asked last."""
        before = self._told_early
        if self._news is not None:
            self._told_early = self._news.told_early
        return self._told_early != before

    def end(self) -> None:
        """The answer is about to be told."""
        if self._news is not None:
            self._news.answered()


def present_here(topic: Topic, limit: int) -> Presence:
    """Who of a topic is in this process, at most `limit` of them by name."""
    members = {conn.id: member_of(conn) for conn in topic.audience.wires(limit)}
    if limit and topic.roll is not None and topic.roll.news is not None:
        topic.roll.news.listed()
    connections, users = stats_here(topic)
    return Presence(members, connections, users, truncated=connections > limit)


def stats_here(topic: Topic) -> PresenceStats:
    """How many of a topic are in this process."""
    return PresenceStats(len(topic.audience), len(topic.roll.users) if topic.roll is not None else 0)


def member_of(conn: Any) -> Member:
    """What others may know of a connection."""
    session = conn.session  # not by the connection's own properties: a listing has a thousand members
    return Member(session.user, session.device, session.info)


def _tell(topic: Topic, stats: PresenceStats, joined: int, left: int) -> None:
    news = topic.roll.news if topic.roll is not None else None
    if news is not None:
        counts = {"connections": stats.connections, "users": stats.users, "joined": joined, "left": left}
        news.tell("presence", {"topic": topic.name, **counts})
