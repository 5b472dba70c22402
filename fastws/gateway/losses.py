"""Connections that were lost with the process that had them: the application is told of each, and not all at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from fastws.closes import ABNORMAL
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


class Losses:
    """Runs the disconnect hooks for them."""

    def __init__(self, hooks: Hooks, loop: asyncio.AbstractEventLoop) -> None:
        self.telling: asyncio.Task[None] | None = None
        """Under way while there are some."""
        self._hooks = hooks
        self._loop = loop
        self._waiting: deque[SessionInfo] = deque()

    def listen(self, hub: Hub) -> None:
        """Be told of them, if anybody wants to know."""
        if self._hooks.watch_disconnect:
            hub.bereaved = self.note
            hub.knows_anonymous = True

    def note(self, sessions: Sequence[SessionInfo]) -> None:
        """These are lost."""
        self._waiting.extend(sessions)
        if self.telling is None or self.telling.done():
            self.telling = self._loop.create_task(self._tell())

    async def _tell(self) -> None:
        tasks: set[asyncio.Task[Any]] = set()
        try:
            ends_s = monotonic() + SLICE_S
            while self._waiting:
                lost = self._waiting.popleft()
                info = ConnectionInfo(lost.conn, lost.user, lost.tenant, lost.device, lost.node)
                _, task = step(self._hooks.disconnect(info, NODE_LOST), self._loop)
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
