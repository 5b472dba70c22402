"""One effect for each key."""

from __future__ import annotations

import asyncio

import pytest

from fastws.errors import EngineError
from fastws.observe.admin import idempotency
from fastws.observe.admin.calls import Answer
from fastws.observe.admin.idempotency import KEPT_S, Idempotency


class Work:
    """Counts how often it is done; each time it answers with the number, once it may."""

    def __init__(self, status: int = 200, size: int = 0) -> None:
        self.count = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.status = status
        self.size = size

    async def __call__(self) -> Answer:
        self.count += 1
        number = self.count
        await self.may_end.wait()
        return Answer(self.status, b"%d" % number + b"x" * self.size)


class Others:
    """What other processes know."""

    def __init__(self, *known: tuple[str, bytes] | EngineError) -> None:
        self.known = list(known)
        self.asked: list[str] = []
        self.settled: list[tuple[str, bytes | None]] = []

    async def claim(self, key: str, fingerprint: bytes) -> tuple[str, bytes]:
        assert len(fingerprint) == 32
        self.asked.append(key)
        known = self.known.pop(0) if self.known else ("granted", b"")
        if isinstance(known, EngineError):
            raise known
        return known

    async def settle(self, key: str, answer: bytes | None) -> None:
        self.settled.append((key, answer))


@pytest.mark.asyncio
async def test_others_are_asked_once_and_told_what_was_answered() -> None:
    others, work = Others(), Work()
    remembered = Idempotency(others)
    for _ in range(3):
        assert await remembered.once("k", "push", b"{}", work) == Answer(200, b"1")
    assert (others.asked, others.settled) == (["k"], [("k", b"1")])
    work.status = 503
    assert (await remembered.once("k2", "push", b"{}", work)).status == 503
    assert others.settled[1:] == [("k2", None)]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("known", "status", "body"),
    [
        (("done", b"before"), 200, b"before"),
        (("done", b""), 409, b"too large"),
        (("running", b""), 409, b"under way"),
        (("reused", b""), 409, b"another method or body"),
        (EngineError("Redis is away"), 503, b"nothing was done: Redis is away"),
    ],
)
async def test_what_others_say_is_answered_and_nothing_done(
    known: tuple[str, bytes] | EngineError, status: int, body: bytes
) -> None:
    others, work = Others(known), Work()
    remembered = Idempotency(others)
    answer = await remembered.once("k", "push", b"{}", work)
    assert answer.status == status
    assert body in answer.body
    assert (work.count, others.settled, len(remembered)) == (0, [], 0)
    assert await remembered.once("k", "push", b"{}", work) == Answer(200, b"1"), "they are asked again"


@pytest.mark.asyncio
async def test_a_repeated_call_has_one_effect_for_five_minutes() -> None:
    now = 0.0
    remembered, work = Idempotency(clock=lambda: now), Work()
    for now in (0.0, 1.0, KEPT_S - 1):  # noqa: B007 - the clock looks at it
        assert await remembered.once("k", "publish", b"{}", work) == Answer(200, b"1")
    now = KEPT_S
    assert await remembered.once("k", "publish", b"{}", work) == Answer(200, b"2")
    assert len(remembered) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("other", [("publish", b"{} "), ("push", b"{}")])
async def test_another_body_or_method_is_409(other: tuple[str, bytes]) -> None:
    remembered, work = Idempotency(), Work()
    await remembered.once("k", "publish", b"{}", work)
    assert (await remembered.once("k", *other, work)).status == 409
    work.may_end.clear()
    first = asyncio.ensure_future(remembered.once("k2", "publish", b"{}", work))
    await asyncio.sleep(0)
    assert (await remembered.once("k2", *other, work)).status == 409
    work.may_end.set()
    await first
    assert work.count == 2


@pytest.mark.asyncio
async def test_who_comes_meanwhile_waits_for_the_first() -> None:
    remembered, work = Idempotency(), Work()
    work.may_end.clear()
    calls = [asyncio.ensure_future(remembered.once("k", "publish", b"{}", work)) for _ in range(5)]
    await asyncio.sleep(0)
    calls[0].cancel()  # the first caller goes away; what it began goes on
    await asyncio.sleep(0)
    work.may_end.set()
    assert await asyncio.gather(*calls[1:]) == [Answer(200, b"1")] * 4
    assert calls[0].cancelled()
    assert await remembered.once("k", "publish", b"{}", work) == Answer(200, b"1")


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_what_failed_may_be_tried_again(status: int) -> None:
    remembered, work = Idempotency(), Work(status)
    assert (await remembered.once("k", "publish", b"{}", work)).status == status
    work.status = 200
    assert await remembered.once("k", "publish", b"{ }", work) == Answer(200, b"2")
    assert len(remembered) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "é", "\udcff"])
async def test_a_key_is_visible_ascii(key: str) -> None:
    work = Work()
    assert (await Idempotency().once(key, "publish", b"{}", work)).status == 400
    assert not work.count


@pytest.mark.asyncio
async def test_no_key_is_forgotten_for_want_of_room() -> None:
    now = 0.0
    remembered, work = Idempotency(max_answers=2, clock=lambda: now), Work()
    for key in ("a", "b"):
        await remembered.once(key, "publish", b"{}", work)
    assert (await remembered.once("c", "publish", b"{}", work)).status == 503
    assert work.count == 2
    assert await remembered.once("a", "publish", b"{}", work) == Answer(200, b"1")
    now = KEPT_S
    assert (await remembered.once("c", "publish", b"{}", work)).status == 200
    assert len(remembered) == 1


@pytest.mark.asyncio
async def test_bytes_are_bounded_and_given_back() -> None:
    now = 0.0
    remembered, work = Idempotency(max_bytes=10_000, clock=lambda: now), Work(size=6000)
    for key in ("a", "b"):
        assert (await remembered.once(key, "publish", b"{}", work)).status == 200
    assert 12_000 < remembered.bytes < 14_000
    assert (await remembered.once("c", "publish", b"{}", work)).status == 503
    now = KEPT_S
    await remembered.once("d", "publish", b"{}", work)
    assert remembered.bytes < 7_000


@pytest.mark.asyncio
async def test_what_is_old_is_forgotten_a_little_at_a_time_and_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idempotency, "_FORGOTTEN_AT_ONCE", 2)
    now = 0.0
    remembered, work = Idempotency(clock=lambda: now), Work()
    for number in range(6):
        await remembered.once(f"k{number}", "publish", b"{}", work)
    now = KEPT_S
    assert await remembered.once("k5", "publish", b"{ }", work) == Answer(200, b"7")
    assert len(remembered) == 4
    assert await remembered.once("k5", "publish", b"{ }", work) == Answer(200, b"7")
    for _ in range(3):
        remembered.forget()
    assert len(remembered) == 1
    now = 2 * KEPT_S
    remembered.forget()
    assert (len(remembered), remembered.bytes) == (0, 0)


@pytest.mark.asyncio
async def test_work_that_is_cancelled_leaves_nothing() -> None:
    remembered, work = Idempotency(), Work()
    work.may_end.clear()
    before = asyncio.all_tasks()
    call = asyncio.ensure_future(remembered.once("k", "publish", b"{}", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - before - {call}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    work.may_end.set()
    assert await remembered.once("k", "publish", b"{}", work) == Answer(200, b"2")
