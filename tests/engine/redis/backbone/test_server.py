"""The pair of connections to a real server: whatever happens to it or to them, it is noticed, told once, and mended."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import re
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.names import ERA, Names
from fastws.engine.redis.resp.address import Address, parse_address
from fastws.engine.redis.resp.errors import AwayError, ReplyError
from fastws.engine.redis.resp.link import DEFAULT_TUNING, Tuning
from fastws.errors import ConfigError, EngineError
from tests.engine.redis.backbone.test_commands import ERA_OF
from tests.engine.redis.loops import on_loops
from tests.engine.redis.resp.fakes import FakeServer, politely
from tests.support.certificates import self_signed
from tests.support.redis import RedisServer
from tests.support.waiting import Stopwatch

NAMES = Names("fastws")
QUICK = Tuning(connect_s=3.0, idle_s=0.1, silence_s=1.5, answer_s=5.0)
"""Soon in doubt, but not hasty: tests run on machines that are busy."""
HASTY = Tuning(connect_s=1.0, idle_s=0.1, silence_s=0.8, answer_s=2.0)


class Events:
    """What a server tells."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.reasons: list[str] = []
        self.changes: list[str] = []
        self.slowness_s = 0.0
        self._changed = asyncio.Event()

    def on_message(self, channel: bytes, payload: bytes) -> None:
        self.messages.append((channel, payload))
        self._changed.set()
        if self.slowness_s:
            time.sleep(self.slowness_s)

    def on_server_away(self, server: Server, reason: str) -> None:
        assert not server.is_up
        self.changes.append("away")
        self.reasons.append(reason)
        self._changed.set()

    def on_server_back(self, server: Server) -> None:
        assert server.is_up
        self.changes.append("back")
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to be told."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def until_back(self, times: int = 1) -> None:
        await self.until(lambda: self.changes == ["away", "back"] * times)


@asynccontextmanager
async def connected(address: Address, tuning: Tuning = QUICK, **options: Any) -> AsyncIterator[tuple[Server, Events]]:
    events = Events()
    server = Server(address, events, NAMES, tuning=tuning, rng=random.Random(1), **options)
    await server.start()
    try:
        yield server, events
    finally:
        await server.stop()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def check(server: Server, events: Events, channel: bytes) -> None:
    """Commands work, and the channel is heard."""
    before = len(events.messages)
    assert await server.call(0, "PUBLISH", channel, "still here") == 1
    await events.until(lambda: len(events.messages) > before)
    assert events.messages[-1] == (channel, b"still here")


@on_loops()
async def test_it_comes_back_after_the_server_was_killed(redis: RedisServer) -> None:
    async with connected(parse_address(redis.url)) as (server, events):
        assert server.version.startswith(("7.", "8."))
        await server.subscribe(0, b"a")  # type: ignore[misc]
        era = await server.run(ERA_OF, 3, [], [])
        redis.pause()
        unanswered = server.call(0, "PING")
        await asyncio.sleep(0.05)
        redis.stop()
        with pytest.raises(AwayError):
            await unanswered
        assert events.changes == ["away"]
        assert not server.is_up
        with pytest.raises(AwayError, match=r"127\.0\.0\.1"):
            server.call(0, "PING")
        with pytest.raises(AwayError):
            server.run(ERA_OF, 3, [], [])
        assert server.failure is not None
        await in_thread(redis.start)
        await events.until_back()
        await check(server, events, b"a")
        # It lives anew and has forgotten everything: a test of eras is in what calls scripts.
        assert (era, await server.run(ERA_OF, 3, [], [])) == (1, 1)
        assert server.failure is None


@on_loops()
async def test_another_life_of_a_server_that_keeps_its_data_is_another_era() -> None:
    with RedisServer(persistent=True) as redis:
        async with connected(parse_address(redis.url)) as (server, events):
            assert await server.run(ERA_OF, 3, [], []) == 1
            redis.shut_down()
            await in_thread(redis.start)
            await events.until_back()
            assert await server.run(ERA_OF, 3, [], []) == 2
            assert redis.ask("HGET", NAMES.key(ERA, 3), "number") == b"2"


@on_loops("uvloop")
async def test_a_server_that_stands_still_is_noticed(redis: RedisServer) -> None:
    async with connected(parse_address(redis.url), HASTY) as (server, events):
        await server.subscribe(0, b"a")  # type: ignore[misc]
        redis.pause()
        watch = Stopwatch()
        call = server.call(0, "PING")
        await events.until(lambda: events.changes == ["away"])
        assert watch.own_s < 10.0
        with pytest.raises(AwayError):
            await call
        await asyncio.sleep(0.7)  # attempts that find it so
        assert re.search("it has said nothing for 0.8 s|does not answer within 1 s", str(server.failure))
        assert str(redis.port) in str(server.failure)
        redis.resume()
        await events.until(lambda: events.changes[-1] == "back")
        await check(server, events, b"a")


@pytest.mark.parametrize("kind", ["protocol 2", "unix", "tls"])
@on_loops()
async def test_every_way_to_connect(kind: str, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path) if kind == "tls" else None
    with RedisServer(tls=certificate, password="p@ss w/ord") as redis:
        secret = quote(redis.password, safe="")
        url = {
            "protocol 2": f"{redis.url}?protocol=2",
            "unix": f"unix://:{secret}@{redis.unix}?db=2",
            "tls": f"{redis.url}?ssl_ca_certs={certificate.certfile if certificate else ''}",
        }[kind]
        async with connected(parse_address(url)) as (server, events):
            for number in range(3):
                waiter = server.subscribe(0, b"c%d" % number)
                assert waiter is not None
                await waiter
            server.unsubscribe(b"c0")
            assert await server.run(ERA_OF, 3, [], []) == 1
            await asyncio.sleep(0.3)  # it is pinged meanwhile
            await check(server, events, b"c1")
            redis.kill_clients("pubsub")
            await events.until_back()
            await check(server, events, b"c2")
            assert await server.call(0, "PUBLISH", "c0", "nobody") == 0


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
@on_loops()
async def test_either_connection_may_be_killed(redis: RedisServer, kind: str) -> None:
    async with connected(parse_address(redis.url)) as (server, events):
        await server.subscribe(0, b"a")  # type: ignore[misc]
        for times in range(1, 4):
            assert redis.kill_clients(kind) == 1
            await events.until_back(times)
            await check(server, events, b"a")
        assert redis.info("clients")["connected_clients"] == "3"  # and the one that asks


@on_loops("uvloop")
async def test_a_subscriber_that_is_too_slow_is_cut_off_and_comes_back() -> None:
    with RedisServer("--client-output-buffer-limit", "pubsub 1mb 1mb 0") as redis:
        async with connected(parse_address(redis.url), DEFAULT_TUNING) as (server, events):
            await server.subscribe(0, b"a")  # type: ignore[misc]
            payload = b"x" * 30_000
            events.slowness_s = 0.001

            def flood() -> None:
                for _ in range(1000):
                    redis.ask("PUBLISH", "a", payload)

            flooding = asyncio.ensure_future(in_thread(flood))
            await events.until(lambda: events.changes[:1] == ["away"])
            events.slowness_s = 0.0
            await flooding
            await events.until(lambda: events.changes[-1] == "back")
            await events.until(lambda: server.is_up)
            await check(server, events, b"a")


@on_loops("uvloop")
async def test_thousands_of_channels_are_heard_again_before_it_is_back(redis: RedisServer) -> None:
    async with connected(parse_address(redis.url), DEFAULT_TUNING) as (server, events):
        waiters = [server.subscribe(0, b"channel:%d" % number) for number in range(25_000)]
        for waiter in waiters:
            assert waiter is not None
            await waiter
        assert redis.ask("PUBSUB", "NUMSUB", "channel:7") == [b"channel:7", 1]
        redis.kill_clients("pubsub")
        await events.until(lambda: events.changes == ["away"])
        server.unsubscribe(b"channel:7")
        assert server.subscribe(0, b"another") is None
        await events.until_back()
        assert len(redis.ask("PUBSUB", "CHANNELS")) == 25_000  # type: ignore[arg-type]
        await check(server, events, b"another")
        await check(server, events, b"channel:24999")
        assert len(server.channels) == 25_000


@on_loops()
async def test_a_huge_answer_and_a_huge_message(redis: RedisServer) -> None:
    async with connected(parse_address(redis.url), DEFAULT_TUNING) as (server, events):
        await server.subscribe(0, b"a")  # type: ignore[misc]
        big = os.urandom(1 << 20) * 20
        assert await server.call(0, "SET", "k", big) == b"OK"
        assert await server.call(0, "GET", "k") == big
        assert await server.call(0, "PUBLISH", "a", big) == 1
        await events.until(lambda: events.messages)
        assert events.messages == [(b"a", big)]
    async with connected(parse_address(redis.url), Tuning(largest_answer=1 << 20)) as (server, events):
        with pytest.raises(AwayError, match="larger than one may be"):
            await server.call(0, "GET", "k")
        await events.until_back()


@on_loops("asyncio")
async def test_a_replica_is_refused_until_it_is_a_master(redis: RedisServer) -> None:
    with RedisServer() as replica:
        replica.ask("REPLICAOF", "127.0.0.1", redis.port)
        events = Events()
        server = Server(parse_address(replica.url), events, NAMES, tuning=QUICK)
        with pytest.raises(AwayError, match="is a replica"):
            await server.start(1.5)
        assert not server.is_up
        server = Server(parse_address(replica.url), events, NAMES, tuning=QUICK)
        starting = asyncio.create_task(server.start())
        await asyncio.sleep(0.1)
        replica.ask("REPLICAOF", "NO", "ONE")
        await starting
        # And one that becomes a replica is left as soon as it is noticed.
        replica.ask("REPLICAOF", "127.0.0.1", redis.port)
        with pytest.raises(ReplyError, match="READONLY"):
            await server.call(0, "SET", "a", "b")
        assert events.changes == ["away"]
        await asyncio.sleep(0.2)
        assert not server.is_up
        server.move_to(parse_address(redis.url))
        await events.until_back()
        assert server.address.port == redis.port
        await server.stop()


@on_loops()
async def test_another_address_is_taken_at_once(redis: RedisServer) -> None:
    async with FakeServer(lambda words: None) as silent:
        events = Events()
        server = Server(
            silent.address, events, NAMES, tuning=QUICK._replace(connect_s=50.0, silence_s=50.0, answer_s=50.0)
        )
        server.begin()
        while not silent.writers:
            await asyncio.sleep(0.001)
        server.move_to(parse_address(redis.url))
        await server.wait_up(20.0)
        await server.subscribe(0, b"a")  # type: ignore[misc]
        server.move_to(parse_address(redis.url))
        assert events.changes == []  # that is where it is
        with RedisServer() as other:
            server.move_to(parse_address(other.url))
            assert events.changes == ["away"]
            await events.until_back()
            await check(server, events, b"a")
            assert b"fastws" in other.ask("CLIENT", "LIST")  # type: ignore[operator]
            server.reconnect("somebody wants it")
            await events.until_back(2)
            assert "somebody wants it" in events.reasons[-1]
        await server.stop()


@on_loops()
async def test_a_wrong_start_says_what_to_do() -> None:
    with RedisServer(password="secret", users={"ann": "on >secret ~* &* +@all -info"}) as redis:
        address = f"127.0.0.1:{redis.port}"
        for url, says in [
            (f"redis://{address}", "write it into the URL"),
            (f"redis://:wrong@{address}", "check those in the URL"),
            (f"redis://ann:secret@{address}", "access list"),
        ]:
            server = Server(parse_address(url), Events(), NAMES, tuning=QUICK)
            watch = Stopwatch()
            with pytest.raises(EngineError, match=says) as caught:
                await server.start()
            assert watch.own_s < 4.5  # no use in waiting
            assert not caught.value.temporary
            assert str(redis.port) in str(caught.value)
    server = Server(parse_address(redis.url), Events(), NAMES, tuning=QUICK)
    with pytest.raises(AwayError, match="cannot be reached"):
        await server.start(1.5)
    with pytest.raises(ConfigError):
        Server(parse_address("rediss://h?ssl_ca_certs=/nowhere"), Events(), NAMES)


@pytest.mark.parametrize(
    ("info", "says"),
    [
        (b"redis_version:6.2.14\r\nrole:master", "7.0 or newer"),
        (b"redis_version:7.2.4\r\nrole:slave", "replica"),
        (b"", "does not say which Redis"),
        (b"redis_version:9999999999999.x.\xff\r\nrole:master", "7.0 or newer"),
    ],
)
@on_loops("asyncio")
async def test_what_the_server_says_of_itself(info: bytes, says: str) -> None:
    def answer(words: list[bytes]) -> bytes:
        return b"$%d\r\n%b\r\n" % (len(info), info) if words[0] == b"INFO" else politely(words)

    async with FakeServer(answer) as fake:
        server = Server(fake.address, Events(), NAMES, tuning=QUICK)
        with pytest.raises(EngineError, match=says):
            await server.start(1.5)


def as_a_master(words: list[bytes]) -> bytes | None:
    info = b"redis_version:7.2.4\r\nrole:master\r\nrun_id:one"
    return b"$%d\r\n%b\r\n" % (len(info), info) if words[0] == b"INFO" else politely(words)


@on_loops("asyncio")
async def test_one_that_is_lost_again_and_again_is_tried_ever_more_slowly() -> None:
    async with FakeServer(as_a_master) as fake:
        events = Events()
        server = Server(fake.address, events, NAMES, tuning=QUICK)
        server.begin()
        start = time.monotonic()
        for times in range(1, 7):
            await server.wait_up(20.0)
            for writer in fake.writers:
                writer.close()
            await events.until(lambda times=times: events.changes.count("away") == times)  # type: ignore[misc]
        assert time.monotonic() - start > 0.5
        # Somebody who knows better is not kept waiting.
        for _ in range(20):
            server.reconnect("for a test")
            await server.wait_up(20.0)
        await server.stop()


@on_loops("asyncio")
async def test_one_that_takes_no_commands_yet_is_tried_ever_more_slowly() -> None:
    """It says who it is, and then that it is still loading."""

    def answer(words: list[bytes]) -> bytes | None:
        return b"-LOADING Redis is loading the dataset in memory\r\n" if words[0] == b"SCRIPT" else as_a_master(words)

    async with FakeServer(answer) as fake:
        server = Server(fake.address, Events(), NAMES, tuning=QUICK)
        server.begin()
        start = time.monotonic()
        while len(fake.writers) < 6:
            await asyncio.sleep(0.01)
        assert time.monotonic() - start > 0.5
        await server.stop()


@on_loops("asyncio")
async def test_one_that_reads_its_data_is_asked_until_it_has(caplog: pytest.LogCaptureFixture) -> None:
    """Over the connection that is there: nobody connects again and again to a server that has enough to do."""
    loading = 5

    def answer(words: list[bytes]) -> bytes | None:
        nonlocal loading
        if words == [b"INFO", b"persistence"]:
            loading -= 1
            info = b"loading:%d\r\nloading_eta_seconds:%s\r\n" % (loading > 0, [b"0", b"9", b"x", b"-1"][loading % 4])
            return b"$%d\r\n%b\r\n" % (len(info), info)
        return as_a_master(words)

    async with FakeServer(answer) as fake:
        server = Server(fake.address, Events(), NAMES, tuning=QUICK)
        server.begin()
        while not server.failure:
            await asyncio.sleep(0.001)
        assert "still reads its data" in str(server.failure)
        assert not server.is_up
        await server.wait_up(20.0)
        assert len(fake.writers) == 2
        assert caplog.text.count("still reads its data") == 1
        await server.stop()


@on_loops("asyncio")
async def test_both_connections_have_to_be_to_one_server() -> None:
    """Behind a balancer or a name with several addresses they may not be, for a while."""
    lives = iter([b"one", b"two", b"one", b"one"])
    info = b""

    def answer(words: list[bytes]) -> bytes | None:
        nonlocal info
        if words == [b"INFO", b"server"]:
            info = b"redis_version:7.2.4\r\nrun_id:%b\r\nrole:master" % next(lives)
        return b"$%d\r\n%b\r\n" % (len(info), info) if words[0] == b"INFO" else politely(words)

    async with FakeServer(answer) as fake:
        server = Server(fake.address, Events(), NAMES, tuning=QUICK)
        server.begin()
        while not (server.failure or server.is_up):
            await asyncio.sleep(0.001)
        assert "different servers" in str(server.failure)
        await server.wait_up(20.0)
        await server.stop()


@on_loops("uvloop")
async def test_an_outage_leaves_no_descriptor_and_tries_ever_more_slowly(redis: RedisServer) -> None:
    async with connected(parse_address(redis.url)) as (server, events):
        await asyncio.sleep(0.01)
        before = descriptors()
        redis.stop()
        await events.until(lambda: events.changes == ["away"])
        async with FakeServer(lambda words: b"-LOADING Redis is loading the dataset in memory\r\n") as loading:
            server.move_to(loading.address)
            while len(loading.writers) < 5:
                await asyncio.sleep(0.01)
            first = time.monotonic()
            while len(loading.writers) < 7:
                await asyncio.sleep(0.01)
            assert time.monotonic() - first > 0.5
            assert "LOADING" in str(server.failure)
        await in_thread(redis.start)
        server.move_to(parse_address(redis.url))
        await events.until_back()
        for _ in range(200):
            gc.collect()
            if descriptors() <= before:
                break
            await asyncio.sleep(0.01)
        assert descriptors() <= before


@on_loops()
async def test_nothing_is_left_of_former_connections(redis: RedisServer) -> None:
    """Neither in cycles nor in the loop: they are gone without the collector."""
    async with connected(parse_address(redis.url)) as (server, events):
        gc.collect()
        gc.disable()
        try:
            gone: list[weakref.ref[Any]] = []
            for times in range(1, 4):
                commands = server._commands
                assert commands is not None
                gone += [weakref.ref(commands.link), weakref.ref(commands), weakref.ref(server._links[1])]
                del commands
                server.subscribe(0, b"c%d" % times)
                for number in range(10):
                    server.run(ERA_OF, number, [], [])
                await server.run(ERA_OF, 1, [], [])
                server.call(0, "PING")
                server.run(ERA_OF, 11, [], [])
                server.reconnect("for a test")
                await events.until_back(times)
            for _ in range(100):
                if not any(ref() for ref in gone):
                    break
                await asyncio.sleep(0.01)
            assert [ref() for ref in gone if ref() is not None] == []
        finally:
            gc.enable()


@on_loops()
async def test_stopping_sends_what_was_given_and_nothing_is_told_after(redis: RedisServer) -> None:
    events = Events()
    server = Server(parse_address(redis.url), events, NAMES, tuning=QUICK)
    await server.start()
    await server.subscribe(0, b"a")  # type: ignore[misc]
    futures = [server.call(0, "RPUSH", "list", number) for number in range(1000)]
    await server.stop()
    assert [future.result() for future in futures] == list(range(1, 1001))
    assert redis.ask("LLEN", "list") == 1000
    heard = len(events.messages)
    redis.ask("PUBLISH", "a", "x")
    await asyncio.sleep(0.02)
    assert (len(events.messages), events.changes) == (heard, [])
    with pytest.raises(AwayError):
        server.call(0, "PING")
    await server.stop()

    # While it is away, and before it was ever started.
    redis.stop()
    server = Server(parse_address(redis.url), events, NAMES, tuning=QUICK)
    server.begin()
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(server.wait_up(5.0))
    await asyncio.sleep(0)
    await server.stop()
    with pytest.raises(AwayError):
        await waiting
    await Server(parse_address(redis.url), events, NAMES).stop()


@on_loops("uvloop")
async def test_stopping_a_server_that_stands_still_does_not_hang(redis: RedisServer) -> None:
    async with connected(parse_address(redis.url), DEFAULT_TUNING) as (server, events):
        redis.pause()
        call = server.call(0, "PING")
        watch = Stopwatch()
        await server.stop()
        assert watch.own_s < 5.0
        with pytest.raises(AwayError):
            await call
        assert events.changes == []
        redis.resume()


@on_loops("asyncio")
async def test_a_fault_of_ours_does_not_end_the_attempts(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(parse_address(redis.url), Events(), NAMES, tuning=QUICK)
    faults = [RuntimeError("a fault"), KeyError("another")]
    judge = server._judge

    async def faulty(link: Any) -> str:
        if faults:
            raise faults.pop()
        return await judge(link)

    monkeypatch.setattr(server, "_judge", faulty)
    await server.start()
    assert not faults
    assert "a fault of ours" in caplog.text
    await server.stop()


@on_loops("uvloop")
async def test_random_faults_end_in_a_server_that_is_up(redis: RedisServer) -> None:
    """Connections killed and restarts asked for at any moment, while others subscribe and call."""
    rng = random.Random(5)
    stop = threading.Event()

    def break_it() -> None:
        while not stop.is_set():
            redis.kill_clients(rng.choice(["normal", "pubsub"]))
            stop.wait(rng.random() * 0.02)

    async with connected(parse_address(redis.url)) as (server, events):
        breaking = asyncio.ensure_future(in_thread(break_it))
        answered = 0
        for number in range(600):
            if server.is_up:
                try:
                    answered += await server.call(0, "INCR", "n") > 0
                    waiter = server.subscribe(0, b"c%d" % (number % 50))
                    if waiter is not None and number % 3:
                        await waiter
                except EngineError:
                    pass
            if number % 5 == 0:
                server.unsubscribe(b"c%d" % rng.randrange(50))
            if number % 40 == 0:
                server.reconnect("for a test")
            await asyncio.sleep(0.001)
        stop.set()
        await breaking
        await events.until(lambda: server.is_up)
        server.subscribe(0, b"last")
        await server.call(0, "PING")
        heard = {name.decode() for name in redis.ask("PUBSUB", "CHANNELS")}  # type: ignore[attr-defined]
        assert {name.decode() for name in server.channels} <= heard | {"last"}
        assert answered > 20
        pairs = ["away", "back"] * (len(events.changes) // 2)
        assert events.changes == pairs
