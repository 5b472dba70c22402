"""Which connections users have, over all processes.

A user's sessions are a hash: connection -> since when, node, device. Every node has a hash in each partition, of those
of its connections whose users are there: connection -> since when, device, user. So who is lost with a node is known
from what is the node's own, and taking that away costs what it has, however many connections its users have elsewhere.
Anonymous connections are in the second one only, in the partition of their own ids.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from fastws.core.topics import scoped, unscoped
from fastws.engine.admission import admitted_here
from fastws.engine.contract import Admission, Answer, Cap
from fastws.engine.redis.backbone.contract import Word
from fastws.engine.redis.common import Common, now_ms
from fastws.engine.redis.fleet.answers import items, number, page_in, pairs, text
from fastws.engine.redis.fleet.entries import Entry, session_in
from fastws.engine.redis.fleet.entries import is_named as has_name
from fastws.engine.redis.fleet.living import Living, name_of
from fastws.engine.redis.fleet.noted import AT_ONCE, DETACH, LAST_SEEN_S, SLICE_S, Noted
from fastws.engine.redis.names import LAST_SEEN, NODE_USERS, REPORTED, SESSIONS, partition_of
from fastws.engine.redis.scripts import Script, script
from fastws.errors import EngineError
from fastws.types import DEFAULT_DEVICE, SessionInfo, UserStatus

_log: Final = logging.getLogger("fastws.engine")

ADMIT: Final = script("admit", after="fields")
ATTACH: Final = script("attach", after="fields")
STATUS: Final = script("status")

REPORTED_S: Final = 3600
"""Seconds for which it is remembered who was reported as lost, should the process come back that was not dead."""

_PAGE: Final = 1000  # connections of one user that are read in one go
_MOST_PAGES: Final = 1000
_MOST_UNSURE: Final = 100_000
_DEVICES: Final = 64  # sessions of one user that are looked at for its devices
_ROUNDS: Final = 5  # of finding out who was reported, while others come and go
_IN_FLIGHT: Final = 8  # scripts that register connections and have not been answered


class Sessions:
    """See the contract for what its methods do."""

    def __init__(self, common: Common) -> None:
        self.living = Living()
        """The nodes whose sessions are shown."""
        self.dismiss: Callable[[str, str], None] = _nobody
        """Has a connection closed because a newer one has its place: (node, connection). `Post` sets it."""
        self.is_doubtful = False
        """Something was not noted while Redis was there: somebody should register again."""
        self.is_assured: Callable[[], bool] = _always
        """Whether others do not take this process for dead. `Nodes` sets it."""
        self._unsure: dict[str, str] = {}
        """Connection -> user: those of which nobody knows whether Redis has what was said of them last, in time."""
        self._late: list[tuple[str, str]] = []
        """Those of them that Redis has noted while this process did not know whether others take it for dead."""
        self.noted = Noted(common)
        self._common = common
        self._node_keys: dict[int, bytes] = {}
        self._node = ""

    # A place.

    def admit(self, user: str, conn: str, device: str, cap: Cap) -> Answer[Admission]:
        """Ask for a place."""
        if not self._common.backbone.is_up(partition_of(user)):
            return admitted_here(self._common.events, user, conn, device, cap)
        return self._admit(user, conn, device, cap)

    async def _admit(self, user: str, conn: str, device: str, cap: Cap) -> Admission:
        try:
            dead = self.living.dead
            admitted, rest = await self._ask(user, conn, device, cap, dead)
            if not admitted:
                dead = [node for node in set(map(text, rest)) if not self.living.is_living(node)]
                if dead:
                    admitted, rest = await self._ask(user, conn, device, cap, dead)
            going = [(text(gone), text(node)) for gone, node in pairs(rest)] if admitted else []
        except EngineError as error:
            _log.warning("who may connect is judged by the connections of this process alone: %s", error)
            return admitted_here(self._common.events, user, conn, device, cap)
        for gone, node in going:
            self.dismiss(node, gone)
        replaced = [gone for gone, _ in going]
        if not admitted or not self._has_uncounted(user):
            return Admission(admitted, replaced)
        here = admitted_here(self._common.events, user, conn, device, cap)
        if not here.admitted:
            self.detach(user, conn, is_last=False)
        return Admission(here.admitted, [*replaced, *(gone for gone in here.replaced if gone not in replaced)])

    def _has_uncounted(self, user: str) -> bool:
        """Whether a user has connections here that Redis may not know: they came in an outage that is just over."""
        unsure = self._unsure
        return bool(unsure) and any(one.conn in unsure for one in self._common.events.sessions_of(user))

    async def _ask(
        self, user: str, conn: str, device: str, cap: Cap, dead: Sequence[str]
    ) -> tuple[bool, Sequence[Any]]:
        partition = partition_of(user)
        keys = [self._common.names.key(SESSIONS, partition, user), self._node_key(partition)]
        is_named = device not in ("", DEFAULT_DEVICE)
        words: list[Word] = [
            conn,
            self._common.node,
            _word(device),
            _word(user),
            cap.limit,
            int(cap.replaces),
            int(is_named),
            *dead,
        ]
        self._common.mark(partition)
        answer = items(await self._common.backbone.run(ADMIT, partition, keys, words))
        return bool(answer) and number(answer[0]) == 1, answer[1:]

    # Connections of this process.

    def attach(self, user: str, conn: str, device: str) -> None:
        """Note it."""
        partition, is_named = _place(user, conn)
        own = self._node_key(partition)
        key = self._common.names.key(SESSIONS, partition, user) if is_named else own
        words = (self._common.node, conn, _word(user), _word(device), 0)
        written = self._write(ATTACH, partition, (own, key), words)
        if written is None:
            self._be_unsure(user, conn)
        else:
            if not self.is_assured():
                self._be_unsure(user, conn)
            written.add_done_callback(partial(self._attached, user, conn))

    def detach(self, user: str, conn: str, *, is_last: bool) -> Answer[bool]:  # noqa: ARG002 - others may have more
        """Forget it."""
        partition, is_named = _place(user, conn)
        keys = [self._node_key(partition)]
        if is_named:
            names = self._common.names
            keys += (names.key(SESSIONS, partition, user), names.key(LAST_SEEN, partition, user))
        written = self._write(DETACH, partition, keys, (self._common.node, LAST_SEEN_S, "", conn))
        if written is None:
            self._be_unsure(user, conn)
            return False
        is_mine: asyncio.Future[bool] = written.get_loop().create_future()
        written.add_done_callback(partial(self._detached, user, conn, is_mine))
        return is_mine

    def _write(
        self, what: Script, partition: int, keys: Sequence[bytes], words: Sequence[Word]
    ) -> asyncio.Future[object] | None:
        """Have it done. Where Redis is away everybody is registered again when it is back."""
        if not self._common.backbone.is_up(partition):
            return None
        if what is ATTACH:
            if not self.is_assured():
                self._common.unmark()  # others may have cleared up behind this node
            self._common.mark(partition)
        try:
            return self._common.backbone.run(what, partition, keys, words)
        except EngineError as error:
            self._doubt(error)
            return None

    def _attached(self, user: str, conn: str, written: asyncio.Future[object]) -> None:
        is_done = self._is_done(written)
        if is_done and self.is_assured():
            self._unsure.pop(conn, None)
            return
        self._be_unsure(user, conn)
        if is_done and len(self._late) < _MOST_UNSURE:
            self._late.append((conn, user))

    def _detached(self, user: str, conn: str, is_mine: asyncio.Future[bool], written: asyncio.Future[object]) -> None:
        """Who has taken it away says that it has ended: so this process, or another one that took this one for dead."""
        if self._is_done(written) and written.result() == [1]:
            self._unsure.pop(conn, None)
            answer = True
        else:
            self._be_unsure(user, conn)
            answer = False
        if not is_mine.done():
            is_mine.set_result(answer)

    def _is_done(self, written: asyncio.Future[object]) -> bool:
        error = None if written.cancelled() else written.exception()
        if error is not None:
            self._doubt(error)
        return error is None and not written.cancelled()

    def _be_unsure(self, user: str, conn: str) -> None:
        if len(self._unsure) < _MOST_UNSURE:
            self._unsure[conn] = user

    def _doubt(self, error: BaseException) -> None:
        if not self.is_doubtful:
            self.is_doubtful = True
            _log.warning("sessions could not be noted, and will be again: %s", error)

    def _be_sure(self, connections: Iterable[tuple[str, str]]) -> None:
        for conn, user in connections:
            if self._unsure.get(conn) == user:
                del self._unsure[conn]

    def on_assured(self) -> None:
        """Others do not take this process for dead: what Redis has noted counts."""
        late, self._late = self._late, []
        self._be_sure(late)

    async def unreported(self, node: str) -> Collection[str]:
        """Of the connections that nobody is sure of, those that others have not reported and will not, who took this
        process for dead when it was `node`: they are taken away here.
        """
        known: dict[str, str] = {}
        found: set[str] = set()
        for _ in range(_ROUNDS):
            fresh = {conn: user for conn, user in self._unsure.items() if known.get(conn) != user}
            if not fresh:
                break
            known |= fresh
            groups: dict[int, list[Entry]] = {}
            for conn, user in fresh.items():
                groups.setdefault(_place(user, conn)[0], []).append(Entry(conn, user, "", 0, is_reported=False))
            parts = [
                (partition, group[at : at + AT_ONCE])
                for partition, group in groups.items()
                for at in range(0, len(group), AT_ONCE)
            ]
            for at in range(0, len(parts), _IN_FLIGHT):
                asked = (self._unreported(node, *part) for part in parts[at : at + _IN_FLIGHT])
                found.update(*await asyncio.gather(*asked))
        found |= {conn for conn, user in self._unsure.items() if known.get(conn) != user}
        self._unsure.clear()
        self._late.clear()
        return found

    async def _unreported(self, node: str, partition: int, entries: Sequence[Entry]) -> Collection[str]:
        """What this process takes away nobody else does, and what was not there nobody has."""
        taken = await self.noted.forget(node, partition, entries)
        rest = [entry.conn for entry in entries if entry not in taken]
        if not rest:
            return [entry.conn for entry in taken]
        key = self._common.names.node_key(REPORTED, partition, node)
        flags = items(await self._common.backbone.call(partition, b"SMISMEMBER", key, *rest))
        unknown = [conn for conn, flag in zip(rest, flags, strict=False) if not flag]
        return [*(entry.conn for entry in taken), *unknown]

    # All of them.

    def sessions(self, user: str, limit: int) -> Answer[Sequence[SessionInfo]]:
        """Those of one user."""
        self._common.require(partition_of(user))
        return self._sessions(user, limit)

    async def _sessions(self, user: str, limit: int) -> Sequence[SessionInfo]:
        tenant, name = unscoped(user)
        there = [
            SessionInfo(conn, name, tenant, device, name_of(node), since)
            for conn, since, node, device in await self._elsewhere(user, limit)
        ]
        return sorted([*self._common.events.sessions_of(user, limit), *there], key=lambda one: one.since)[:limit]

    async def _elsewhere(self, user: str, limit: int) -> Sequence[tuple[str, int, str, str]]:
        """(connection, since, node, device) of what a user has in other processes: `limit`, read a page at a time."""
        partition, cursor = partition_of(user), b"0"
        key = self._common.names.key(SESSIONS, partition, user)
        found: dict[str, tuple[str, int, str, str]] = {}
        for _ in range(_MOST_PAGES):
            cursor, page = page_in(await self._common.backbone.call(partition, b"HSCAN", key, cursor, b"COUNT", _PAGE))
            for conn, held in page:
                since, node, device = session_in(held)
                if node != self._common.node and self.living.is_living(node):
                    found[text(conn)] = (text(conn), since, node, device)
            if cursor == b"0" or len(found) >= limit:
                break
        return list(found.values())[:limit]

    async def nodes_of(self, user: str) -> Sequence[str]:
        """The ids of the other nodes that have connections of a user."""
        return list(dict.fromkeys(node for _, _, node, _ in await self._elsewhere(user, _MOST_PAGES * _PAGE)))

    def status(self, users: Sequence[str]) -> Answer[Sequence[UserStatus]]:
        """Whether they are here."""
        for partition in {partition_of(user) for user in users}:
            self._common.require(partition)
        return self._status(users)

    async def _status(self, users: Sequence[str]) -> Sequence[UserStatus]:
        names, by_partition = self._common.names, dict[int, list[str]]()
        for user in dict.fromkeys(users):
            by_partition.setdefault(partition_of(user), []).append(user)
        asked = []
        for partition, group in by_partition.items():
            keys = [names.key(kind, partition, user) for user in group for kind in (SESSIONS, LAST_SEEN)]
            asked.append((group, self._common.backbone.run(STATUS, partition, keys, (_DEVICES,))))
        await asyncio.gather(*(answer for _, answer in asked), return_exceptions=True)
        found: dict[str, UserStatus] = {}
        for group, answer in asked:
            said = items(answer.result())
            if len(said) != len(group):
                raise EngineError("Redis answered about other users than were asked for")
            found.update((user, self._status_of(user, items(one))) for user, one in zip(group, said, strict=True))
        return [found[user] for user in users]

    def _status_of(self, user: str, said: Sequence[Any]) -> UserStatus:
        devices = set(self._common.events.devices_of(user))
        has_just_left = False
        for held in said[1:]:
            _, node, device = session_in(held)
            if node == self._common.node:
                has_just_left = True  # if it is not here any more: while Redis was answering
            elif self.living.is_living(node):
                devices.add(device)
        if devices or has_just_left:
            return UserStatus(bool(devices), sorted(devices), now_ms())
        return UserStatus(False, (), number(said[0]) if said and said[0] else None)

    # Everybody of a node.

    async def register(self, sessions: Iterable[SessionInfo]) -> None:
        """Note everybody who is here again, a part at a time; where Redis is away, when it is back."""
        self.is_doubtful = False
        away = self._common.away()
        self._common.unmark()
        unsure = list(self._unsure.items())
        waiting: dict[int, list[SessionInfo]] = {}
        answers: list[asyncio.Future[object]] = []
        ends_s = monotonic() + SLICE_S
        for session in sessions:
            partition, _ = _place(scoped(session.tenant, session.user), session.conn)
            group = waiting.setdefault(partition, [])
            if partition not in away:
                group.append(session)
            if len(group) >= AT_ONCE:
                answers.append(self._attach_all(partition, waiting.pop(partition)))
                if len(answers) >= _IN_FLIGHT:
                    await answers.pop(0)
            if monotonic() > ends_s:
                await asyncio.sleep(0)
                ends_s = monotonic() + SLICE_S
        for partition, group in waiting.items():
            if group:
                answers.append(self._attach_all(partition, group))
            if len(answers) >= _IN_FLIGHT:
                await answers.pop(0)
        for answer in answers:
            await answer
        self._be_sure((conn, user) for conn, user in unsure if _place(user, conn)[0] not in away)

    def _attach_all(self, partition: int, group: Sequence[SessionInfo]) -> asyncio.Future[object]:
        own = self._node_key(partition)
        keys, words = [own], list[Word]([self._common.node])
        for conn, user, tenant, device, _, since in group:
            name = scoped(tenant, user)
            keys.append(self._common.names.key(SESSIONS, partition, name) if user else own)
            words += (conn, _word(name), _word(device), -since if self._common.events.was_reported(conn) else since)
        self._common.mark(partition)
        return self._common.backbone.run(ATTACH, partition, keys, words)

    async def weed(self) -> None:
        """Forget connections that are noted as this node's and are not here."""
        await self.noted.weed(self._common.node, self._is_here)

    def _is_here(self, entry: Entry) -> bool:
        here = self._common.events.session_of(entry.conn)
        return here is not None and scoped(here.tenant, here.user) == entry.user

    def _node_key(self, partition: int) -> bytes:
        """The key of what this node has in a partition. It is made for each connection that comes or goes."""
        if self._node != self._common.node:
            self._node = self._common.node
            self._node_keys.clear()
        key = self._node_keys.get(partition)
        if key is None:
            key = self._node_keys[partition] = self._common.names.node_key(NODE_USERS, partition, self._node)
        return key


def _nobody(_node: str, _conn: str) -> None:
    pass


def _always() -> bool:
    return True


def _word(name: str) -> bytes:
    """As names of keys are encoded: not each of them is UTF-8."""
    return name.encode("utf-8", "surrogatepass")


def _place(user: str, conn: str) -> tuple[int, bool]:
    """The partition of a connection, and whether its user has a name."""
    is_named = has_name(user)
    return partition_of(user if is_named else conn), is_named
