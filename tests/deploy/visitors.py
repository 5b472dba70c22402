"""Clients that come back, and what they went through."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

PATIENCE_S = 20.0


@dataclass
class Visits:
    """What all visitors have seen."""

    url: str
    where: dict[int, str] = field(default_factory=dict)
    """By the number of a visitor, the node that it is connected to."""
    codes: list[int] = field(default_factory=list)
    """Close codes."""
    refused: list[str] = field(default_factory=list)
    """Attempts to connect that failed."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def add(self, count: int = 1) -> None:
        """So many more visitors come, one after the other, and are welcomed."""
        for _ in range(count):
            number = len(self._tasks)
            self._tasks.append(asyncio.create_task(self._visit(number)))
            await self.until(lambda number=number: number in self.where)

    async def _visit(self, number: int) -> None:
        while True:
            try:
                async with connect(self.url, subprotocols=["fastws.json.v1"], proxy=None) as socket:  # type: ignore[list-item]
                    await self._stay(number, socket)
            except (InvalidStatus, InvalidMessage, OSError) as error:
                self.refused.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(random.random() * 0.2)

    async def _stay(self, number: int, socket: ClientConnection) -> None:
        try:
            self.where[number] = json.loads(await socket.recv())["node"]
            await socket.wait_closed()
        except ConnectionClosed:
            pass
        finally:
            self.where.pop(number, None)
        self.codes.append(socket.close_code or 0)

    def at(self, node: str) -> int:
        """How many are connected to a node."""
        return list(self.where.values()).count(node)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
