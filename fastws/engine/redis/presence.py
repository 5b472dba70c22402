"""Who is present in topics, over all processes.

Each process keeps its own members in Redis, written behind: what changes in one pass of the loop goes there together,
in one script for each topic, which tells the others too. It goes over the same connection as the topic's publications,
and before them: a join comes before what its connection publishes afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, Final

from fastws.engine.contract import Change
from fastws.engine.redis import names
from fastws.engine.redis.backbone.contract import Word
from fastws.engine.redis.changes import MAX_NAMED, bodies_of, packed, told_in, unnamed, unpacked
from fastws.engine.redis.common import Common
from fastws.engine.redis.envelope import CHANGES, pack
from fastws.engine.redis.fleet.answers import items, number
from fastws.engine.redis.names import PARTITIONS, partition_of
from fastws.engine.redis.scripts import script
from fastws.errors import EngineError
from fastws.types import Member, Presence, PresenceStats

_log: Final = logging.getLogger("fastws.engine")

GONE_S: Final = 3600
"""Seconds for which a process that was taken for dead is kept from writing, should it come back."""

REPAIRED_AFTER_S: Final = 5.0
"""Seconds after which what Redis has refused to write is compared with what is here."""

_WRITTEN_AT_ONCE: Final = 500  # connections in one script, some 2 ms of Redis
_SCANNED_AT_ONCE: Final = 500
_ASKED_AGAIN: Final = 3  # a room where newcomers do not stop talking must not keep a listing from its end

_NOTE: Final = script("note_members", after="members")
_LIST: Final = script("list_members")
_FORGET: Final = script("forget_members", after="members")

_LEFT: Final = b""

Row = tuple[str, str, Member, bool]
"""Topic, connection, member, whether it was announced."""

Written = Sequence[asyncio.Future[object]]


class Pending:
    """What has changed in one topic and was not written yet."""

    __slots__ = ("_places", "changes", "members")

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {}
        """By connection, as Redis shall have it; empty if it shall not."""
        self.changes: list[Change | None] = []
        """To be told to others, in order; None where a join and a leave cancelled each other."""
        self._places: dict[str, int] = {}
        """Where the join of a connection stands among the changes."""

    def tell(self, change: Change) -> None:
        """Others are to be told of this, unless they were not told of the opposite."""
        place = None if change.joined else self._places.pop(change.conn, None)
        if place is not None:
            self.changes[place] = None
            return
        if change.joined:
            self._places[change.conn] = len(self.changes)
        self.changes.append(change)


class RemotePresence:
    """See the contract for what its methods do."""

    def __init__(self, common: Common) -> None:
        self.pending: dict[str, Pending] = {}
        """By topic: what was not written yet. Call `precede` before a publication while there is something."""
        self.unwritten = 0
        """Times that Redis did not take what was written, so far."""
        self._common = common
        self._ids: set[str] = set()
        """What this process was called by others, so far."""
        self._meanwhile: set[tuple[str, str]] | None = None
        """(topic, connection) of what has changed since a comparison with Redis began; None while there is none."""
        self._has_stopped = False
        self._comparing = asyncio.Lock()
        self._repairing: asyncio.Task[None] | None = None
        self._is_doubtful = False
        """Something was refused since the last comparison began: another one is needed."""
        self._unsaid: set[str] = set()
        """Topics of which a part of what changed was written, but others were not told: they have to ask."""
        common.kinds[CHANGES] = self._hear

    def stop(self) -> None:
        """Write what is still to be written, and nothing after this."""
        self.flush()
        self._has_stopped = True
        if self._repairing is not None:
            self._repairing.cancel()

    # What happens here.

    def present(self, topic: str, conn: str, member: Member, *, announce: bool, is_known: bool = False) -> None:
        """Note it."""
        entry = self._entry(member, announced=announce)
        if entry is not None:
            pending = self._note(topic, conn, entry)
            if announce and not is_known:
                pending.tell(Change(conn, member.user, member.info, joined=True))

    def _entry(self, member: Member, *, announced: bool) -> bytes | None:
        try:
            return packed(member, announced=announced)
        except (ValueError, TypeError) as error:
            self._complain("a member of a topic cannot be told to others", error)
            return None

    def absent(self, topic: str, conn: str, member: Member, *, announce: bool) -> None:
        """Note it."""
        pending = self._note(topic, conn, _LEFT)
        if announce:
            pending.tell(Change(conn, member.user, member.info, joined=False))

    def _note(self, topic: str, conn: str, entry: bytes) -> Pending:
        if self._meanwhile is not None:
            self._meanwhile.add((topic, conn))
        if not self.pending:
            asyncio.get_running_loop().call_soon(self.flush)
        pending = self.pending.get(topic)
        if pending is None:
            pending = self.pending[topic] = Pending()
        pending.members[conn] = entry
        return pending

    def precede(self, topic: str) -> None:
        """Something else about this topic is about to be given to Redis: what was noted comes first."""
        pending = self.pending.pop(topic, None)
        if pending is not None:
            self._write(topic, pending.members, [change for change in pending.changes if change is not None])

    def flush(self) -> None:
        """Write what was noted."""
        for topic in list(self.pending):
            self.precede(topic)

    def _write(
        self, topic: str, entries: dict[str, bytes], changes: Sequence[Change], *, is_asked_again: bool = False
    ) -> Written:
        """Nothing is written while Redis is away: when it is back, everything is compared. `is_asked_again`: others
        are to ask who is there, as nobody knows what they were told.
        """
        partition, node = partition_of(topic), self._common.node
        self._ids.add(node)
        if not entries or self._has_stopped or not self._common.backbone.is_up(partition):
            return ()
        named = self._common.names
        self._common.mark(partition)
        keys = [
            self._members_key(partition, topic),
            named.key(names.PRESENT_NODES, partition, topic),
            named.key(names.PRESENT_USERS, partition, topic),
            named.node_key(names.NODE_TOPICS, partition, node),
            named.node_key(names.GONE, partition, node),
        ]
        channel = named.key(names.TOPIC, partition, topic)
        told: list[Word] = [node, topic, self._common.backbone.publish_command, channel]
        bodies = [unnamed(node)] if is_asked_again else self._bodies(node, changes)
        messages = [pack(CHANGES, body) for body in bodies]
        written: list[asyncio.Future[object]] = []
        rest = iter(entries.items())
        is_one = len(entries) <= _WRITTEN_AT_ONCE
        for first in range(0, len(entries), _WRITTEN_AT_ONCE):
            is_all = first + _WRITTEN_AT_ONCE >= len(entries)
            now = messages if is_all else []  # who is told may ask at once
            part: Iterator[Word] = chain.from_iterable(islice(rest, _WRITTEN_AT_ONCE))
            words: list[Word] = [*told, len(now), *now, *part]
            try:
                written.append(self._common.backbone.run(_NOTE, partition, keys, words))
            except EngineError as error:
                self._fail(partition, error, "" if is_one else topic)
                break
            written[-1].add_done_callback(partial(self._written, partition, "" if is_one else topic))
        return written

    def _bodies(self, node: str, changes: Sequence[Change]) -> Sequence[bytes]:
        try:
            return bodies_of(node, changes)
        except (ValueError, TypeError) as error:
            self._complain("who came and who left a topic cannot be told to others", error)
            return [unnamed(node)]

    def _members_key(self, partition: int, topic: str) -> bytes:
        return self._common.names.key(names.PRESENCE, partition, f"{self._common.node}\n{topic}")

    def _written(self, partition: int, topic: str, written: asyncio.Future[object]) -> None:
        if not written.cancelled() and (error := written.exception()) is not None:
            self._fail(partition, error, topic)

    def _fail(self, partition: int, error: BaseException, topic: str = "") -> None:
        """If Redis is not away, nobody else would notice. `topic`: one where other parts of the same may be written."""
        self._complain("who is present could not be written to Redis", error)
        self._is_doubtful = True
        if topic:
            self._unsaid.add(topic)
        self._repair_soon(partition)

    def _repair_soon(self, partition: int) -> None:
        if self._common.is_running and self._common.backbone.is_up(partition) and self._repairing is None:
            self._repairing = self._common.later(self._repair_later())
            self._repairing.add_done_callback(self._repaired)

    def _complain(self, what: str, error: BaseException) -> None:
        self.unwritten += 1
        if not self.unwritten & (self.unwritten - 1):
            _log.warning("%s (%d times so far): %s", what, self.unwritten, error)

    async def _repair_later(self) -> None:
        await asyncio.sleep(REPAIRED_AFTER_S)
        await self.repair(self._common.events.presence_here())

    def _repaired(self, repairing: asyncio.Task[None]) -> None:
        """Also what was refused during the comparison, which leaves out what changes meanwhile, needs another one."""
        self._repairing = None
        if repairing.cancelled():
            return
        if (error := repairing.exception()) is not None:
            self._fail(names.HOME, error)
        elif self._is_doubtful:
            self._repair_soon(names.HOME)

    # What others say.

    def _hear(self, topic: str, envelope: bytes) -> None:
        """Others have said who came and who left."""
        told = told_in(envelope[2:])
        if told is None:
            self._common.skip("changes")
        elif told.node not in self._ids:
            if told.changes:
                self._common.events.on_join_leave(topic, told.changes)
            if told.joined or told.left or not told.changes:
                self._common.events.on_crowd(topic, told.joined, told.left)

    # Who is there.

    def presence(self, topic: str, limit: int) -> Awaitable[Presence]:
        """Who is there."""
        self._common.require(partition_of(topic))
        return self._presence(topic, limit)

    async def _presence(self, topic: str, limit: int) -> Presence:
        events = self._common.events
        listing = events.listing(topic)
        try:
            for _ in range(_ASKED_AGAIN):
                elsewhere, users, others = await self._ask(topic, limit, self._common.node)
                if not listing.is_outdated():
                    break
            else:
                events.on_crowd(topic, 0, 0)  # whoever keeps a list is told to ask again
            here = events.members_of(topic, limit)
        finally:
            listing.end()
        members = dict(here.members)
        for conn, member in others.items():
            if len(members) >= limit:
                break
            members.setdefault(conn, member)
        connections = here.connections + elsewhere
        return Presence(members, connections, max(users, here.users), truncated=connections > limit)

    def presence_stats(self, topic: str) -> Awaitable[PresenceStats]:
        """How many are."""
        self._common.require(partition_of(topic))
        return self._stats(topic)

    async def _stats(self, topic: str) -> PresenceStats:
        connections, users, _ = await self._ask(topic, 0, "")
        return PresenceStats(connections, users)

    async def _ask(self, topic: str, limit: int, without: str) -> tuple[int, int, dict[str, Member]]:
        """Connections and members, all but those of one process, and users of all."""
        partition, named = partition_of(topic), self._common.names
        self.precede(topic)
        keys = [named.key(names.PRESENT_NODES, partition, topic), named.key(names.PRESENT_USERS, partition, topic)]
        words: list[Word] = [without, limit, named.key(names.PRESENCE, partition), f"\n{topic}"]
        answer = await self._common.backbone.run(_LIST, partition, keys, words)
        if not isinstance(answer, list) or len(answer) < 2 or not all(type(count) is int for count in answer[:2]):
            raise EngineError("Redis has answered something else than who is present")
        members = {}
        for conn, value in zip(answer[2::2], answer[3::2], strict=False):
            member = unpacked(value) if isinstance(value, bytes) else None
            if member is not None and isinstance(conn, bytes):
                members[conn.decode("utf-8", "replace")] = member
        return answer[0], answer[1], members

    # Nodes that come and go.

    async def register(self, members: Iterable[Row], *, announce: bool = False) -> None:
        """Note everybody who is here again, a part at a time, for a node with a new id, of which Redis knows nothing.

        `announce`: others have been told that they left, and are told that they came. Else whoever keeps a list may
        have asked while nobody was noted, or not have heard of who came in an outage: it is told to ask again.
        """
        await self._compare(members, announce=announce, is_new=True)

    async def repair(self, members: Iterable[Row], *, announce: bool = True) -> None:
        """The same after an outage, for a node whose id is still good: what others lack is noted, and what they should
        not have is taken away; they are told of both. `announce`: see `register`, of which this may be the rest.
        """
        await self._compare(members, announce=announce, is_new=False)

    async def _compare(self, members: Iterable[Row], *, announce: bool, is_new: bool) -> None:
        async with self._comparing:
            self._ids.add(self._common.node)
            self.flush()
            self._meanwhile = set()
            self._is_doubtful = False
            try:
                await self._correct(iter(members), announce=announce, is_new=is_new)
            except BaseException:
                self._is_doubtful = True
                raise
            finally:
                self._meanwhile = None
            await self._say_what_was_not_said()

    async def _say_what_was_not_said(self) -> None:
        """Who keeps a list of these topics asks again."""
        message = pack(CHANGES, unnamed(self._common.node))
        away = self._common.away()
        for topic in [topic for topic in self._unsaid if partition_of(topic) not in away]:
            channel = self._common.names.of(names.TOPIC, topic)
            await self._common.backbone.say(partition_of(topic), channel, message)
            self._unsaid.discard(topic)

    async def _correct(self, members: Iterator[Row], *, announce: bool, is_new: bool) -> None:
        """Make Redis have these members and no others of this process."""
        seen: set[str] = set()
        unmatched: dict[str, dict[str, bytes]] = {}
        """What Redis has of the topics just looked at, and nobody here."""
        while batch := list(islice(members, _WRITTEN_AT_ONCE)):
            rows: dict[str, list[Row]] = {}
            for row in batch:
                rows.setdefault(row[0], []).append(row)
            fresh = [topic for topic in rows if topic not in seen and not is_new]
            unmatched.update(zip(fresh, await asyncio.gather(*map(self._known, fresh)), strict=True))
            seen.update(rows)
            written = [self._come(topic, some, unmatched.get(topic, {}), announce) for topic, some in rows.items()]
            written += [self._go(topic, unmatched.pop(topic)) for topic in [*unmatched] if topic != batch[-1][0]]
            await self._done(written)
        await self._done([self._go(topic, known) for topic, known in unmatched.items()])
        for partition in () if is_new else sorted({*range(PARTITIONS)} - self._common.away()):
            key = self._common.names.node_key(names.NODE_TOPICS, partition, self._common.node)
            topics = [topic async for topic in self._scan(partition, "SSCAN", key) if _text(topic) not in seen]
            for one in map(_text, topics):
                await self._done([self._go(one, await self._known(one))])

    def _come(self, topic: str, rows: Sequence[Row], known: dict[str, bytes], announce: bool) -> Written:
        """These are here; what Redis knows of them is taken out of `known`."""
        entries: dict[str, bytes] = {}
        changes: list[Change] = []
        for _, conn, member, told in rows:
            entry, before = self._entry(member, announced=told), known.pop(conn, None)
            if entry is not None and entry != before and not self._has_changed(topic, conn):
                entries[conn] = entry
                if told and announce and before is None:
                    changes.append(Change(conn, member.user, member.info, joined=True))
        is_asked_again = not announce and any(told for _, _, _, told in rows)
        return self._write(topic, entries, changes, is_asked_again=is_asked_again)

    def _go(self, topic: str, known: dict[str, bytes]) -> Written:
        """These are not."""
        entries: dict[str, bytes] = {}
        changes: list[Change] = []
        for conn, entry in known.items():
            if not self._has_changed(topic, conn):
                entries[conn] = _LEFT
                member = unpacked(entry) or Member("", "", None)
                changes.append(Change(conn, member.user, member.info, joined=False))
        return self._write(topic, entries, changes)

    def _has_changed(self, topic: str, conn: str) -> bool:
        """It was noted after the comparison had begun, and so is written or about to be."""
        return self._meanwhile is not None and (topic, conn) in self._meanwhile

    async def _done(self, written: Iterable[Written]) -> None:
        """All of this is written, or it fails. Others have their turn in any case."""
        await asyncio.gather(*chain.from_iterable(written))
        await asyncio.sleep(0)

    async def _known(self, topic: str) -> dict[str, bytes]:
        """What Redis has of this process' members of a topic; nothing is known, or written, while it is away."""
        partition = partition_of(topic)
        if not self._common.backbone.is_up(partition):
            return {}
        words = [word async for word in self._scan(partition, "HSCAN", self._members_key(partition, topic))]
        return dict(zip(map(_text, words[::2]), words[1::2], strict=True))

    async def _scan(self, partition: int, command: str, key: bytes) -> AsyncIterator[bytes]:
        """What is in a set or hash, asked for a part at a time."""
        cursor = b"0"
        while True:
            answer: Any = await self._common.backbone.call(partition, command, key, cursor, "COUNT", _SCANNED_AT_ONCE)
            cursor, words = answer
            for word in words:
                yield word
            if int(cursor) == 0:
                return

    async def forget(self, node: str, partition: int, most: int) -> bool:
        """Remove at most about `most` members of a node from a partition, and announce that they left; True if nothing
        of it is left there. A node that is not this one cannot write there any more.
        """
        named, backbone = self._common.names, self._common.backbone
        keys = [named.node_key(names.NODE_TOPICS, partition, node), named.node_key(names.GONE, partition, node)]
        kept_s = 0 if node == self._common.node else GONE_S
        kinds = (names.PRESENT_NODES, names.PRESENT_USERS, names.TOPIC)
        begins = [named.key(names.PRESENCE, partition, f"{node}\n"), *(named.key(kind, partition) for kind in kinds)]
        words: list[Word] = [node, most, kept_s, backbone.publish_command, pack(CHANGES, b""), MAX_NAMED, *begins]
        answer = items(await backbone.run(_FORGET, partition, keys, words))
        if len(answer) != 2:
            raise EngineError("Redis answered something else than whether anybody is left")
        for _ in range(min(number(answer[1]), most)):
            self._common.skip("presence")
        return number(answer[0]) == 1


def _text(word: Any) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
