"""The hub: what the engine reports reaches the connections of this process here, without Python per connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from fastws import closes
from fastws.core.publication import Publication
from fastws.core.topics import Namespace, scoped, unscoped
from fastws.engine.contract import Answer, Change, Engine, NodeFigures, Order, Outcome
from fastws.hub.canary import Canary
from fastws.hub.orders import Orders, Subscriptions, frames_of_message
from fastws.hub.outages import Outages
from fastws.hub.presence import Asking, Attendance, count_others, member_of, note_others, present_here
from fastws.hub.topic import Arrival, Topic
from fastws.hub.users import Arrivals, Users
from fastws.hub.watch import Watch
from fastws.types import Member, Presence, SessionInfo, TopicInfo
from fastws_ext.fanout import Tally
from fastws_ext.loop_data import LoopData
from fastws_ext.roster import Roster

_TOPICS_AT_ONCE: Final = 2000  # names looked at before others have their turn, about 1 ms
_LOOKED_AT_FOR_DEVICES: Final = 64  # connections of one user; a `status` is about up to 500 users


class Hub:
    """The connections of this process that have somebody behind them, and what they hear. It is the engine's
    `EngineEvents`.
    """

    def __init__(self, loop_data: LoopData, engine: Engine, node_name: str = "") -> None:
        self.topics: dict[str, Topic] = {}
        """The topics that somebody hears, by their names inside the server."""
        self.connections = Roster()
        """By number."""
        self.users = Users(loop_data)
        """By tenant and user."""
        self.deliveries = 0
        """Publications times hearers, so far."""
        self.tally = Tally()
        """What has become of the deliveries of publications so far."""
        self.is_degraded = False
        """What connects processes is away, all of it."""
        self._is_partial = False
        """A part of it is, or was not there before all the rest."""
        self.canary: Canary | None = None
        """Is given what comes for its topic."""
        self.bereaved: Callable[[Sequence[SessionInfo]], None] | None = None
        """Is told of connections of other processes that were lost with them."""
        self.reported = 0
        """Connections up to this number were reported as lost by others, who took this process for dead."""
        self._unreported: set[int] = set()
        """Those that have such a number, and were reported by nobody."""
        self.unreported_ends: set[str] = set()
        """Connections, some of which have ended already, that others did not report when they took this process for
        dead the last time. Who has used it clears it.
        """
        self.fences = 0
        """How often others have taken this process for dead."""
        self.knows_anonymous = False
        """The engine is told of anonymous connections too, as somebody wants to know when they are lost."""
        self.describe: Callable[[], NodeFigures] | None = None
        """Says how this process is."""
        self._loop_data = loop_data
        self._engine = engine
        self._node_name = node_name
        self._arrivals = Arrivals()
        self._attendance = Attendance(loop_data, engine)
        self._orders = Orders(self.users, self.find, self._arrivals.last_until)
        self._lost: set[Topic] = set()
        self.outages = Outages(self.users, self._is_cut_off)
        """Who is told of them."""
        self._catching_up: dict[asyncio.Task[None], Callable[[str], bool] | None] = {}
        """Fetches what was missed in an outage -> of which topics."""
        self.watch = Watch(engine, self._deliver, self.lose, self._is_heard, self._is_away)
        """Of topics with history."""

    def serve(self, subscriptions: Subscriptions) -> None:
        """Orders about subscriptions are for `subscriptions`."""
        self._orders.subscriptions = subscriptions

    async def stop(self) -> None:
        """Cancel what is under way."""
        tasks = [*self.watch.tasks, *self._attendance.tasks, *self.outages.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Connections.

    def enter(self, conn: Any, *, is_raw: bool = False) -> None:
        """A connection is ready to hear; one of a raw endpoint what is for its user or for it alone."""
        self.connections.add(conn)
        self._arrivals.note(conn.number)
        if conn.number <= self.reported:
            self._unreported.add(conn.number)
        self._know(conn, is_raw=is_raw)

    def leave(self, conn: Any, topics: Iterable[Topic]) -> Answer[bool]:
        """A connection has ended, and is in no audience any more. `topics`: those it was subscribed to. Answers what
        `Engine.detach` does.
        """
        self.connections.discard(conn)
        self.outages.forget(conn)
        self._unreported.discard(conn.number)
        for topic in topics:
            if topic.roll is not None:
                self._attendance.leave(conn, topic, topic.roll)
            self.settle(topic)
        return self._forget(conn, conn.tenant, conn.user)

    def renamed(self, conn: Any, tenant: str, user: str) -> None:
        """Who a connection is has changed: until now it was `user` of `tenant`."""
        if (tenant, user) == (conn.tenant, conn.user):
            self._attach(conn)  # its device has; its place among the connections of the user stays
        else:
            self._forget(conn, tenant, user)
            self._know(conn)
        self._attendance.rename(conn, user, conn.session.subscriptions())

    def find(self, conn_id: str) -> Any:
        """The connection of that id, which ends in its number, or None if it is not here."""
        _, _, number = conn_id.rpartition("-")
        try:
            conn: Any = self.connections.get(int(number, 16))
        except (ValueError, OverflowError):
            return None
        return conn if conn is not None and conn.id == conn_id else None

    def connections_of(self, tenant: str, user: str) -> Sequence[Any]:
        """The connections of a user, in the order in which they came."""
        return self.users.connections_of(tenant, user)

    def _know(self, conn: Any, *, is_raw: bool = False) -> None:
        self.users.enter(conn, conn.tenant, conn.user, is_raw=is_raw)
        self._attach(conn)

    def _attach(self, conn: Any) -> None:
        if conn.user or self.knows_anonymous:
            self._engine.attach(scoped(conn.tenant, conn.user), conn.id, conn.device)

    def _forget(self, conn: Any, tenant: str, user: str) -> Answer[bool]:
        is_last = self.users.leave(conn, tenant, user)
        if user or self.knows_anonymous:
            return self._engine.detach(scoped(tenant, user), conn.id, is_last=is_last)
        return True

    # Topics.

    def topic(self, key: str, name: str, namespace: Namespace) -> Topic:
        """The topic known inside the server as `key`, made if nobody heard it until now.

        Call `subscribe` after this, or `settle` if it came to nothing.
        """
        topic = self.topics.get(key)
        if topic is None:
            topic = self.topics[key] = Topic(self._loop_data, key, name, namespace, self.tally)
            answer = self._engine.join(key)
            if answer is not None:
                self.watch.await_join(topic, answer)
            if self._engine.may_lose:
                self.watch.look_around(self.topics)
        return topic

    def heard_by(self, conn: Any, key: str) -> Topic | None:
        """The topic of that name inside the server if the connection is subscribed to it."""
        topic = self.topics.get(key)
        if topic is not None and conn in topic.audience:
            return topic
        return next((lost for lost in self._lost if lost.key == key and conn in lost.audience), None)

    def subscribe(self, conn: Any, topic: Topic, *, skip: int = 0, watching: bool = False) -> bool:
        """Let a connection hear what is published from now on. False: it has ended, or hears it already.

        `skip`: it knows so many of the next publications. `watching`: it also wants to hear who joins and leaves, where
        the namespace tells.
        """
        added = topic.audience.add(conn, skip)
        if added and topic.roll is not None:
            self._attendance.enter(conn, topic, topic.roll, watching=watching)
        self.settle(topic)
        if self._is_partial and not self._engine.reaches(topic.key):
            asyncio.get_running_loop().call_soon(self.outages.check, conn)  # its reply comes first
        return added

    def unsubscribe(self, conn: Any, topic: Topic) -> None:
        """Nothing of the topic is sent to the connection after this."""
        if topic.roll is not None and conn in topic.audience:
            self._attendance.leave(conn, topic, topic.roll)
        topic.audience.discard(conn)
        self.settle(topic)

    def settle(self, topic: Topic) -> None:
        """Let go of a topic that nobody hears or is about to hear."""
        if not len(topic.audience) and not topic.awaited and self.topics.get(topic.key) is topic:
            del self.topics[topic.key]
            self._engine.leave(topic.key)

    def lose(self, topic: Topic) -> None:
        """What its subscribers have missed cannot be told any more: all of them shall subscribe again."""
        if not self._is_heard(topic):
            return
        del self.topics[topic.key]
        self._engine.leave(topic.key)
        topic.held = topic.recent = None
        self._lost.add(topic)
        rest = self._orders.end_all(topic, closes.TOPIC_STATE_LOST)
        if rest is None:
            self._lost.discard(topic)
            return
        task = asyncio.get_running_loop().create_task(rest)
        self.watch.tasks.add(task)
        task.add_done_callback(self.watch.tasks.discard)
        task.add_done_callback(lambda _: self._lost.discard(topic))

    def _is_heard(self, topic: Topic) -> bool:
        return self.topics.get(topic.key) is topic

    # What the engine reports.

    def on_publication(self, topic: str, publication: Publication, exclude: str, epoch: str) -> None:
        heard = self.topics.get(topic)
        if heard is None:
            if self.canary is not None and topic == self.canary.topic:
                self.canary.on_publication(publication)
            return
        offset = publication.offset
        if offset and heard.namespace.retention is not None:
            if offset != heard.offset + 1 or epoch != heard.epoch or heard.held is not None or heard.recent is not None:
                self.watch.take(heard, Arrival(publication, exclude, epoch))
                return
            heard.offset = offset
        self._deliver(heard, publication, exclude)

    def _deliver(self, topic: Topic, publication: Publication, exclude: str) -> None:
        self.deliveries += topic.deliver(publication, self.find(exclude) if exclude else None)

    def on_announcement(self, data: bytes, ts_ms: int) -> None:
        frames = frames_of_message(data, ts_ms)
        self.deliveries += sum(audience.publish(frames) for audience in self.users.audiences())

    def on_join_leave(self, topic: str, changes: Sequence[Change]) -> None:
        heard = self.topics.get(topic)
        if heard is not None:
            note_others(heard, changes)

    def on_crowd(self, topic: str, joined: int, left: int) -> None:
        heard = self.topics.get(topic)
        if heard is not None:
            count_others(heard, joined, left)

    def on_order(self, order: Order) -> Answer[Outcome]:
        return self._orders.carry_out(order)

    def on_degraded(self, ts_ms: int, concerns: Callable[[str], bool] | None = None) -> None:
        self._look()
        if concerns is None:
            self.is_degraded = True
            self.outages.begin(ts_ms)
        else:
            self._is_partial = True
            self.outages.change(ts_ms)

    def on_restored(self, ts_ms: int, concerns: Callable[[str], bool] | None = None, *, is_over: bool = True) -> None:
        if not self.is_degraded and not self._is_partial:
            return
        self.is_degraded = False
        self._is_partial = not is_over
        self._look()
        topics = list(self.topics.values())
        catching_up = self.watch.catch_up(topics, concerns)
        self._catching_up[catching_up] = concerns
        catching_up.add_done_callback(partial(self._tell_restored, ts_ms))
        self._attendance.ask_again(topics, concerns)

    def _look(self) -> None:
        """A part of the engine is away, or back: whether that is the canary's is known at once."""
        if self.canary is not None:
            self.canary.look()

    def _tell_restored(self, ts_ms: int, caught_up: asyncio.Task[None]) -> None:
        """What was missed has been delivered. Where it went away again meanwhile, that was one outage."""
        del self._catching_up[caught_up]
        if caught_up.cancelled() or self.is_degraded:
            return
        if self._is_partial:
            self.outages.change(ts_ms)
        elif not self._catching_up:
            self.outages.end(ts_ms)

    def _is_away(self, topic: Topic) -> bool:
        return self.is_degraded or (self._is_partial and not self._engine.reaches(topic.key))

    def _is_cut_off(self, topic: Topic) -> bool:
        """Whether its part of the engine is away, or what was missed of it may not be delivered yet."""
        if not self._engine.reaches(topic.key):
            return True
        return any(concerns is None or concerns(topic.key) for concerns in self._catching_up.values())

    def on_lost(self, sessions: Sequence[SessionInfo]) -> None:
        if self.bereaved is not None:
            self.bereaved(sessions)

    def has_been_reported(self, conn: Any) -> bool:
        """Whether others have said of a connection that is in the hub that it was lost: nobody is told of its end."""
        return conn.number <= self.reported and conn.number not in self._unreported

    def was_reported(self, conn: str) -> bool:
        found = self.find(conn)
        return found is not None and self.has_been_reported(found)

    def on_fenced(self, unreported: Collection[str]) -> None:
        self.fences += 1
        self.unreported_ends = set(unreported)
        here = [conn for conn in map(self.find, unreported) if conn is not None]
        self._unreported = {conn.number for conn in here if not self.has_been_reported(conn)}
        self.reported = max((conn.number for conn in self.connections.wires()), default=self.reported)

    # What the engine asks.

    def figures(self) -> NodeFigures:
        if self.describe is None:
            return NodeFigures(self._node_name, 0, "", len(self.connections), 0.0, draining=False)
        return self.describe()

    def sessions_here(self) -> Iterator[SessionInfo]:
        connections: Iterable[Any] = self.connections.wires()
        for conn in connections:
            if not conn.close_code and (conn.user or self.knows_anonymous):
                yield self._session_of(conn)

    def presence_here(self) -> Iterator[tuple[str, str, Member, bool]]:
        for topic in list(self.topics.values()):
            if topic.roll is not None:
                announce = topic.namespace.join_leave
                for conn in topic.audience.wires():
                    yield topic.key, conn.id, member_of(conn), announce

    def _session_of(self, conn: Any) -> SessionInfo:
        since_ms = self._arrivals.when_ms(conn.number)
        return SessionInfo(conn.id, conn.user, conn.tenant, conn.device, self._node_name, since_ms)

    def members_of(self, topic: str, limit: int) -> Presence:
        heard = self.topics.get(topic)
        return present_here(heard, limit) if heard is not None else Presence({}, 0, 0, truncated=False)

    def listing(self, topic: str) -> Asking:
        return Asking(self.topics.get(topic))

    def sessions_of(self, user: str, limit: int | None = None) -> Sequence[SessionInfo]:
        connections = (conn for conn in self.users.connections_of(*unscoped(user)) if not conn.close_code)
        return [self._session_of(conn) for conn in islice(connections, limit)]

    def session_of(self, conn: str) -> SessionInfo | None:
        found = self.find(conn)
        return self._session_of(found) if found is not None else None

    def devices_of(self, user: str) -> Sequence[str]:
        connections = self.users.connections_of(*unscoped(user), limit=_LOOKED_AT_FOR_DEVICES)
        return list(dict.fromkeys(conn.device for conn in connections))

    def topics_of(self, tenant: str, pattern: str) -> Answer[Sequence[TopicInfo]]:
        if not pattern.endswith("*"):
            topic = self.topics.get(scoped(tenant, pattern))
            heard = topic is not None and len(topic.audience) > 0
            return [TopicInfo(pattern, len(topic.audience))] if topic is not None and heard else []
        topics = list(self.topics.values())
        prefix = scoped(tenant, pattern[:-1])
        if len(topics) <= _TOPICS_AT_ONCE:
            return _named(topics, tenant, prefix)
        return _named_in_slices(topics, tenant, prefix)


def _named(topics: Sequence[Topic], tenant: str, prefix: str) -> list[TopicInfo]:
    return [
        TopicInfo(topic.name, len(topic.audience))
        for topic in topics
        if topic.key.startswith(prefix) and len(topic.audience) and unscoped(topic.key)[0] == tenant
    ]


async def _named_in_slices(topics: Sequence[Topic], tenant: str, prefix: str) -> list[TopicInfo]:
    found: list[TopicInfo] = []
    for begin in range(0, len(topics), _TOPICS_AT_ONCE):
        found += _named(topics[begin : begin + _TOPICS_AT_ONCE], tenant, prefix)
        await asyncio.sleep(0)
    return found
