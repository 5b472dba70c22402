"""The lease of this process, and the processes that have died.

A process that is not heard of for as long as its lease lasts is dead, whatever it thinks: one of those that are alive
takes its sessions and its presence away, and says once of each connection that it is lost. If it was not dead after
all, it is fenced: its next sign of life is refused, and it comes back with another id and everybody who is there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, NamedTuple

import msgspec

from fastws.engine.contract import Answer, EngineEvents, NodeFigures
from fastws.engine.redis.common import Common
from fastws.engine.redis.fleet.answers import items, number, pairs, text
from fastws.engine.redis.fleet.reaper import Reaper
from fastws.engine.redis.fleet.sweeper import Sweeper
from fastws.engine.redis.names import ALIVE, BURIALS, DEAD, FENCE, HOME, NODES
from fastws.engine.redis.post import Post
from fastws.engine.redis.presence import RemotePresence
from fastws.engine.redis.scripts import script
from fastws.engine.redis.sessions import Sessions
from fastws.errors import EngineError

_log: Final = logging.getLogger("fastws.engine")

ENLIST: Final = script("enlist")
BEAT: Final = script("beat")
BURY: Final = script("bury")

BEATS_PER_LEASE: Final = 20
"""Many, so that little of a lease is lost to not looking at the right moment. A beat is one script of microseconds."""
MAX_INTERVAL_S: Final = 5.0
"""Seconds between two beats, at most."""
DEAD_FOR_S: Final = 604_800
"""Seconds for which it is remembered that a node was taken for dead."""

_ALIVE: Final = 1
_FENCED: Final = -1
_WAIT_S: Final = 0.5  # for which an end of an outage waits for everybody to be registered again
_FAREWELL_S: Final = 3.0
_COMPLAINTS_S: Final = 30.0

_figures_encoder: Final = msgspec.json.Encoder()
_figures_decoder: Final = msgspec.json.Decoder(NodeFigures)


class Beat(NamedTuple):
    """What a node is answered that says that it is alive."""

    state: int
    newest: int
    """The highest number of a node that was given."""
    beats: Mapping[str, int]
    burials: Mapping[str, str]
    now_ms: int
    """The time of Redis."""


class Beginning:
    """Of a new id: Redis knows nobody of those who are here."""

    def __init__(self, fenced: str) -> None:
        self.fenced = fenced
        """What this process was called when others took it for dead; empty if Redis has forgotten it."""
        self.is_under_way = False
        """Somebody may be noted already."""


class Nodes:
    """Keeps the lease, and looks for those whose lease has ended."""

    def __init__(
        self,
        common: Common,
        name: str,
        lease_s: float,
        sessions: Sessions,
        presence: RemotePresence,
        post: Post,
    ) -> None:
        """`lease_s` after a process has died everything of it is gone; so it is waited for a bit less."""
        self._common = common
        self._name = name
        self._sessions = sessions
        self._presence = presence
        self._post = post
        self._living = sessions.living
        self._interval_s = min(lease_s / BEATS_PER_LEASE, MAX_INTERVAL_S)
        # A beat is seen up to an interval late, and so is it that there is none any more.
        self._silence_s = lease_s - 2.3 * self._interval_s
        self._reaper = Reaper(common, sessions, presence)
        self._sweeper = Sweeper(common, lease_s)
        self._sweeping: asyncio.Task[None] | None = None
        self._adopted: list[str] = []
        """Dead nodes that were in no list, and that this process buries."""
        self._events: EngineEvents | None = None
        self._beating: asyncio.Task[None] | None = None
        self._registering: asyncio.Task[None] | None = None
        self._burial: asyncio.Task[None] | None = None
        self._beginning: Beginning | None = None
        """That of the id which this process has, until everybody is noted."""
        self._former: list[str] = []
        """Ids that this process had: what is left of them is taken away when nobody else is at it."""
        self._sweeper.own = self._former
        self._one_beats = asyncio.Lock()
        self._complained_s = 0.0
        self._said_s = 0.0
        """When the last beat was sent that was accepted."""
        self._assurance: asyncio.Future[None] | None = None
        """Is done with the next beat; somebody waits for it."""
        self._fenced = ""
        """The id under which others took this process for dead, until it is known whom they have reported."""
        sessions.is_assured = self._is_assured
        post.on_trimmed = self._register_again

    async def register(self, events: EngineEvents) -> None:
        """Get an id that nobody had before, and a lease. `EngineError` if that cannot be."""
        self._events = events
        await self._enlist()
        await self._beat()  # so that who else is there is known from the beginning

    def start(self) -> None:
        """Keep the lease from now on, and look for dead nodes."""
        self._beating = asyncio.get_running_loop().create_task(self._keep())
        if self._sweeping is None:
            keeping = self._sweeper.keep(self._adopted.append, self._is_assured)
            self._sweeping = asyncio.get_running_loop().create_task(keeping)

    async def renew(self) -> None:
        """After an outage: keep the lease if it still is one; else, or if Redis has forgotten it, get another.

        What changed meanwhile was not noted, so everybody is registered again in any case; that is waited for only a
        moment.
        """
        async with self._one_beats:
            self._living.look_away()
            self._sweeper.disturb()
            self._post.is_behind = True
            node = self._common.node
            await self._beat()
        if self._common.node == node:
            self._register_again()
        if self._registering is not None:
            await asyncio.wait((self._registering,), timeout=_WAIT_S)

    def return_in_part(self, partitions: Collection[int]) -> None:
        """These are back, and others are not: at the next beat this process reads what it was told meanwhile, and then
        notes everybody who is here again.
        """
        self._sessions.is_doubtful = True
        self._post.return_in_part(partitions)

    async def stop(self) -> None:
        """Give the lease back, with everything that belongs to it."""
        all_tasks = (self._beating, self._registering, self._burial, self._sweeping)
        tasks = [task for task in all_tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._living.me and self._common.is_home_up:
            with suppress(EngineError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._leave()

    async def _leave(self) -> None:
        """Take away what is this node's, and then its name. If that fails others do it, as if it had died."""
        for node in (*self._former, self._common.node):
            await self._reaper.clear(node, report=False)
        await self._strike(self._common.node, ALIVE)

    def nodes(self) -> Answer[Sequence[NodeFigures]]:
        """Those that are alive."""
        self._common.require(HOME)
        return self._nodes()

    async def _nodes(self) -> Sequence[NodeFigures]:
        found = [self._common.events.figures()]
        for word, said in pairs(await self._common.backbone.call(HOME, b"HGETALL", self._key(NODES))):
            node = text(word)
            if node == self._common.node or not self._living.is_living(node):
                continue
            try:
                found.append(_figures_decoder.decode(said))
            except msgspec.MsgspecError:
                self._common.skip("figures")
        return sorted(found, key=lambda one: (one.name, one.worker))

    # The lease.

    def assure(self) -> Answer[None]:
        """See `Engine.assure`. The silence after which others act is longer than two beats."""
        if self._is_assured():
            return None
        if self._assurance is None:
            self._assurance = asyncio.get_running_loop().create_future()
        return self._assurance

    def _is_assured(self) -> bool:
        is_fresh = monotonic() - self._said_s < 2 * self._interval_s
        return is_fresh and self._common.is_home_up and not self._fenced

    async def _enlist(self) -> None:
        """Become a node that nobody has been before."""
        keys = [self._key(FENCE), self._key(ALIVE), self._key(NODES)]
        words = (self._name, os.urandom(4).hex(), self._figures(), self._living.newest)
        node = text(await self._common.backbone.run(ENLIST, HOME, keys, words))
        if self._living.me:
            self._former.append(self._common.node)
        self._common.node = node
        self._living.begin(node, self._silence_s)

    def _figures(self) -> bytes:
        return _figures_encoder.encode(self._events.figures()) if self._events is not None else b""

    async def _keep(self) -> None:
        """Beat until this is cancelled."""
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.9, 1.0))  # noqa: S311 - so that not all come at once
            try:
                async with self._one_beats:
                    if self._common.is_home_up:
                        await self._beat()
                    else:
                        self._living.look_away()
                await self._look_around()
            except EngineError as error:
                self._living.look_away()
                self._complain(error)
            except Exception as error:
                _log.error("keeping the lease failed", exc_info=error)

    def _complain(self, error: EngineError) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._common.is_home_up and now_s - self._complained_s >= _COMPLAINTS_S:
            self._complained_s = now_s
            _log.warning("this process cannot tell that it is alive: %s", error)

    async def _beat(self) -> None:
        """Say that this process is alive, and hear who else is. If others took it for dead it is another one after
        this, and registers everybody.
        """
        said_s = monotonic()
        beat = await self._say_alive()
        if beat.state != _ALIVE:
            await self._come_back(is_fenced=beat.state == _FENCED)
            said_s = monotonic()
            beat = await self._say_alive()
        if said_s - self._said_s > 2 * self._interval_s:
            self._sweeper.disturb()
            self._post.is_behind = True  # others may have taken this process for dead, and told it nothing
        unread = await self._keep_up(beat.now_ms)
        if self._fenced:
            await self._own_up(self._fenced)
        self._said_s = said_s
        self._sessions.on_assured()
        if self._assurance is not None:
            self._assurance.set_result(None)
            self._assurance = None
        if unread is not None:
            raise unread
        self._living.saw(beat.newest, beat.beats, beat.burials, self._silence_s / 2)

    async def _keep_up(self, now_ms: int) -> EngineError | None:
        """Carry out what this process has missed, before it says who is here; what of it could not be read now, as a
        part of Redis is away, does not keep it from that.
        """
        try:
            await self._post.keep_up(now_ms)
        except EngineError as error:
            return error
        return None

    async def _say_alive(self) -> Beat:
        keys = [self._key(kind) for kind in (FENCE, ALIVE, NODES, BURIALS, DEAD)]
        words = (self._common.node, self._figures())
        answer = items(await self._common.backbone.run(BEAT, HOME, keys, words))
        if len(answer) != 5:
            raise EngineError("Redis answered a beat with something else")
        return Beat(
            number(answer[0]),
            number(answer[1]),
            {text(node): number(beat) for node, beat in pairs(answer[2])},
            {text(node): text(said) for node, said in pairs(answer[3])},
            number(answer[4]),
        )

    async def _come_back(self, *, is_fenced: bool) -> None:
        """Redis does not know this process any more."""
        if is_fenced:
            _log.warning("others took this process for dead: it begins anew, with everybody who is here")
        else:
            _log.warning("Redis has forgotten this process: it registers anew, with everybody who is here")
        fenced = self._common.node if is_fenced else ""
        await self._enlist()
        if fenced:
            self._fenced = fenced
        else:
            self._register_again(is_new=True)

    async def _own_up(self, node: str) -> None:
        """Find out whom others have reported, who took this process for dead when it was `node`."""
        unreported = await self._sessions.unreported(node)
        self._fenced = ""
        if self._common.is_running:
            self._common.events.on_fenced(unreported)
        self._register_again(is_new=True, fenced=node)

    # Everybody who is here.

    def _register_again(self, *, is_new: bool = False, fenced: str = "") -> None:
        """Begin to note everybody who is here, and to forget who is not; from the beginning if that is under way.

        `is_new`: Redis knows nothing of this process; `fenced`: others are told that everybody of that node left.
        """
        if not self._common.is_running:
            return
        if self._registering is not None:
            self._registering.cancel()
        if is_new:
            self._beginning = Beginning(fenced)
        self._registering = asyncio.get_running_loop().create_task(self._register())

    async def _register(self) -> None:
        events = self._common.events
        while True:
            try:
                await self._sessions.register(events.sessions_here())
                await self._note_presence(self._beginning)
                await self._sessions.weed()
            except EngineError as error:
                if not self._common.is_home_up:
                    self._sessions.is_doubtful = True
                    return  # everybody is registered again after the outage
                self._complain(error)
                await asyncio.sleep(self._interval_s)
            else:
                return

    async def _note_presence(self, beginning: Beginning | None) -> None:
        """Where this was interrupted by an outage, it goes on as it began: what was written is not told again."""
        events = self._common.events
        if beginning is None:
            await self._presence.repair(events.presence_here())
            return
        announce = bool(beginning.fenced)
        if announce:  # whoever buries it may be slow, and say that they left after they came again
            await self._reaper.clear_presence(beginning.fenced, waits=False)
        if beginning.is_under_way:
            await self._presence.repair(events.presence_here(), announce=announce)
        else:
            beginning.is_under_way = True
            await self._presence.register(events.presence_here(), announce=announce)
        self._beginning = None

    # The dead.

    async def _look_around(self) -> None:
        """Bury one that is dead, if nobody else does."""
        is_registering = self._registering is not None and not self._registering.done()
        if self._sessions.is_doubtful and self._common.is_home_up and not is_registering:
            self._register_again()
        if self._burial is not None and not self._burial.done():
            return
        for node in self._former:
            if not self._living.is_claimed(node):
                self._former.remove(node)
                self._bury(self._clear_former(node))
                return
        if self._adopted:
            self._bury(self._clear(self._adopted.pop()))
            return
        candidates = self._living.to_bury()
        if not candidates:
            return
        node, seen = random.choice(candidates)  # noqa: S311 - so that not all want the same
        keys = [self._key(kind) for kind in (ALIVE, BURIALS, DEAD)]
        answer = await self._common.backbone.run(BURY, HOME, keys, (node, seen, f"{self._common.node} 0", DEAD_FOR_S))
        if number(answer) == 1:
            self._bury(self._clear(node))

    def _bury(self, work: Coroutine[Any, Any, None]) -> None:
        self._burial = asyncio.get_running_loop().create_task(work)
        self._burial.add_done_callback(_report_failure)

    async def _clear(self, node: str) -> None:
        _log.warning("the process %s has died", node)
        telling = asyncio.get_running_loop().create_task(self._tell_of(node))
        try:
            found = await self._reaper.clear(node, report=True)
        finally:
            telling.cancel()
        _log.info("%d connections were lost with %s", found, node)
        await self._strike(node, BURIALS)

    async def _tell_of(self, node: str) -> None:
        """Say again and again that the burial goes on: else somebody takes over."""
        step = 0
        while True:
            await asyncio.sleep(self._interval_s)
            step += 1
            with suppress(EngineError):
                said = f"{self._common.node} {step}"
                await self._common.backbone.call(HOME, b"HSET", self._key(BURIALS), node, said)

    async def _clear_former(self, node: str) -> None:
        """What was noted under an id that this process had, after others had cleared up behind it."""
        await self._reaper.clear(node, report=False)
        await self._strike(node, ALIVE)

    async def _strike(self, node: str, kind: bytes) -> None:
        """Nothing is left of a node: take it off the list, and what it has said of itself."""
        call, said, listed = self._common.backbone.call, self._key(NODES), self._key(kind)
        await self._reaper.insist(lambda: call(HOME, b"HDEL", said, node))
        await self._reaper.insist(lambda: call(HOME, b"HDEL", listed, node))

    def _key(self, kind: bytes) -> bytes:
        return self._common.names.key(kind, HOME)


def _report_failure(burial: asyncio.Task[None]) -> None:
    """Nobody says of it any more that it goes on, so that after a lease somebody begins again."""
    if not burial.cancelled() and (error := burial.exception()) is not None:
        _log.error("clearing up behind a dead process failed", exc_info=error)
