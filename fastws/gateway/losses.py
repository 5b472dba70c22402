"""The application is told of the end of each connection once, in all processes together.

Who does not hear of a process for too long takes it for dead, and tells the application of all its connections, though
not all at once. Whoever takes a connection away from what Redis knows tells of its end: the process that it was at, or
that other one. Where that is not known (Redis is away, or has not answered), ends are kept until it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from inspect import isawaitable
from time import monotonic
from typing import Any, Final, NamedTuple

from fastws.closes import ABNORMAL
from fastws.engine.contract import Answer, Engine
from fastws.hub.hub import Hub
from fastws.net.hooks import Hooks
from fastws.net.stepping import step
from fastws.types import CloseInfo, ConnectionInfo, SessionInfo

NODE_LOST: Final = CloseInfo(ABNORMAL, "node_lost")
"""What `on_disconnect` is told of them."""

SLICE_S: Final = 0.002
"""Seconds of the loop that this takes before others have their turn."""
SIDE_BY_SIDE: Final = 64
"""Coroutines of hooks that wait for something at the same time."""
MAX_HELD: Final = 100_000
"""Connections whose end is kept; with more of them the oldest are told of, even if it should be twice."""

Tell = Callable[[ConnectionInfo, CloseInfo], None]
TellAll = Callable[[Iterable[tuple[ConnectionInfo, CloseInfo]]], None]


class Losses:
    """Runs the disconnect hooks for those that were lost with another process."""

    def __init__(self, hooks: Hooks, loop: asyncio.AbstractEventLoop) -> None:
        self.telling: asyncio.Task[None] | None = None
        """Under way while there are some."""
        self._hooks = hooks
        self._loop = loop
        self._waiting: deque[tuple[ConnectionInfo, CloseInfo]] = deque()

    def listen(self, hub: Hub) -> None:
        """Be told of them, if anybody wants to know."""
        if self._hooks.watch_disconnect:
            hub.bereaved = self.note
            hub.knows_anonymous = True

    def note(self, sessions: Sequence[SessionInfo]) -> None:
        """These are lost."""
        self.tell(
            (ConnectionInfo(lost.conn, lost.user, lost.tenant, lost.device, lost.node), NODE_LOST) for lost in sessions
        )

    def tell(self, ended: Iterable[tuple[ConnectionInfo, CloseInfo]]) -> None:
        """Run the hooks for these, in their turn."""
        self._waiting.extend(ended)
        if self.telling is None or self.telling.done():
            self.telling = self._loop.create_task(self._tell())

    async def _tell(self) -> None:
        tasks: set[asyncio.Task[Any]] = set()
        try:
            ends_s = monotonic() + SLICE_S
            while self._waiting:
                _, task = step(self._hooks.disconnect(*self._waiting.popleft()), self._loop)
                if task is not None:
                    tasks.add(task)
                if len(tasks) >= SIDE_BY_SIDE:
                    _, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if monotonic() > ends_s:
                    await asyncio.sleep(0)
                    ends_s = monotonic() + SLICE_S
            if tasks:
                await asyncio.wait(tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise


class _Held(NamedTuple):
    info: ConnectionInfo
    close: CloseInfo
    fences: int


class Farewells:
    """Keeps them while something is in doubt."""

    def __init__(
        self, hub: Hub, engine: Engine, loop: asyncio.AbstractEventLoop, tell: Tell, tell_all: TellAll
    ) -> None:
        """`tell` is called for one that has just ended, `tell_all` for those that were kept."""
        self._hub = hub
        self._engine = engine
        self._loop = loop
        self._tell = tell
        self._tell_all = tell_all
        self._held: deque[_Held] = deque()
        self._waiting: asyncio.Task[None] | None = None
        self._asked: dict[asyncio.Future[bool], _Held] = {}
        """Those of which Redis has to say whether they are to be told here."""

    def say(self, info: ConnectionInfo, close: CloseInfo, is_mine: Answer[bool]) -> None:
        """A connection has ended that nobody else is known to have reported; `is_mine` is what `Engine.detach` has
        answered.
        """
        ended = _Held(info, close, self._hub.fences)
        if isawaitable(is_mine):
            asked = asyncio.ensure_future(is_mine)
            self._asked[asked] = ended
            asked.add_done_callback(self._answered)
        elif is_mine:
            self._tell(info, close)
        else:
            self._hold(ended)

    def _answered(self, asked: asyncio.Future[bool]) -> None:
        ended = self._asked.pop(asked, None)
        if ended is None:
            return  # it is the end of the process
        if not asked.cancelled() and asked.exception() is None and asked.result():
            self._tell(ended.info, ended.close)
        else:
            self._hold(ended)

    def _hold(self, ended: _Held) -> None:
        self._held.append(ended)
        if len(self._held) > MAX_HELD:
            oldest = self._held.popleft()
            self._tell(oldest.info, oldest.close)
        if self._waiting is None or self._waiting.done():
            self._waiting = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        while self._held:
            assured = self._engine.assure()
            if isawaitable(assured):
                await asyncio.shield(assured)  # others wait for the same
            else:
                self.release()

    def release(self) -> None:
        """Tell of all that are kept, but of those whom others have reported."""
        held, self._held = self._held, deque()
        fences, unreported = self._hub.fences, set(self._hub.unreported_ends)
        self._hub.unreported_ends.clear()
        self._tell_all((one.info, one.close) for one in held if one.fences == fences or one.info.id in unreported)

    def stop(self) -> None:
        """Nothing more will be known: tell of those that are left."""
        if self._waiting is not None:
            self._waiting.cancel()
        asked, self._asked = self._asked, {}
        self._held.extend(asked.values())
        self.release()
