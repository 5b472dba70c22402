"""What the server asks of an engine, and what an engine promises.

Topics and users are named as `fastws.core.topics.scoped` makes them: the tenant is part of the name.

Promises
1. Publications of one topic reach `on_publication` in one order, the same in every process, and with history in the
   order of their offsets. The publisher's own process hears its publications the same way as all others.
2. Within an epoch the offsets of a topic count up by one. When that cannot be promised any longer, the epoch changes.
3. A publication is in the history before it is delivered and before `publish` answers.
4. A topic without history is delivered at most once.
5. Events come only for topics that were joined, only between `start` and `stop`, and on the loop's thread.
6. Nothing hangs: what cannot be done raises `EngineError` within the engine's own deadline.
7. Between `on_degraded` and `on_restored` this process is alone: a publication without history and key, an announcement
   and an order still reach what is here (`Published.degraded` says so); everything else raises `EngineError` at once.
   Where only a part is away that holds for what needs that part (`reaches`, `can_order`), and the rest goes on.
8. An order is carried out at most once in each process.
9. What is known of sessions and of who is present is right at once where nothing fails, and within a lease where a
   process died.

Methods that answer give either the answer or an awaitable of it, so that an engine in this process costs no coroutine.
The order of calls of one caller is kept even where their answers come later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from fastws.core.publication import Position, Publication, Retention
from fastws.engine.claims import Alone, Claims
from fastws.types import Member, Presence, PresenceStats, Published, SessionInfo, TopicInfo, UserStatus

T = TypeVar("T")

Answer: TypeAlias = T | Awaitable[T]

IDEMPOTENCY_S = 300.0
"""Seconds for which a key of a publication is remembered, with or without history."""


SESSIONS_LISTED: Final = 1000
"""Connections of one user that are listed where nobody asks for another number."""


class Outgoing(Struct, frozen=True, gc=False):
    """A publication on its way to the engine. Each `pub` makes one, and a named tuple takes twice as long."""

    topic: str
    data: bytes
    """JSON."""
    retention: Retention | None = None
    """None: without history, and so without offset."""
    user: str | None = None
    """Who publishes, empty if anonymous; None if a server does."""
    conn: str = ""
    """The connection that publishes; empty if a server does."""
    key: str | None = None
    """Idempotency: within `IDEMPOTENCY_S`, a topic takes one publication with this key."""
    exclude: str = ""
    """The connection that shall not hear it."""


class Recovery(NamedTuple):
    """What a subscriber that comes back is told."""

    position: Position
    recovered: bool
    publications: Sequence[Publication]
    """Everything after the position it came with, ascending; empty unless `recovered`."""


UNREACHED: Final = Position("", -1)
"""Instead of the position of a topic that could not be asked for; others could."""


class Page(NamedTuple):
    """A part of a topic's history."""

    position: Position
    """Where the topic is now."""
    publications: Sequence[Publication]


class Change(NamedTuple):
    """A connection has come to a topic, or left it."""

    conn: str
    user: str
    """Empty if anonymous."""
    info: Any
    """What is public about the user; None if there is nothing."""
    joined: bool


class EpochError(Exception):
    """The position asked for belongs to another epoch than the topic's."""


DISCONNECT: Final = "disconnect"
PUSH: Final = "push"
SUBSCRIBE: Final = "subscribe"
UNSUBSCRIBE: Final = "unsubscribe"
COUNT: Final = "count"


class Order(NamedTuple):
    """Something to be done with connections wherever they are.

    Whose: those of `user`, else the one called `conn` (if it is one of `tenant`, where that is said), else those of
    `tenant`, else all.
    """

    action: str
    """`disconnect` with code and reason, `push` of data, `subscribe` to or `unsubscribe` from a topic, or `count`."""
    user: str | None = None
    conn: str | None = None
    tenant: str | None = None
    topic: str = ""
    """As its clients know it, without the tenant."""
    data: bytes = b""
    """JSON: what is pushed, or the value of `attribute` that counts."""
    ts_ms: int = 0
    code: int = 0
    reason: str = ""
    attribute: str = ""
    until_ms: int = 0
    """If it comes late: only connections that were there at that time, in Unix milliseconds of this process."""


class Outcome(NamedTuple):
    """What came of an order."""

    connections: int = 0
    """For how many it made a difference."""
    refused: int = 0
    """The error code with which the first of the others refused it; 0 if none did."""
    is_partial: bool = False
    """Processes that should have been told of it could not be."""

    def __add__(self, other: Any) -> Outcome:
        """Of two parts, the whole."""
        is_partial = self.is_partial or other.is_partial
        return Outcome(self.connections + other.connections, self.refused or other.refused, is_partial)


class Cap(NamedTuple):
    """How many connections one user may have, and who goes where there are too many."""

    limit: int
    """0 = any number."""
    replaces: bool
    """The oldest go, and whatever had the same device, if that has a name; else the newcomer is refused."""


class Admission(NamedTuple):
    """What came of asking for a place."""

    admitted: bool
    replaced: Sequence[str] = ()
    """Connections that had to go. They have been told, wherever they are."""


class NodeFigures(NamedTuple):
    """One process that serves connections."""

    name: str
    """Of its node; processes of one machine that belong together share it."""
    worker: int
    """Which of them, from 0."""
    version: str
    connections: int
    uptime_s: float
    draining: bool


class Listing(Protocol):
    """While an engine finds out who is in a topic, for somebody who may be told who comes and goes as well."""

    def is_outdated(self) -> bool:
        """Something was told since this was asked last that the answer may lack: find out again."""

    def end(self) -> None:
        """It has found out, or given up; what happened meanwhile is told when this turn of the loop is over."""


class EngineEvents(Protocol):
    """What an engine calls. Events must not raise, and must not wait."""

    def on_publication(self, topic: str, publication: Publication, exclude: str, epoch: str) -> None:
        """Something was published to a joined topic.

        `exclude` is the connection that shall not hear it, or empty; `epoch` is the topic's, empty without history.
        """

    def on_announcement(self, data: bytes, ts_ms: int) -> None:
        """Something is told to every connection: JSON, and when in Unix milliseconds."""

    def on_join_leave(self, topic: str, changes: Sequence[Change]) -> None:
        """Connections of other processes came to a joined topic, or left it, in that order.

        A join comes before what its connection publishes to the topic afterwards, and each is reported once, a leave
        also where the process of the connection died.
        """

    def on_crowd(self, topic: str, joined: int, left: int) -> None:
        """So many connections of other processes came to a joined topic and left it: too many to be named."""

    def on_order(self, order: Order) -> Answer[Outcome]:
        """Do this with the connections of this process."""

    def on_degraded(self, ts_ms: int, concerns: Callable[[str], bool] | None = None) -> None:
        """What connects processes is away, since then; once per outage. `concerns`: only a part of it, which is that of
        these topics; again, and at last without it, where more goes away.
        """

    def on_restored(self, ts_ms: int, concerns: Callable[[str], bool] | None = None, *, is_over: bool = True) -> None:
        """It is back, and every joined topic is heard again. What was missed is asked for after this. `concerns`: only
        what these topics need was away until now. Not `is_over`: other parts are away still.
        """

    def on_lost(self, sessions: Sequence[SessionInfo]) -> None:
        """The process of these connections died, and they with it. Of all processes one is told, once for each."""

    def on_fenced(self, unreported: Collection[str]) -> None:
        """Others took this process for dead, and have said, or will say, of every connection that is here now, or has
        ended while `Engine.assure` had no answer, that it is lost; but not of the `unreported` ones.
        """

    # What an engine may ask, so that it has no second copy of it.

    def figures(self) -> NodeFigures:
        """How this process is, for `Engine.nodes`."""

    def sessions_here(self) -> Iterator[SessionInfo]:
        """Every connection with an entry at the engine, one by one: taken a part at a time, and others come and go in
        between. Who comes after this was called need not be among them; who is gone meanwhile may be.
        """

    def presence_here(self) -> Iterator[tuple[str, str, Member, bool]]:
        """(topic, connection, member, whether it was announced) of everybody who is present, in the same way, one topic
        after the other.
        """

    def members_of(self, topic: str, limit: int) -> Presence:
        """Who of a topic is in this process, at most `limit` of them by name, which somebody is about to be told."""

    def listing(self, topic: str) -> Listing:
        """Others are asked who is in a topic; `members_of` is asked when they have answered."""

    def sessions_of(self, user: str, limit: int | None = None) -> Sequence[SessionInfo]:
        """The connections of a user in this process, or some of them, at most `limit`."""

    def session_of(self, conn: str) -> SessionInfo | None:
        """One connection, None if it is not in this process."""

    def was_reported(self, conn: str) -> bool:
        """Whether a connection of this process was here at `on_fenced`, so that others have said that it was lost."""

    def devices_of(self, user: str) -> Sequence[str]:
        """The devices of a user in this process, each once; none if the user is not here. Those of a bounded number of
        connections: any client may ask for the status of anybody.
        """

    def topics_of(self, tenant: str, pattern: str) -> Answer[Sequence[TopicInfo]]:
        """The topics of a tenant that somebody in this process is subscribed to; see `Engine.topics`."""


class Engine(ABC):
    """One per process."""

    name: str
    """How logs call it."""
    may_lose: bool = False
    """What was published may be lost on its way to a process: positions have to be compared now and then."""
    claims: Claims = Alone()
    """Which process carries out a call that shall have one effect, wherever it is repeated."""

    @abstractmethod
    async def start(self, events: EngineEvents) -> None:
        """Begin; `EngineError` if it cannot."""

    @abstractmethod
    async def stop(self) -> None:
        """End. What was published before is delivered or stored as promised; nothing is called after this."""

    @abstractmethod
    def join(self, topic: str) -> Answer[None]:
        """Want a topic's publications in this process from now on.

        What is published after this has answered is heard; what `recover` answers, if it is called after this was
        called, leaves no gap before the first event. While the engine is away it answers at once: what is published
        here is heard, and the rest from `on_restored` on.
        """

    @abstractmethod
    def leave(self, topic: str) -> None:
        """Want them no longer; does not wait."""

    @abstractmethod
    def publish(self, outgoing: Outgoing) -> Answer[Published]:
        """Publish; answers the position if the topic has history. A known key answers the first one's result."""

    @abstractmethod
    def announce(self, data: bytes) -> Answer[None]:
        """Tell every connection of every process; at most once."""

    @abstractmethod
    def recover(self, topic: str, retention: Retention, since: Position | None) -> Answer[Recovery]:
        """Where a topic with history is, and if all that was published after `since` is still there, that.

        Not recovered: without `since`, with one of another epoch or ahead of the topic, or if anything after it was
        trimmed.
        """

    @abstractmethod
    def history(
        self, topic: str, retention: Retention, since: Position | None, limit: int, *, reverse: bool = False
    ) -> Answer[Page]:
        """At most `limit` publications: the oldest, or those after `since`, ascending.

        With `reverse` the newest, or those before `since`, descending. Raises `EpochError` for a `since` of another
        epoch.
        """

    @abstractmethod
    def positions(self, topics: Sequence[str]) -> Answer[Sequence[Position | None]]:
        """Where topics with history are; None for one of which nothing is known, `UNREACHED` for one that could not be
        asked for. It changes nothing. The epoch is empty where it is over.
        """

    @abstractmethod
    def present(self, topic: str, conn: str, member: Member, *, announce: bool, is_known: bool = False) -> None:
        """A connection of this process is subscribed to the topic, or who it is has changed; does not wait.

        With `announce` other processes are told by `on_join_leave` that it came, and that it left should this process
        die; its own hub has told those who are here. `is_known`: it was there before, and nobody is told now.
        """

    @abstractmethod
    def absent(self, topic: str, conn: str, member: Member, *, announce: bool) -> None:
        """It is no longer; the same."""

    @abstractmethod
    def presence(self, topic: str, limit: int) -> Answer[Presence]:
        """Who is subscribed to a topic whose namespace has presence, in all processes; `limit` of them by name.

        For those who are here `EngineEvents.members_of` is asked: the hub has to know what was listed.
        """

    @abstractmethod
    def presence_stats(self, topic: str) -> Answer[PresenceStats]:
        """How many are."""

    @abstractmethod
    def admit(self, user: str, conn: str, device: str, cap: Cap) -> Answer[Admission]:
        """Ask before `attach` whether a user with a name may have one more connection, over all processes, and let the
        older ones go that have to. Two of them at the same moment never take one place.

        The place is the connection's from then on; `detach` gives it back. While the engine is away the connections of
        this process are all that counts.
        """

    @abstractmethod
    def attach(self, user: str, conn: str, device: str) -> None:
        """A connection is here; does not wait. `user` is the tenant's name without a user for an anonymous one, of
        which only those are told that `on_lost` shall know about.
        """

    @abstractmethod
    def detach(self, user: str, conn: str, *, is_last: bool) -> Answer[bool]:
        """It is gone; nobody has to wait for that. `is_last`: no other one of this user is in this process.

        True: no other process says that it has ended, so this one may. False: that is not known before `assure` has
        answered.
        """

    def assure(self) -> Answer[None]:
        """Asked before an application is told that a connection of this process has ended, where `detach` did not say
        that nobody else tells it: answers when it is known whether others take this process for dead, and then after
        `on_fenced`. A future, where that is not known at once; where there are no others it always is.
        """
        return None

    @abstractmethod
    def sessions(self, user: str, limit: int = SESSIONS_LISTED) -> Answer[Sequence[SessionInfo]]:
        """The connections of a user in all processes, the oldest first: at most `limit`, whichever those are."""

    @abstractmethod
    def status(self, users: Sequence[str]) -> Answer[Sequence[UserStatus]]:
        """Whether users are here, in the order in which they are named."""

    @abstractmethod
    def topics(self, tenant: str, pattern: str) -> Answer[Sequence[TopicInfo]]:
        """The topics of a tenant that somebody is subscribed to, named as its clients know them.

        `pattern` is the name of a topic, or the beginning of one and `*`.
        """

    @abstractmethod
    def nodes(self) -> Answer[Sequence[NodeFigures]]:
        """All processes that are alive, this one among them."""

    def reaches(self, topic: str) -> bool:  # noqa: ARG002 - the others know whether they do
        """Whether nothing that a topic needs is away: False from `on_degraded` to `on_restored`, if they concern it."""
        return True

    def can_order(self, order: Order | None) -> bool:  # noqa: ARG002 - the same
        """Whether an order would reach all whom it is for, as far as this process knows; None: an announcement."""
        return True

    @abstractmethod
    def order(self, order: Order) -> Answer[Outcome]:
        """Have it carried out in every process; answers what came of it in all that could be asked."""
