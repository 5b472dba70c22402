"""A Redis Cluster: `redis+cluster://`. Each partition is in one slot, and so at one master.

A partition is away while its master is, and for the moment in which it changes its master. Whoever is asked for keys
that are elsewhere has done nothing, so such commands are held and given once more: to the other master when the slot
has moved, to the same when its keys have stopped moving (`ASK`, `TRYAGAIN`). They are not sent after the keys: a script
has several, of which some may have moved and some not; and the era, looked for where it has not arrived, would begin
anew.

Masters are not told of each other by Redis. Members are asked now and then which slots are whose, and often while
something is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from fastws.engine.contract import Answer
from fastws.engine.redis.backbone.cluster.attempts import Attempt, Held
from fastws.engine.redis.backbone.cluster.orphans import Orphans
from fastws.engine.redis.backbone.cluster.owners import Owners
from fastws.engine.redis.backbone.cluster.topology import Place, Survey, View
from fastws.engine.redis.backbone.contract import Backbone, BackboneEvents, Word
from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.names import PARTITIONS, Names
from fastws.engine.redis.resp.address import Address
from fastws.engine.redis.resp.deadlines import Deadlines
from fastws.engine.redis.resp.errors import ELSEWHERE, AwayError, BusyError, MovedError, ReplyError
from fastws.engine.redis.resp.link import DEADLINE_S, Tuning, fail
from fastws.engine.redis.scripts import Script
from fastws.errors import EngineError

_log: Final = logging.getLogger("fastws.engine")

CALM_S: Final = 0.5
"""Seconds between two looks at the cluster while all of it is there."""
HURRY_S: Final = 0.1
"""The same while something is away."""
HOLD_S: Final = 1.0
"""Seconds for which commands wait for keys that are on their way; then their partition is away."""
_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.1


class Cluster(Backbone):
    """See the contract."""

    publish_command = b"SPUBLISH"

    def __init__(
        self,
        seeds: Sequence[Address],
        *,
        prefix: str,
        name: str = "fastws",
        tuning: Tuning = Tuning(),  # noqa: B008 - immutable
    ) -> None:
        """`seeds`: at least one member; all are reached in the same way. The rest is as for `Standalone`."""
        self._address: Final = seeds[0]
        self._names: Final = Names(prefix)
        self._name: Final = name
        self._tuning: Final = tuning
        self._survey: Final = Survey(seeds, name)
        self._events: BackboneEvents | None = None
        self._owners: Final = Owners(self._connect)
        self._unsettled: dict[int, float] = dict.fromkeys(range(PARTITIONS), 0.0)
        """Partitions whose owner is not sure to do what it is asked, and since when. Those that are not away as well
        hold their commands.
        """
        self._away: set[int] = set(range(PARTITIONS))
        self._why = "Redis is away"
        self._moved: dict[int, Place] = {}
        """Where partitions are said to be by those who had them."""
        self._unheard: set[int] = set()
        """Partitions with channels that moved in this pass of the loop."""
        self._orphans: Final = Orphans()
        self._held: Final = Held()
        self._deadlines: Final = Deadlines(tuning.answer_s)
        """Of what was held, or refused by somebody."""
        self._barriers: dict[int, asyncio.Future[Any]] = {}
        """Done when the last owner of a partition has answered what it was asked."""
        self._number = 0
        self._hurry: Final = asyncio.Event()
        self._settled: Final = asyncio.Event()
        """Nothing is unsettled."""
        self._is_stopped = False
        self._watcher: asyncio.Task[None] | None = None
        self._settlers: dict[Server, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    # Its life.

    async def start(self, events: BackboneEvents, within_s: float = DEADLINE_S) -> None:
        try:
            try:
                async with asyncio.timeout(within_s):
                    self._apply(await self._first_view())
                    self._watcher = asyncio.get_running_loop().create_task(self._watch())
                    await self._settled.wait()
            except TimeoutError:
                # A slot that is being moved for long need not keep everything else from beginning.
                if len(self._away) == PARTITIONS or not all(server.is_up for server in self._owners.servers):
                    raise self._why_not() from None
        except BaseException:
            await self.stop()
            raise
        self._events = events
        if self._away:
            events.on_away(sorted(self._away), self._why)

    async def _first_view(self) -> View:
        while True:
            view = await self._survey.look(first=True)
            if view is not None and None not in view.owners:
                return view
            failure = self._survey.failure
            if view is None and failure is not None and not failure.temporary:
                raise failure
            await asyncio.sleep(HURRY_S)

    def _why_not(self) -> EngineError:
        for server in self._owners.servers:
            if not server.is_up:
                return server.failure or AwayError(f"{server.address} does not answer in time")
        if not self._owners.servers:
            return self._survey.failure or EngineError("the cluster of Redis has slots that nobody serves")
        return EngineError("the cluster of Redis does not take commands")

    async def stop(self) -> None:
        self._is_stopped = True
        self._events = None
        tasks = [*self._settlers.values(), *([self._watcher] if self._watcher is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        servers = self._owners.clear()
        self._away.update(range(PARTITIONS))
        self._held.drop(range(PARTITIONS), AwayError("the connection to Redis was stopped"))
        self._deadlines.stop()
        await asyncio.gather(*(server.stop() for server in servers), *self._retiring, return_exceptions=True)
        await self._survey.close()

    # What is asked of it.

    def is_up(self, partition: int) -> bool:
        return partition not in self._away

    def call(self, partition: int, *words: Word) -> asyncio.Future[Any]:
        return self._give(partition, None, (), words)

    def run(self, script: Script, partition: int, keys: Sequence[bytes], words: Sequence[Word]) -> asyncio.Future[Any]:
        return self._give(partition, script, keys, words)

    def say(self, partition: int, channel: bytes, payload: bytes) -> asyncio.Future[Any]:
        return self._give(partition, None, (), (self.publish_command, channel, payload))

    def _give(
        self, partition: int, script: Script | None, keys: Sequence[bytes], words: Sequence[Word]
    ) -> asyncio.Future[Any]:
        owner = self._owners.of(partition)
        if owner is None or partition in self._away:
            raise AwayError(f"Redis is away: {self._why}")
        self._number += 1
        attempt = Attempt(self._redirect, self._number, partition, script, keys, words)
        if partition not in self._unsettled:
            attempt.send(owner)
        elif self._held.add(attempt):
            self._deadlines.watch(attempt.given_s, attempt.future)
        else:
            raise BusyError("more commands wait for a slot that is being moved than may")
        return attempt.future

    def subscribe(self, partition: int, channel: bytes) -> Answer[None]:
        owner = self._owners.of(partition)
        if owner is None or partition in self._away:
            self._orphans.add(partition, channel)
            return None
        answer = owner.subscribe(partition, channel)
        if answer is None:
            return None
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.ensure_future(answer).add_done_callback(partial(_tell_heard, heard))
        return heard

    def unsubscribe(self, partition: int, channel: bytes) -> None:
        self._orphans.discard(partition, channel)
        owner = self._owners.of(partition)
        if owner is not None:
            owner.unsubscribe(channel)

    # What servers tell.

    def on_message(self, channel: bytes, payload: bytes) -> None:
        """Something was said in a channel."""
        if self._events is not None:
            self._events.on_message(channel, payload)

    def on_server_away(self, server: Server, reason: str) -> None:
        """A master is away, with all its partitions."""
        partitions = self._owners.partitions_of(server)
        self._go_away(partitions, reason)
        self._held.drop(partitions, AwayError(f"Redis is away: {reason}"))
        self._settle_soon(server)

    def on_server_back(self, server: Server) -> None:
        """A master is back; it is asked whether it still has its partitions."""
        self._settle_soon(server)

    def _on_channels_moved(self, moved: Mapping[bytes, int]) -> None:
        """A server does not send these any more, as their slots are elsewhere."""
        for channel, partition in moved.items():
            self._orphans.add(partition, channel)
        if not self._unheard:
            asyncio.get_running_loop().call_soon(self._tell_unheard)
        self._unheard.update(moved.values())

    def _tell_unheard(self) -> None:
        """A server says of one channel after the other that it has moved, of which there may be very many."""
        partitions, self._unheard = self._unheard, set()
        if self._is_stopped:
            return
        self._go_away(partitions, "slots have moved")
        for server in {self._owners.of(partition) for partition in partitions}:
            if server is not None:
                self._settle_soon(server)

    def _redirect(self, attempt: Attempt, error: ReplyError) -> None:
        """A command was not done by whom it was given to."""
        partition = attempt.partition
        owner = self._owners.of(partition)
        if not attempt.until:
            self._deadlines.watch(attempt.given_s, attempt.future)
        now = attempt.note_time()
        if owner is None or error.code == "CLUSTERDOWN" or now > attempt.until or not self._held.add(attempt):
            attempt.give_up(error)
        if owner is None:
            return
        if error.code == "CLUSTERDOWN":
            self._go_away([partition], error.text)
        elif isinstance(error, MovedError) and not error.is_ask:
            self._follow(partition, owner, error)
        self._unsettled.setdefault(partition, now)
        self._settled.clear()
        self._settle_soon(self._owners.of(partition) or owner)

    # Who has what.

    def _apply(self, view: View) -> None:
        """Follow what a member says."""
        changes = self._owners.news(view, asyncio.get_running_loop().time())
        if changes:
            self._assign(changes, "the masters of the cluster have changed")

    def _follow(self, partition: int, owner: Server, error: MovedError) -> None:
        """Go where `owner` says that a partition is, with others that it says the same of by now."""
        if not self._moved:
            asyncio.get_running_loop().call_soon(self._follow_moved)
        self._moved[partition] = (error.host or owner.address.host, error.port)

    def _follow_moved(self) -> None:
        changes = self._owners.news_in(self._moved)
        self._moved.clear()
        if changes and not self._is_stopped:
            self._assign(changes, "slots have moved")
        self._hurry.set()  # seldom are they alone

    def _assign(self, changes: Mapping[int, Place], reason: str) -> None:
        """Give partitions to other masters."""
        self._go_away(changes, reason)
        leaving: dict[Server, set[int]] = {}
        for partition in changes:
            owner = self._owners.of(partition)
            if owner is not None:
                leaving.setdefault(owner, set()).add(partition)
        for owner, partitions in leaving.items():
            self._take_from(owner, partitions)
        for server in self._owners.assign(changes, asyncio.get_running_loop().time()):
            self._retire(server)
        for newcomer in {self._owners.of(partition) for partition in changes}:
            if newcomer is not None:
                self._settle_soon(newcomer)

    def _take_from(self, owner: Server, partitions: set[int]) -> None:
        self._orphans.take_from(owner, partitions)
        for partition in partitions:
            owner.forget(partition)
        if owner.is_up:
            try:
                barrier = owner.call(min(partitions), "PING")
            except (AwayError, BusyError):
                return
            self._barriers.update(dict.fromkeys(partitions, barrier))

    def _connect(self, place: Place) -> Server:
        server = Server(
            self._address.at(*place),
            self,
            self._names,
            name=self._name,
            tuning=self._tuning,
            on_moved=self._on_channels_moved,
        )
        server.begin()
        return server

    def _retire(self, server: Server) -> None:
        settler = self._settlers.pop(server, None)
        if settler is not None:
            settler.cancel()
        task = asyncio.get_running_loop().create_task(server.stop())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(HURRY_S if self._unsettled else CALM_S):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()
            try:
                view = await self._survey.look()
                if view is not None:
                    self._apply(view)
            except Exception:
                _log.exception("a look at the cluster of Redis failed")
            self._held.expire(AwayError(f"Redis is away: {self._why}"))

    # Away and back.

    def _go_away(self, partitions: Iterable[int], reason: str) -> None:
        now = asyncio.get_running_loop().time()
        news = [partition for partition in partitions if partition not in self._away]
        for partition in news:
            self._unsettled.setdefault(partition, now)
        self._settled.clear()
        if news:
            self._why = reason
            self._away.update(news)
            self._hurry.set()
            if self._events is not None:
                self._events.on_away(news, reason)

    def _settle_soon(self, server: Server) -> None:
        settler = self._settlers.get(server)
        if (settler is None or settler.done()) and server in self._owners.servers:
            self._settlers[server] = asyncio.get_running_loop().create_task(self._settle(server))

    async def _settle(self, server: Server) -> None:
        """Bring back the partitions of a server that are not settled, as soon as they are."""
        pause_s = _FIRST_PAUSE_S
        while True:
            partitions = [partition for partition in self._unsettled if self._owners.of(partition) is server]
            if not partitions:
                return
            try:
                await server.wait_up(DEADLINE_S)
                ready = await self._ready(server, [each for each in partitions if not self._is_refused(each)])
            except EngineError as error:
                _log.debug("%s: %s", server.address, error)
                ready = []
            except Exception:  # its partitions would be away for ever
                _log.exception("partitions of %s could not be brought back", server.address)
                ready = []
            self._bring_back(server, ready)
            if len(ready) < len(partitions):
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _ready(self, server: Server, partitions: Sequence[int]) -> list[int]:
        """Which of these the server has, whole, with all channels heard. Raises `EngineError`."""
        barriers = {barrier for partition in partitions if (barrier := self._barriers.pop(partition, None)) is not None}
        if barriers:
            await asyncio.wait(barriers, timeout=HOLD_S)
        # A key that is not there: while its slot is being moved this is answered with ASK.
        asked = {partition: server.call(partition, "EXISTS", f"{{{partition}}}") for partition in partitions}
        if not asked:
            return []
        await asyncio.wait(asked.values(), timeout=DEADLINE_S)
        good = [partition for partition, answer in asked.items() if self._is_good(server, partition, answer)]
        refused = await self._orphans.settle(server, good, lambda partition: self._owners.of(partition) is server)
        for partition, error in refused.items():
            # Commands would be taken, but "back" means that every channel is heard.
            self._go_away([partition], str(error))
            self._held.drop([partition], AwayError(f"Redis is away: {error}"))
            self._why = str(error)
        return [
            partition
            for partition in good
            if self._owners.of(partition) is server and partition not in self._orphans and server.is_up
        ]

    def _is_refused(self, partition: int) -> bool:
        return self._orphans.is_refused(partition, asyncio.get_running_loop().time())

    def _is_good(self, server: Server, partition: int, answer: asyncio.Future[Any]) -> bool:
        if self._owners.of(partition) is not server or not answer.done():
            return False
        error = answer.exception()
        if isinstance(error, MovedError) and not error.is_ask:
            self._follow(partition, server, error)
        elif error is not None and asyncio.get_running_loop().time() - self._unsettled[partition] > HOLD_S:
            self._go_away([partition], str(error))
            self._held.drop([partition], AwayError(f"Redis is away: {error}"))
        return error is None

    def _bring_back(self, server: Server, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._unsettled.pop(partition, None)
            self._held.release(partition, server)
        back = [partition for partition in partitions if partition in self._away]
        self._away.difference_update(back)
        if not self._unsettled:
            self._settled.set()
        if back and self._events is not None:
            self._events.on_back(back)


def _tell_heard(heard: asyncio.Future[None], answer: asyncio.Future[None]) -> None:
    """A channel of a slot that has moved is heard when its partition is back."""
    error = answer.exception()
    if error is not None and not (isinstance(error, ReplyError) and error.code in ELSEWHERE):
        fail(heard, error if isinstance(error, EngineError) else EngineError(repr(error)))
    elif not heard.done():
        heard.set_result(None)
