"""What one server is subscribed to: the channels that are wanted, and what the server was told of them.

What comes in one pass of the loop goes out together. Behind each command stands a ping: a command that was refused is
answered before it, and where only the ping is answered all channels of the command are heard.

A channel may be refused, because the user of the connection has no permission for it. Who has just subscribed to it is
answered so, and it is not wanted any more; others of the same command are asked for without it. Of a channel that was
promised, because it was heard before or nobody could be asked, nobody is there to be told: a server that refuses one
is not up, and one of a cluster has not the partition.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from fastws.engine.contract import Answer
from fastws.engine.redis.resp.errors import ELSEWHERE, AwayError, BusyError, ReplyError
from fastws.engine.redis.resp.link import Link, fail, pack

_log: Final = logging.getLogger("fastws.engine")

AT_ONCE: Final = 1000
"""Channels of one command."""
_UNCONFIRMED: Final = 10  # commands on their way while the channels of a former link are subscribed to again
_LATER_S: Final = 0.1  # until a server that does not keep up is told again
_PING: Final = pack("PING")
_NEW: Final = object()

Waiter: TypeAlias = tuple[bytes, asyncio.Future[None]]
"""Who waits for a channel."""


class _Batch:
    """The channels of one command, and who waits for them. It takes the answer of the ping behind it."""

    __slots__ = ("channels", "error", "gone", "link", "owner", "waiters")

    def __init__(self, owner: Subscriptions, link: Link, channels: Sequence[bytes]) -> None:
        self.owner = owner
        self.link = link
        self.channels = channels
        self.waiters: list[Waiter] = []
        self.error: ReplyError | None = None
        self.gone: set[bytes] = set()
        """Those that the server has left out since it was told."""

    def take(self, answer: object) -> None:
        """Of the ping, or before it that the command was refused."""
        if isinstance(answer, ReplyError) and self.error is None:
            self.error = answer
            self.link.put_back(self)
        elif self.error is None or not self.owner.take_apart(self):
            self.owner.settle(self)
            tell(self.waiters, self.error)

    def lose(self, error: AwayError) -> None:  # noqa: ARG002 - that there is no link is known already
        """The link is gone: the channels are heard from the next one on."""
        tell(self.waiters, None)


def tell(waiters: list[Waiter], error: ReplyError | None) -> None:
    """Let those go on who wait."""
    for _, waiter in waiters:
        if error is not None:
            fail(waiter, error)
        elif not waiter.done():
            waiter.set_result(None)
    waiters.clear()


class Subscriptions:
    """Of one server. Without a link it only notes what is wanted."""

    def __init__(self, on_moved: Callable[[Mapping[bytes, int]], None] | None = None) -> None:
        """`on_moved`: the server is one of a cluster. It is told of channels with their partitions that are another
        server's now, and that are not wanted here any longer.
        """
        self._on_moved: Final = on_moved
        self._subscribe: Final = b"SUBSCRIBE" if on_moved is None else b"SSUBSCRIBE"
        self._unsubscribe: Final = b"UNSUBSCRIBE" if on_moved is None else b"SUNSUBSCRIBE"
        self._wanted: Final[dict[bytes, int]] = {}
        self._told: Final[dict[bytes, _Batch | None]] = {}
        """What the server of this link was told to send, with the command while that is not answered."""
        self._changed: dict[bytes, int] = {}
        """Channels of which the server may have to be told something, each with its partition."""
        self._waiting: Final[dict[bytes, list[Waiter]]] = {}
        """For channels of which it was not told yet."""
        self._link: Link | None = None
        self._is_heard = False
        """All that was wanted when the link came is heard."""
        self._is_due = False
        self._refused: Final[set[str]] = set()
        """Codes of refusals that are in the log."""

    @property
    def wanted(self) -> Mapping[bytes, int]:
        """The channels, each with its partition."""
        return self._wanted

    def subscribe(self, partition: int, channel: bytes) -> Answer[None]:
        """Want a channel; see `Backbone.subscribe`."""
        self._wanted[channel] = partition
        if not self._is_heard:
            self._changed[channel] = partition
            return None
        batch = self._told.get(channel, _NEW)
        if batch is None:
            return None
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if isinstance(batch, _Batch):
            batch.waiters.append((channel, waiter))
        else:
            self._waiting.setdefault(channel, []).append((channel, waiter))
            self._change(channel, partition)
        return waiter

    def unsubscribe(self, channel: bytes) -> None:
        """Want it no longer."""
        partition = self._wanted.pop(channel, None)
        if partition is not None:
            self._change(channel, partition)

    async def begin(self, link: Link) -> None:
        """Have all that is wanted said to this link, and wait until it is heard. Raises `EngineError` if it cannot; in
        a cluster the partitions of what is refused are told to `on_moved` instead.
        """
        await link.ask("PING")  # it has to be allowed
        self.end()
        self._link = link
        self._changed = dict(self._wanted)
        on_way: deque[tuple[_Batch, asyncio.Future[None]]] = deque()
        loop = asyncio.get_running_loop()
        is_all = True
        while self._changed or on_way:
            while self._changed and len(on_way) < _UNCONFIRMED:
                for batch in self._send(link, self._some_changed()):
                    on_way.append((batch, loop.create_future()))
                    batch.waiters.append((b"", on_way[-1][1]))
                await asyncio.sleep(0)  # others have their turn as well
            if on_way:
                batch, future = on_way.popleft()
                try:
                    await future
                except ReplyError:
                    if self._on_moved is None:
                        raise
                    is_all = False
                    self._move(batch.channels)
                if not link.is_open:
                    raise AwayError(f"Redis is away: {link.reason}")
        self._is_heard = True
        if is_all:
            self._refused.clear()

    def end(self) -> None:
        """The link is gone."""
        self._link = None
        self._is_heard = False
        self._told.clear()
        self._changed.clear()
        for waiters in self._waiting.values():
            tell(waiters, None)
        self._waiting.clear()

    def on_push(self, kind: bytes, push: Sequence[object]) -> None:
        """The server confirmed something, which the ping shows as well, or will send a channel no longer."""
        channel = push[1] if len(push) > 1 else None
        if self._on_moved is None or not isinstance(channel, bytes) or channel not in self._told:
            return
        batch = self._told[channel]
        if kind == b"ssubscribe" and batch is not None:
            batch.gone.discard(channel)
        elif kind == b"sunsubscribe" and batch is not None:
            batch.gone.add(channel)  # or it answers what we have said before that
        elif kind == b"sunsubscribe":
            del self._told[channel]
            self._move((channel,))

    def settle(self, batch: _Batch) -> None:
        """A command is answered."""
        error = batch.error
        moved = []
        for channel in batch.channels:
            if self._told.get(channel, _NEW) is not batch:
                continue  # the link is another one, or the server was told something else since
            if error is None and channel not in batch.gone:
                self._told[channel] = None
                continue
            del self._told[channel]
            if error is None or (self._is_heard and self._is_elsewhere(error)):
                moved.append(channel)
            elif self._is_heard:  # else the link is no good, or `begin` moves it
                self._wanted.pop(channel, None)
        if error is not None and not self._is_elsewhere(error):
            self._note(error)
        self._move(moved)

    def take_apart(self, batch: _Batch) -> bool:
        """Ask in two parts for what was refused together, unless all of it is; whether that is done."""
        error, link = batch.error, batch.link
        channels = [channel for channel in batch.channels if self._told.get(channel, _NEW) is batch]
        if len(channels) < 2 or not self._is_heard or error is None or self._is_elsewhere(error):
            return False
        middle = len(channels) // 2
        waiters, batch.waiters = batch.waiters, []
        for part in (channels[:middle], channels[middle:]):
            names = set(part)
            theirs = [waiter for waiter in waiters if waiter[0] in names]
            try:
                half = self._command(link, self._subscribe, part)
            except (AwayError, BusyError):
                half = _Batch(self, link, part)
                half.error = error
            half.waiters = theirs
            self._told.update(dict.fromkeys(part, half))
            if half.error is not None:
                self.settle(half)
                tell(half.waiters, error)
        known = set(channels)
        tell([waiter for waiter in waiters if waiter[0] not in known], error)
        return True

    def _note(self, error: ReplyError) -> None:
        """Once for each kind, as clients may come again and again."""
        level = logging.DEBUG if error.code in self._refused else logging.WARNING
        self._refused.add(error.code)
        _log.log(level, "Redis refuses a channel, and so whoever wants to hear it: %s", error)

    def _is_elsewhere(self, error: ReplyError) -> bool:
        """Whether another server of the cluster sends what this one does not, or the same one does soon."""
        return self._on_moved is not None and error.code in ELSEWHERE

    def _move(self, channels: Sequence[bytes]) -> None:
        moved = {channel: self._wanted.pop(channel) for channel in channels if channel in self._wanted}
        if moved and self._on_moved is not None:
            self._on_moved(moved)

    def _change(self, channel: bytes, partition: int) -> None:
        self._changed[channel] = partition
        if self._is_heard and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._tell_server)

    def _some_changed(self) -> dict[bytes, int]:
        """At most a command's worth of what changed, which is taken out. It is the last of it: a dict whose first
        entries go again and again is searched for them ever longer.
        """
        changed = self._changed
        if len(changed) <= AT_ONCE:
            self._changed = {}
            return changed
        return dict(changed.popitem() for _ in range(AT_ONCE))

    def _tell_server(self) -> None:
        self._is_due = False
        link = self._link
        if link is None or not self._is_heard:
            return
        while self._changed and link.is_open:
            some = self._some_changed()
            try:
                self._send(link, some)
            except BusyError:
                self._changed.update(some)
                self._is_due = True
                asyncio.get_running_loop().call_later(_LATER_S, self._tell_server)
                return

    def _send(self, link: Link, changed: Mapping[bytes, int]) -> list[_Batch]:
        """Tell the server what is new of these. Raises `BusyError` or `AwayError`: then it was told a part, and what is
        known of it is still right.
        """
        coming: dict[int, list[bytes]] = {}
        going: dict[int, list[bytes]] = {}
        for channel, partition in changed.items():
            group = partition if self._on_moved is not None else 0  # one command has channels of one slot
            batch = self._told.get(channel, _NEW)
            if (channel in self._wanted) is (batch is not _NEW):
                self._attach(channel, batch)
            elif batch is _NEW:
                coming.setdefault(group, []).append(channel)
            else:
                going.setdefault(group, []).append(channel)
        batches = []
        for channels in going.values():
            batches.append(self._command(link, self._unsubscribe, channels))
            for channel in channels:
                del self._told[channel]
                self._attach(channel, None)
        for channels in coming.values():
            batch = self._command(link, self._subscribe, channels)
            batches.append(batch)
            for channel in channels:
                self._told[channel] = batch
                self._attach(channel, batch)
        return batches

    def _command(self, link: Link, word: bytes, channels: Sequence[bytes]) -> _Batch:
        batch = _Batch(self, link, channels)
        link.send_packed(batch, pack(word, *channels) + _PING)
        return batch

    def _attach(self, channel: bytes, batch: object) -> None:
        """Let those who wait for a channel wait for this command; without one there is nothing to wait for."""
        waiters = self._waiting.pop(channel, None)
        if waiters is None:
            return
        if isinstance(batch, _Batch):
            batch.waiters += waiters
        else:
            tell(waiters, None)
