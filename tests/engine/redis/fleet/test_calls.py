"""Calls of operators, claimed by processes that share a Redis."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from hashlib import blake2b
from typing import cast

import pytest
import pytest_asyncio

from fastws.engine.claims import DONE, GRANTED, KEPT_S, LARGEST_ANSWER, REUSED, RUNNING, Claim
from fastws.engine.contract import EngineEvents
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.common import Common
from fastws.engine.redis.fleet import calls as subject
from fastws.engine.redis.fleet.calls import Calls
from fastws.engine.redis.names import CALL, Names, partition_of
from fastws.engine.redis.resp.address import parse_address
from fastws.errors import EngineError
from tests.engine.redis.backbone.recorder import Recorder
from tests.engine.redis.topic.node import eventually
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio


class Process:
    def __init__(self, server: RedisServer, prefix: str, running_s: float) -> None:
        self.backbone = Standalone(parse_address(server.url), prefix=prefix)
        self.common = Common(self.backbone, Names(prefix), "n")
        self.events = Recorder()
        self.common.hub = cast("EngineEvents", self.events)  # it runs
        self.calls = Calls(self.common, running_s)

    async def die(self) -> None:
        for task in list(self.common.tasks):
            task.cancel()
        await self.backbone.stop()

    async def claim(self, key: str, fingerprint: bytes = b"f") -> Claim:
        return await self.calls.claim(key, fingerprint)


class Processes:
    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self.all: list[Process] = []

    async def make(self, running_s: float = 60.0) -> Process:
        process = Process(self.server, self.prefix, running_s)
        await process.backbone.start(process.events)
        self.all.append(process)
        return process

    def key(self, name: str) -> bytes:
        digest = blake2b(name.encode(), digest_size=20).hexdigest()
        return Names(self.prefix).key(CALL, partition_of(digest), digest)


@pytest_asyncio.fixture
async def processes(redis_server: RedisServer, prefix: str) -> AsyncIterator[Processes]:
    made = Processes(redis_server, prefix)
    yield made
    for process in made.all:
        await process.die()


async def test_one_carries_it_out_and_all_know_the_answer(processes: Processes) -> None:
    a, b = await processes.make(), await processes.make()
    assert await a.claim("k") == Claim(GRANTED)
    assert await b.claim("k") == Claim(RUNNING)
    assert await b.claim("k", b"other") == Claim(REUSED)
    assert await b.claim("k2") == Claim(GRANTED)
    await a.calls.settle("k", b'{"result":{}}')
    for process in (a, b):
        assert await process.claim("k") == Claim(DONE, b'{"result":{}}')
        assert await process.claim("k", b"other") == Claim(REUSED)
    left_ms = processes.server.ask("PTTL", processes.key("k"))
    assert isinstance(left_ms, int)
    assert (KEPT_S - 60) * 1000 < left_ms <= KEPT_S * 1000


async def test_what_failed_is_anybodys_again(processes: Processes) -> None:
    a, b = await processes.make(), await processes.make()
    await a.claim("k")
    await a.calls.settle("k", None)
    assert await b.claim("k", b"other") == Claim(GRANTED)
    await a.calls.settle("k", b"late")  # it is not a's any more
    await b.calls.settle("k", b"b")
    assert await a.claim("k", b"other") == Claim(DONE, b"b")


async def test_an_answer_that_is_too_large_is_not_kept(processes: Processes) -> None:
    a, b = await processes.make(), await processes.make()
    for size, kept in ((LARGEST_ANSWER, LARGEST_ANSWER), (LARGEST_ANSWER + 1, 0)):
        await a.claim(f"k{size}")
        await a.calls.settle(f"k{size}", b"x" * size)
        assert await b.claim(f"k{size}") == Claim(DONE, b"x" * kept)


async def test_a_claim_lives_as_long_as_its_process(processes: Processes) -> None:
    a, b = await processes.make(0.4), await processes.make()
    await a.claim("k")
    for _ in range(3):  # it is prolonged each time
        key, before = processes.key("k"), processes.server.ask("PEXPIRETIME", processes.key("k"))
        assert isinstance(before, int)

        def is_prolonged(key: bytes = key, before: int = before) -> bool:
            now = processes.server.ask("PEXPIRETIME", key)
            return isinstance(now, int) and (now > before or now == -2)

        await eventually(is_prolonged, "the claim is prolonged")
    await a.die()
    async with asyncio.timeout(20):
        while (await b.claim("k")).state != GRANTED:
            await asyncio.sleep(0.02)


async def test_while_redis_is_away_nothing_is_granted(processes: Processes) -> None:
    a, b = await processes.make(0.4), await processes.make()
    await a.claim("k")
    processes.server.stop()
    await a.events.until(lambda: a.events.away)
    with pytest.raises(EngineError, match="away"):
        await a.claim("k2")
    await a.calls.settle("k", b"answer")  # it is said when Redis is back, which knows nothing of it
    processes.server.process = None
    await asyncio.to_thread(processes.server.start)
    await b.events.until_whole()
    await eventually(lambda: not a.calls._unsaid, "Redis is told")
    assert await b.claim("k") == Claim(DONE, b"answer")
    assert await b.claim("k2") == Claim(GRANTED)


async def test_a_claim_whose_answer_is_lost_is_given_back(processes: Processes) -> None:
    a, b = await processes.make(60.0), await processes.make()
    a.calls._pause_s = 0.05
    processes.server.pause()
    claim = asyncio.ensure_future(a.claim("k"))
    with pytest.raises(EngineError):
        await claim  # the link gives the server up
    processes.server.resume()  # and now it is granted, which nobody hears
    await a.events.until_whole()
    async with asyncio.timeout(20):
        while (await b.claim("k")).state != GRANTED:
            await asyncio.sleep(0.02)


async def test_who_was_cut_off_for_too_long_finds_out_that_it_was_done_twice(
    processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await processes.make(), await processes.make()
    await a.claim("k")
    await a.claim("k2")
    for key in ("k", "k2"):
        assert processes.server.ask("DEL", processes.key(key)) == 1  # as if its time were over
        await b.claim(key)
    await a.calls.settle("k", b"a")
    assert a.calls.twice == 1
    assert "carried out here and by another process" in caplog.text
    assert await a.claim("k") == Claim(RUNNING), "what b answers is what counts"
    a.calls._pause_s = 0.01
    await a.claim("k3")
    await a.calls._say(a.calls._mine["k2"])
    assert (a.calls.twice, set(a.calls._mine)) == (2, {"k3"})
    await b.calls.settle("k2", b"b")
    assert await a.claim("k2") == Claim(DONE, b"b")


async def test_an_end_is_said_until_redis_knows_it_though_it_is_prolonged_meanwhile(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await processes.make(), await processes.make()
    await a.claim("k")
    prolonged: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    with monkeypatch.context() as patch:
        patch.setattr(a.backbone, "run", lambda *_: prolonged)
        saying = asyncio.ensure_future(a.calls._say(a.calls._mine["k"]))
        await asyncio.sleep(0)  # it is on its way
        lost: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        patch.setattr(a.backbone, "run", lambda *_: lost)
        settling = asyncio.ensure_future(a.calls.settle("k", b"answer"))
        await asyncio.sleep(0)
        prolonged.set_result(1)
        lost.set_exception(EngineError("the link broke between the two"))
        await asyncio.gather(saying, settling)
    (call,) = a.calls._unsaid.values()
    await a.calls._say(call)
    assert not a.calls._unsaid
    assert await b.claim("k") == Claim(DONE, b"answer")


async def test_a_call_that_outlives_the_engine_leaves_nothing_behind(processes: Processes) -> None:
    a = await processes.make()
    await a.claim("k")
    a.common.events = None  # as the engine does when it stops
    await a.die()
    await eventually(lambda: not a.common.tasks, "all is cancelled")
    await a.calls.settle("k", None)
    assert not a.common.tasks


async def test_what_redis_says_is_judged(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    a = await processes.make()
    processes.server.ask("SET", processes.key("k"), "no hash")
    with pytest.raises(EngineError, match="WRONGTYPE"):
        await a.claim("k")
    for answer in (None, [], [b"done"], [b"granted", b"x"], [b"nonsense"], [1], b"granted"):
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        future.set_result(answer)
        monkeypatch.setattr(a.backbone, "run", lambda *_, future=future: future)
        with pytest.raises(EngineError, match="does not say"):
            await a.claim("k2")
    assert not a.calls._mine


async def test_what_cannot_be_said_is_bounded(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MOST_UNSAID", 3)
    a = await processes.make()
    for number in range(5):
        await a.claim(f"k{number}")

    def refuse(*_: object) -> None:
        raise EngineError("away")

    monkeypatch.setattr(a.backbone, "run", refuse)
    for number in range(5):
        await a.calls.settle(f"k{number}", b"x")
    assert len(a.calls._unsaid) == 3
    now_s = asyncio.get_running_loop().time()
    for call in a.calls._unsaid.values():
        call.until_s = now_s - 1
    a.calls._pause_s = 0.01
    a.calls._mind()
    if a.calls._minding is not None:
        a.calls._minding.cancel()
    a.calls._minding = None
    a.calls._mind()
    await eventually(lambda: not a.calls._unsaid, "what is of no use any more is forgotten")


@pytest.mark.parametrize("seed", range(3))
async def test_at_random_each_call_is_carried_out_once(processes: Processes, seed: int) -> None:
    """Some fail and are tried again; one of all that ask for it has each, and all are told what it answered."""
    rng = random.Random(seed)
    all_ = [await processes.make() for _ in range(3)]
    done: Counter[str] = Counter()
    told: dict[str, set[bytes]] = {}

    async def ask(process: Process, key: str) -> None:
        while True:
            claim = await process.claim(key)
            if claim.state == RUNNING:
                await asyncio.sleep(0)
                continue
            if claim.state == DONE:
                told.setdefault(key, set()).add(claim.answer)
                return
            assert claim.state == GRANTED
            await asyncio.sleep(0)
            if rng.random() < 0.3:
                await process.calls.settle(key, None)
                continue
            done[key] += 1
            answer = b"%d" % rng.getrandbits(30)
            told.setdefault(key, set()).add(answer)
            await process.calls.settle(key, answer)
            return

    keys = [f"k{number}" for number in range(40)]
    # Within a process one call with a key is under way at a time.
    await asyncio.gather(*(ask(process, key) for key in keys for process in all_))
    assert done == Counter(dict.fromkeys(keys, 1))
    assert all(len(answers) == 1 for answers in told.values())
    assert not any(process.calls._mine or process.calls._unsaid for process in all_)
