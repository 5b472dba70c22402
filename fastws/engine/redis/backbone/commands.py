"""Commands and scripts over one connection: scripts that the server has forgotten are loaded again, and whose partition
is used for the first time is told who the server is.

Commands of a partition are executed in the order in which they were given. Where that cannot be had any more, because
others loaded a forgotten script between two of them, the one that came too late fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

from fastws.engine.redis.backbone.contract import Word
from fastws.engine.redis.backbone.replicas import Replicas, Waiting
from fastws.engine.redis.names import ERA, Names
from fastws.engine.redis.resp.deadlines import Deadlines
from fastws.engine.redis.resp.errors import AwayError, BusyError, ReplyError
from fastws.engine.redis.resp.link import Link, Taker, fail, pack
from fastws.engine.redis.scripts import Script, script

_CLAIM: Final = script("claim")
_MOST_HELD: Final = 50_000  # commands that wait until scripts are loaded
_MOST_TRIES: Final = 3  # of a script, when somebody makes the server forget it again and again


class Waiter(Taker, Protocol):
    """Who takes an answer for somebody else."""

    @property
    def future(self) -> asyncio.Future[Any] | None:
        """What somebody waits for."""


class _Run:
    """A script on its way. It is its claim, too: then nobody waits for it."""

    __slots__ = (
        *("claim", "commands", "error", "future", "given_s", "is_done", "number", "packed", "partition", "tries"),
        "waiting",
    )

    def __init__(
        self,
        commands: Commands,
        partition: int,
        packed: bytes,
        future: asyncio.Future[Any] | None,
        claim: _Run | None,
        waiting: Waiting | None = None,
    ) -> None:
        self.commands = commands
        self.partition = partition
        self.packed = packed
        self.future = future
        self.claim = claim
        """What has to have happened before; None if it has."""
        self.waiting = waiting
        """Where it waits for replicas when it is done, if it does."""
        self.given_s = commands.now()
        self.number = 0
        self.tries = 0
        self.is_done = False
        self.error: Exception | None = None

    def take(self, answer: object) -> None:
        """The server's answer."""
        if isinstance(answer, ReplyError):
            if answer.code == "NOSCRIPT" and self.tries < _MOST_TRIES:
                self.commands.again(self)
            else:
                self.refuse(answer)
            return
        self.commands.done(self)
        claim = self.claim
        if claim is not None and (claim.error is not None or not claim.is_done):
            # It was executed, which an error of the claim would deny.
            self.refuse(AwayError(f"Redis was not told in time who asks it: {claim.error or 'no answer yet'}"))
            return
        self.is_done = True
        self.claim = None
        if self.future is None:
            self.commands.claimed(self)
        elif self.waiting is not None:
            self.waiting.hold(self.future, answer)
        elif not self.future.done():
            self.future.set_result(answer)

    def lose(self, error: AwayError) -> None:
        """The link is gone."""
        self.refuse(error)

    def refuse(self, error: Exception) -> None:
        """It failed."""
        self.error = error
        self.claim = None
        if self.future is not None:
            fail(self.future, error)
        else:
            self.commands.forget_claim(self)


_Receiver: TypeAlias = asyncio.Future[Any] | _Run | Waiter


class Commands:
    """Of one connection for commands, as long as it lives."""

    def __init__(self, link: Link, names: Names, server: str, replicas: Replicas | None = None) -> None:
        """`server` says whom the connection is to: another text for each life of each master. `replicas`: of it, which
        are waited for if they are.
        """
        self.link: Final = link
        self._replicas = Waiting(link, replicas) if replicas is not None and replicas.least else None
        self._names: Final = names
        self._server: Final = server
        self._loop: Final = asyncio.get_running_loop()
        self._scripts: dict[bytes, bytes] = {}
        """Those that this connection has loaded: digest -> text."""
        self._claims: dict[int, _Run | None] = {}
        """Partition -> the claim on its way, None once it is done."""
        self._number = 0
        self._plain: dict[int, int] = {}
        """Partition -> number of the last command that is no script."""
        self._again: list[_Run] | None = None
        """Scripts that the server has forgotten, in order, until it knows them again; None while it knows them."""
        self._overtaken: set[int] = set()
        """Partitions in which something was executed after one of those was not."""
        self._held: list[tuple[_Receiver, bytes, int]] = []
        """What was given meanwhile: receiver, command, partition."""
        self._deadlines: Final = Deadlines(link.answer_s)
        """Of what waits there, and what is given once more."""

    async def begin(self) -> None:
        """Find out whether scripts are taken. Raises `EngineError`."""
        await self.link.ask("SCRIPT", "LOAD", _CLAIM.text)
        self._scripts[_CLAIM.sha] = _CLAIM.text

    def call(self, partition: int, words: Sequence[Word]) -> asyncio.Future[Any]:
        """One command; see `Backbone.call`."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._give(future, pack(*words), partition)
        return future

    def give(self, receiver: Waiter, partition: int, words: Sequence[Word]) -> None:
        """The same for who takes the answer without a future."""
        self._give(receiver, pack(*words), partition)

    def run(self, wanted: Script, partition: int, keys: Sequence[bytes], words: Sequence[Word]) -> asyncio.Future[Any]:
        """One script; see `Backbone.run`."""
        if wanted.sha not in self._scripts:
            self.link.send(None, "SCRIPT", "LOAD", wanted.text)
            self._scripts[wanted.sha] = wanted.text
        claim = None
        if wanted.needs_era:
            era = self._names.key(ERA, partition)
            if partition in self._claims:
                claim = self._claims[partition]
            else:
                packed = pack(b"EVALSHA", _CLAIM.sha, 1, era, self._server)
                claim = _Run(self, partition, packed, None, None)
                self._give(claim, packed, partition)
                self._claims[partition] = claim
            packed = pack(b"EVALSHA", wanted.sha, len(keys) + 1, era, *keys, *words)
        else:
            packed = pack(b"EVALSHA", wanted.sha, len(keys), *keys, *words)
        future: asyncio.Future[Any] = self._loop.create_future()
        waiting = self._replicas if wanted.is_stored else None
        if waiting is not None:
            waiting.expect()
        self._give(_Run(self, partition, packed, future, claim, waiting), packed, partition)
        return future

    def _give(self, receiver: _Receiver, packed: bytes, partition: int) -> None:
        if self._again is not None:
            if len(self._held) >= _MOST_HELD:
                raise BusyError("Redis does not keep up with what it is asked")
            self._held.append((receiver, packed, partition))
            self._watch(self.now(), receiver)
            return
        self.link.send_packed(receiver, packed)
        self._number += 1
        if isinstance(receiver, _Run):
            receiver.number = self._number
        else:
            self._plain[partition] = self._number

    def _watch(self, given_s: float, receiver: _Receiver) -> None:
        """It may not have its answer in time, though the link has none that is late."""
        future = _future_of(receiver)
        if future is not None:
            self._deadlines.watch(given_s, future)

    def now(self) -> float:
        """By the clock of the loop."""
        return self._loop.time()

    def forget(self, partition: int) -> None:
        """It was another server's meanwhile, or will be: it is claimed anew before the next script."""
        self._claims.pop(partition, None)

    def claimed(self, claim: _Run) -> None:
        """What is given from now on need not wait for it."""
        if self._claims.get(claim.partition) is claim:
            self._claims[claim.partition] = None

    def forget_claim(self, claim: _Run) -> None:
        """The next script of its partition has to claim it once more."""
        if self._claims.get(claim.partition) is claim:
            del self._claims[claim.partition]

    # Scripts that were forgotten.

    def done(self, run: _Run) -> None:
        """A script was executed."""
        if self._again:
            self._overtaken.add(run.partition)

    def again(self, run: _Run) -> None:
        """The server does not know a script any more."""
        self._watch(run.given_s, run)
        if self._again is not None:
            self._again.append(run)
            return
        try:
            for text in self._scripts.values():
                self.link.send(None, "SCRIPT", "LOAD", text)
            # What is answered after this was given after the scripts were loaded.
            self.link.send(_Loaded(self), "PING")
        except (AwayError, BusyError) as error:
            reason = f"it forgot its scripts: {error}"
            self.link.abort(reason)
            run.refuse(AwayError(f"Redis is away: {reason}"))
        else:
            self._again = [run]

    def loaded(self) -> None:
        """The server knows them again: what waited goes on, in order."""
        again, held, self._again, self._held = self._again or [], self._held, None, []
        overtaken, self._overtaken = self._overtaken, set()
        for run in again:
            run.tries += 1
            if run.partition in overtaken or self._plain.get(run.partition, 0) > run.number:
                run.refuse(ReplyError("NOSCRIPT", "the script was forgotten, and others were run meanwhile"))
                continue
            self._give_late(run, run.packed, run.partition)
        for receiver, packed, partition in held:
            self._give_late(receiver, packed, partition)

    def _give_late(self, receiver: _Receiver, packed: bytes, partition: int) -> None:
        future = _future_of(receiver)
        if future is not None and future.done() and not future.cancelled():
            return  # its time is over, which its caller was told
        try:
            self._give(receiver, packed, partition)
        except (AwayError, BusyError) as error:
            _lose(receiver, error)

    def lost(self, error: AwayError) -> None:
        """The link is gone before the scripts were loaded."""
        again, held, self._again, self._held = self._again or [], self._held, None, []
        for run in again:
            run.refuse(error)
        for receiver, _, _ in held:
            _lose(receiver, error)


def _future_of(receiver: _Receiver) -> asyncio.Future[Any] | None:
    return receiver if isinstance(receiver, asyncio.Future) else receiver.future


def _lose(receiver: _Receiver, error: Exception) -> None:
    if isinstance(receiver, _Run):
        receiver.refuse(error)
    elif isinstance(receiver, asyncio.Future):
        fail(receiver, error)
    else:
        receiver.lose(error if isinstance(error, AwayError) else AwayError(str(error)))


class _Loaded:
    """Takes the answer of the ping behind the scripts that are loaded."""

    __slots__ = ("commands",)

    def __init__(self, commands: Commands) -> None:
        self.commands = commands

    def take(self, answer: object) -> None:  # noqa: ARG002 - whatever it is, what came before is answered
        self.commands.loaded()

    def lose(self, error: AwayError) -> None:
        self.commands.lost(error)
