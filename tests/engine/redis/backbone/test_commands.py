"""Scripts over a real server that forgets them, and eras: said before anything that depends on them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha1
from typing import Any

import pytest

from fastws.engine.redis.backbone import commands as subject
from fastws.engine.redis.backbone.commands import Commands
from fastws.engine.redis.names import ERA, Names
from fastws.engine.redis.resp.address import parse_address
from fastws.engine.redis.resp.errors import AwayError, BusyError, ReplyError
from fastws.engine.redis.resp.link import DEFAULT_TUNING, Tuning
from fastws.engine.redis.resp.opening import open_link
from fastws.engine.redis.scripts import Script
from fastws.errors import EngineError
from tests.engine.redis.loops import on_loops
from tests.engine.redis.resp.fakes import FakeServer, Recorder, link_to_nothing, politely
from tests.support.redis import RedisServer

NAMES = Names("fastws")


def script_of(text: bytes, *, needs_era: bool = False) -> Script:
    return Script("test", text, sha1(text, usedforsecurity=False).hexdigest().encode(), needs_era)


APPEND = script_of(b"return redis.call('RPUSH', KEYS[1], ARGV[1])")
PUSH = script_of(b"redis.call('RPUSH', KEYS[1], ARGV[1]) return 1")
ERA_OF = script_of(b"return tonumber(redis.call('HGET', KEYS[1], 'number'))", needs_era=True)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(users={"ann": "on nopass ~* &* +@all -script"}) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    server.ask("FLUSHALL")
    server.ask("SCRIPT", "FLUSH")
    return server


@asynccontextmanager
async def commands(
    redis: RedisServer, identity: str = "one", tuning: Tuning = DEFAULT_TUNING
) -> AsyncIterator[Commands]:
    link = await open_link(parse_address(redis.url), None, tuning, name="test")
    try:
        made = Commands(link, NAMES, identity)
        await made.begin()
        yield made
    finally:
        await link.close()


async def outcomes(futures: list[asyncio.Future[Any]]) -> list[Any]:
    return await asyncio.gather(*futures, return_exceptions=True)


@on_loops()
async def test_scripts_and_commands_are_executed_in_order(redis: RedisServer) -> None:
    async with commands(redis) as made:
        futures = [
            made.run(APPEND, 0, [b"list"], [number]) if number % 3 else made.call(0, ["RPUSH", "list", number])
            for number in range(100)
        ]
        assert await outcomes(futures) == list(range(1, 101))
        assert await made.call(0, ["LRANGE", "list", 0, -1]) == [b"%d" % number for number in range(100)]
        keeper = Keeper()
        made.give(keeper, 0, ["LLEN", "list"])
        await made.call(0, ["PING"])
        assert keeper.answers == [100]
        with pytest.raises(ReplyError, match="ERR"):
            await made.run(script_of(b"return redis.call('NONSENSE')"), 0, [], [])


@on_loops()
async def test_forgotten_scripts_are_loaded_again_and_order_is_kept(redis: RedisServer) -> None:
    async with commands(redis) as made:
        await made.run(APPEND, 0, [b"list"], ["first"])
        for round_ in range(20):
            redis.ask("SCRIPT", "FLUSH")
            futures = [made.run((APPEND, PUSH)[number % 2], 0, [b"list"], [number]) for number in range(10)]
            await asyncio.sleep(0.0002 * round_)
            futures += [made.call(0, ["RPUSH", "list", number]) for number in range(10, 15)]
            results = await outcomes(futures)
            listed = [int(word) for word in await made.call(0, ["LRANGE", "list", 0, -1]) if word != b"first"]
            assert listed == sorted(listed)
            # What came too late says so, and was not done.
            assert listed == [number for number, result in enumerate(results) if not isinstance(result, EngineError)]
            await made.call(0, ["DEL", "list"])


@on_loops()
async def test_what_others_did_meanwhile_is_not_overtaken(redis: RedisServer) -> None:
    """Somebody else loads the script again between two of ours: the first, which was not done, stays undone."""
    async with commands(redis) as made:
        await made.run(APPEND, 0, [b"list"], ["x"])
        await made.run(PUSH, 0, [b"list"], ["x"])
        await made.call(0, ["DEL", "list"])
        for partition in (0, 1):
            made.link.send(None, "SCRIPT", "FLUSH")
            late = made.run(APPEND, 0, [b"list"], ["late"])
            made.link.send(None, "SCRIPT", "LOAD", PUSH.text)
            other = made.run(PUSH, partition, [b"list"], ["other"])
            results = await outcomes([late, other])
            listed = await made.call(0, ["LRANGE", "list", 0, -1])
            if partition == 0:
                assert isinstance(results[0], ReplyError)
                assert "meanwhile" in str(results[0])
                assert listed == [b"other"]
            else:  # order is between commands of one partition
                assert results == [2, 1]
                assert listed == [b"other", b"late"]
            await made.call(0, ["DEL", "list"])


@on_loops("asyncio")
async def test_a_plain_command_is_not_overtaken_either(redis: RedisServer) -> None:
    async with commands(redis) as made:
        await made.run(APPEND, 0, [b"list"], ["x"])
        made.link.send(None, "SCRIPT", "FLUSH")
        late = made.run(APPEND, 0, [b"list"], ["late"])
        plain = made.call(0, ["RPUSH", "list", "plain"])
        results = await outcomes([late, plain])
        assert isinstance(results[0], ReplyError)
        assert results[1] == 2
        assert await made.run(APPEND, 0, [b"list"], ["y"]) == 3


@on_loops("asyncio")
async def test_scripts_forgotten_again_and_again(redis: RedisServer) -> None:
    async with commands(redis) as made, commands(redis) as other:
        await made.run(APPEND, 0, [b"list"], ["x"])
        rng = random.Random(1)
        done = 0

        async def flush() -> None:
            while True:
                await other.call(0, ["SCRIPT", "FLUSH"])
                await asyncio.sleep(rng.random() * 0.001)

        flushing = asyncio.create_task(flush())
        for number in range(300):
            futures = [made.run(APPEND, number % 2, [b"list%d" % (number % 2)], [number]) for _ in range(3)]
            results = await outcomes(futures)
            done += sum(isinstance(result, int) for result in results)
            assert all(isinstance(result, int | EngineError) for result in results)
        flushing.cancel()
        await asyncio.wait([flushing])
        counted = await outcomes([made.call(0, ["LLEN", "list0"]), made.call(0, ["LLEN", "list1"])])
        assert sum(counted) == done > 100


class Keeper:
    """Takes an answer without a future."""

    future = None

    def __init__(self) -> None:
        self.answers: list[object] = []

    def take(self, answer: object) -> None:
        self.answers.append(answer)

    def lose(self, error: AwayError) -> None:
        self.answers.append(error)


@on_loops("asyncio")
async def test_what_waits_for_scripts_is_bounded_and_lost_with_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_MOST_HELD", 5)  # one of them claims

    def answer(words: list[bytes]) -> bytes | None:
        if words[0] == b"EVALSHA":
            return b"-NOSCRIPT No matching script.\r\n"
        return None if words[0] == b"PING" else b"+OK\r\n"

    async with FakeServer(politely) as server:
        link = await open_link(server.address, None, DEFAULT_TUNING, name="test")
        made = Commands(link, NAMES, "one")
        await made.begin()
        server.answer = answer
        again = made.run(APPEND, 0, [b"list"], ["again"])
        while not any(words[0] == b"PING" for words in server.commands):
            await asyncio.sleep(0.001)
        held = [made.run(APPEND, 0, [b"list"], ["held"]), made.call(0, ["GET", "a"]), made.run(ERA_OF, 1, [], [])]
        keeper = Keeper()
        made.give(keeper, 0, ["GET", "c"])
        with pytest.raises(BusyError):
            made.call(0, ["GET", "b"])
        link.abort("it broke")
        assert [type(answer) for answer in keeper.answers] == [AwayError]
        results = await outcomes([again, *held])
        assert all(isinstance(result, AwayError) for result in results)


@on_loops("asyncio")
async def test_a_server_that_forgets_while_it_does_not_keep_up() -> None:
    """There is no room for what would load the scripts: everything fails, and nothing waits for ever."""
    async with FakeServer(politely) as server:
        link = await open_link(server.address, None, Tuning(most_unanswered=3), name="test")
        made = Commands(link, NAMES, "one")
        await made.begin()
        await made.run(APPEND, 0, [b"list"], ["loaded"])
        server.answer = lambda words: b"-NOSCRIPT No matching script.\r\n" if words[0] == b"EVALSHA" else None
        futures = [made.run(APPEND, 0, [b"list"], ["forgotten"])]
        while not any(b"forgotten" in words for words in server.commands):
            futures += [made.call(0, ["GET", "a"]) for _ in range(3 - link.unanswered)]
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            assert {type(result) for result in await outcomes(futures)} == {AwayError}
        assert "forgot its scripts" in link.reason


@on_loops("asyncio")
async def test_a_server_that_forgets_at_once_is_not_asked_for_ever() -> None:
    def answer(words: list[bytes]) -> bytes:
        return b"-NOSCRIPT No matching script.\r\n" if words[0] == b"EVALSHA" else politely(words)

    async with FakeServer(answer) as server:
        link = await open_link(server.address, None, DEFAULT_TUNING, name="test")
        made = Commands(link, NAMES, "one")
        with pytest.raises(ReplyError, match="NOSCRIPT"):
            await made.run(APPEND, 0, [b"list"], ["x"])
        with pytest.raises(EngineError):
            await made.run(ERA_OF, 0, [], [])
        await link.close()


@on_loops("asyncio")
async def test_a_user_that_may_not_load_scripts(redis: RedisServer) -> None:
    link = await open_link(parse_address(f"redis://ann:x@127.0.0.1:{redis.port}"), None, DEFAULT_TUNING, name="test")
    with pytest.raises(ReplyError, match="access list"):
        await Commands(link, NAMES, "one").begin()
    await link.close()


@on_loops()
async def test_eras_count_the_servers_that_a_partition_had(redis: RedisServer) -> None:
    async with commands(redis, "one") as one, commands(redis, "one") as same, commands(redis, "two") as two:
        assert await outcomes([one.run(ERA_OF, 7, [], []) for _ in range(3)]) == [1, 1, 1]
        assert await same.run(ERA_OF, 7, [], []) == 1
        assert await two.run(ERA_OF, 7, [], []) == 2
        assert await two.run(ERA_OF, 8, [], []) == 1
        assert await one.run(ERA_OF, 7, [], []) == 2  # said once for each connection
        one.forget(7)
        assert await one.run(ERA_OF, 7, [], []) == 3
    assert redis.ask("HGET", NAMES.key(ERA, 7), "server") == b"one"


@on_loops()
async def test_an_era_is_said_first_even_when_scripts_were_forgotten(redis: RedisServer) -> None:
    async with commands(redis) as made:
        await made.run(ERA_OF, 1, [], [])
        for partition in range(2, 30):
            redis.ask("SCRIPT", "FLUSH")
            results = await outcomes([made.run(ERA_OF, partition, [], []) for _ in range(3)])
            assert results == [1, 1, 1]


@on_loops("asyncio")
async def test_without_its_era_nothing_is_believed(redis: RedisServer) -> None:
    async with commands(redis) as made:
        redis.ask("SET", NAMES.key(ERA, 5), "no hash")
        results = await outcomes([made.run(script_of(b"return 1", needs_era=True), 5, [], []) for _ in range(2)])
        assert all(isinstance(result, EngineError) for result in results)
        redis.ask("DEL", NAMES.key(ERA, 5))
        assert await made.run(ERA_OF, 5, [], []) == 1


@on_loops("asyncio")
async def test_what_has_to_be_given_again_has_one_time_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    link, transport = link_to_nothing(Recorder(), DEFAULT_TUNING)
    made = Commands(link, NAMES, "one")
    given = [made.run(APPEND, 0, [b"list"], [0]), made.run(APPEND, 0, [b"list"], [1])]
    await asyncio.sleep(0)
    link.data_received(b"+sha\r\n-NOSCRIPT no matching script\r\n")
    held = [made.run(APPEND, 0, [b"list"], [2]), made.call(0, ["PING"])]
    # All that waits by now was given long ago.
    now = asyncio.get_running_loop().time
    monkeypatch.setattr(made._deadlines, "_answer_s", -1.0)
    late = made.run(APPEND, 0, [b"list"], [3])
    given_up = made.call(0, ["SET", "k", "written behind"])
    given_up.cancel()
    made._deadlines._watched = type(made._deadlines._watched)(
        (now() - 1.0, each) for _, each in made._deadlines._watched
    )
    await asyncio.sleep(0)
    for future in (given[0], *held, late):
        with pytest.raises(AwayError, match="there was no answer within"):
            await future
    assert not given[1].done(), "the link looks to what was not given again"
    transport.written.clear()
    link.data_received(b":1\r\n+sha\r\n+PONG\r\n")
    await asyncio.sleep(0)
    assert given[1].result() == 1
    assert b"EVALSHA" not in transport.written, "nobody waits for it any more"
    assert b"written behind" in transport.written
    link.abort("the end")
