"""What an engine reports to, and asks: a hub without connections, which keeps everything it is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from fastws.core.publication import Publication
from fastws.core.topics import scoped, unscoped
from fastws.engine.contract import Change, NodeFigures, Order, Outcome
from fastws.types import Member, Presence, SessionInfo, TopicInfo


class Heard(NamedTuple):
    """One publication."""

    topic: str
    data: bytes
    offset: int
    epoch: str
    exclude: str
    user: str | None
    conn: str
    ts_ms: int


class Hold:
    """A listing under way."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._house.listings += 1
        self._told = house.told_early

    def is_outdated(self) -> bool:
        before, self._told = self._told, self._house.told_early
        return self._told != before

    def end(self) -> None:
        self._house.listings -= 1


class House:
    """Of one node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[Heard] = []
        self.story: list[tuple[str, str, str]] = []
        """(what, topic, connection or data): joins, leaves and publications, in the order in which they came."""
        self.announcements: list[tuple[bytes, int]] = []
        self.crowds: list[tuple[str, int, int]] = []
        self.orders: list[Order] = []
        self.outages: list[str] = []
        self.outages_of: dict[str, list[str]] = {}
        """Topics that are heard -> what they were told of outages."""
        self.lost: list[SessionInfo] = []
        self.fenced = 0
        self.reported: set[str] = set()
        """Connections that were here then."""
        self.unreported: set[str] = set()
        """Those of which nobody else has said that they are lost."""
        self.answer: Callable[[Order], Outcome] = lambda _order: Outcome(1)
        """What comes of an order here."""
        self.members: dict[str, dict[str, tuple[Member, bool]]] = {}
        """By topic and connection: who, and whether it was announced."""
        self.sessions: dict[str, dict[str, SessionInfo]] = {}
        """By user and connection."""
        self.subscribers: dict[str, int] = {}
        self.listings = 0
        self.told_early = 0
        self.has_stopped = False

    def data(self, topic: str) -> list[bytes]:
        """What was heard of a topic."""
        return [one.data for one in self.heard if one.topic == topic]

    def told(self, topic: str) -> list[tuple[str, str]]:
        """Who was said to have come to a topic or left it."""
        return [(what, conn) for what, where, conn in self.story if where == topic and what != "publication"]

    # Events.

    def on_publication(self, topic: str, publication: Publication, exclude: str, epoch: str) -> None:
        assert not self.has_stopped
        self.story.append(("publication", topic, publication.data.decode()))
        self.heard.append(
            Heard(
                topic,
                bytes(publication.data),
                publication.offset,
                epoch,
                exclude,
                publication.user,
                publication.conn,
                publication.ts_ms,
            )
        )

    def on_announcement(self, data: bytes, ts_ms: int) -> None:
        assert not self.has_stopped
        self.announcements.append((bytes(data), ts_ms))

    def on_join_leave(self, topic: str, changes: Sequence[Change]) -> None:
        assert not self.has_stopped
        assert len(changes) <= 100
        self.story += (("join" if change.joined else "leave", topic, change.conn) for change in changes)

    def on_crowd(self, topic: str, joined: int, left: int) -> None:
        assert not self.has_stopped
        self.crowds.append((topic, joined, left))

    def on_order(self, order: Order) -> Outcome:
        assert not self.has_stopped
        self.orders.append(order)
        return self.answer(order)

    def on_degraded(self, ts_ms: int, concerns: Callable[[str], bool] | None = None) -> None:
        self._note_outage("degraded", concerns)

    def on_restored(self, ts_ms: int, concerns: Callable[[str], bool] | None = None, *, is_over: bool = True) -> None:
        self._note_outage("restored", concerns)
        if is_over:
            self.outages[-1] = "restored"

    def _note_outage(self, event: str, concerns: Callable[[str], bool] | None) -> None:
        self.outages.append(event if concerns is None else f"{event} in part")
        for topic in self.subscribers:
            if concerns is None or concerns(topic):
                self.outages_of.setdefault(topic, []).append(event)

    def on_lost(self, sessions: Sequence[SessionInfo]) -> None:
        self.lost += sessions

    def on_fenced(self, unreported: Collection[str]) -> None:
        self.fenced += 1
        self.unreported |= set(unreported)
        self.reported |= {one.conn for one in self.sessions_here()} - set(unreported)

    # Questions.

    def figures(self) -> NodeFigures:
        count = sum(map(len, self.sessions.values()))
        return NodeFigures(self.name, 0, "1.2.3", count, 5.0, draining=False)

    def sessions_here(self) -> Iterator[SessionInfo]:
        for connections in list(self.sessions.values()):
            yield from list(connections.values())

    def session_of(self, conn: str) -> SessionInfo | None:
        return next((one for one in self.sessions_here() if one.conn == conn), None)

    def was_reported(self, conn: str) -> bool:
        return conn in self.reported

    def presence_here(self) -> Iterator[tuple[str, str, Member, bool]]:
        for topic, members in list(self.members.items()):
            for conn, (member, announced) in list(members.items()):
                yield topic, conn, member, announced

    def members_of(self, topic: str, limit: int) -> Presence:
        here = {conn: member for conn, (member, _) in self.members.get(topic, {}).items()}
        users = {member.user for member in here.values() if member.user}
        some = dict(list(here.items())[:limit])
        return Presence(some, len(here), len(users), truncated=len(here) > limit)

    def listing(self, topic: str) -> Hold:
        return Hold(self)

    def sessions_of(self, user: str, limit: int | None = None) -> Sequence[SessionInfo]:
        return list(self.sessions.get(user, {}).values())[:limit]

    def devices_of(self, user: str) -> Sequence[str]:
        return list(dict.fromkeys(one.device for one in self.sessions_of(user)))

    def topics_of(self, tenant: str, pattern: str) -> Sequence[TopicInfo]:
        found = []
        for key, count in self.subscribers.items():
            owner, name = unscoped(key)
            fits = name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
            if owner == tenant and fits and count:
                found.append(TopicInfo(name, count))
        return found

    # What tests do in it.

    def note_session(self, user: str, conn: str, device: str, since_ms: int, tenant: str = "") -> None:
        sessions = self.sessions.setdefault(scoped(tenant, user), {})
        sessions[conn] = SessionInfo(conn, user, tenant, device, self.name, since_ms)

    def forget_session(self, user: str, conn: str, tenant: str = "") -> bool:
        """Whether it was the last of this user."""
        key = scoped(tenant, user)
        del self.sessions[key][conn]
        if not self.sessions[key]:
            del self.sessions[key]
            return True
        return False
