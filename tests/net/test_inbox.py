"""The queue of a stream: order, the pause when it is full, the end."""

from __future__ import annotations

import asyncio

import pytest

from fastws.errors import UsageError
from fastws.net.inbox import CAPACITY, ConnectionEnded, Inbox


class RecordingReader:
    """Notes what it is told about reading."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


@pytest.mark.asyncio
async def test_messages_come_in_their_order_and_then_the_end() -> None:
    inbox = Inbox(RecordingReader())
    inbox.put("a")
    inbox.put(b"b")
    inbox.end()
    assert [await inbox.get(), await inbox.get()] == ["a", b"b"]
    for _ in range(2):
        with pytest.raises(ConnectionEnded):
            await inbox.get()


@pytest.mark.asyncio
async def test_who_waits_is_woken() -> None:
    inbox = Inbox(RecordingReader())
    waiting = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    inbox.put("a")
    inbox.put("b")
    assert await waiting == "a"
    waiting = asyncio.ensure_future(inbox.get())
    assert await waiting == "b"
    waiting = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    inbox.end()
    with pytest.raises(EOFError):
        await waiting


@pytest.mark.asyncio
async def test_reading_pauses_while_it_is_full() -> None:
    reader = RecordingReader()
    inbox = Inbox(reader)
    for number in range(CAPACITY + 3):
        inbox.put(str(number))
    assert reader.told == ["pause"]
    for _ in range(CAPACITY // 2 + 2):
        await inbox.get()
    assert reader.told == ["pause"]
    await inbox.get()
    assert reader.told == ["pause", "resume"]


@pytest.mark.asyncio
async def test_nothing_is_resumed_after_the_end() -> None:
    reader = RecordingReader()
    inbox = Inbox(reader)
    for number in range(CAPACITY):
        inbox.put(str(number))
    inbox.end()
    for _ in range(CAPACITY):
        await inbox.get()
    assert reader.told == ["pause"]


@pytest.mark.asyncio
async def test_one_coroutine_receives() -> None:
    inbox = Inbox(RecordingReader())
    waiting = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="two coroutines"):
        await inbox.get()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    inbox.put("still works")
    assert await inbox.get() == "still works"
