"""Channels: whoever subscribes is answered when the channel is heard, and what is wanted in the end is what is so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import hiredis
import pytest

from fastws.engine.redis.backbone import subscriptions as subject
from fastws.engine.redis.backbone.subscriptions import Subscriptions
from fastws.engine.redis.resp.errors import AwayError, MovedError, ReplyError
from fastws.engine.redis.resp.link import Link, LinkOwner, Tuning
from fastws.errors import EngineError
from tests.engine.redis.loops import on_loops
from tests.engine.redis.resp.fakes import Nowhere, link_to_nothing


class Owner(LinkOwner):
    """Hands pushes on."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self.subscriptions = subscriptions

    def on_message(self, channel: bytes, payload: bytes) -> None: ...

    def on_push(self, kind: bytes, push: list[Any]) -> None:
        self.subscriptions.on_push(kind, push)

    def on_lost(self, link: Link, reason: str) -> None:
        self.subscriptions.end()


class Rig:
    """Subscriptions over a link whose server is played here: it executes commands when `serve` is called."""

    def __init__(self, *, is_sharded: bool = False, tuning: Tuning | None = None) -> None:
        self.moved: list[Mapping[bytes, int]] = []
        self.subscriptions = Subscriptions(self.moved.append if is_sharded else None)
        self.tuning = tuning or Tuning()
        self.heard: set[bytes] = set()
        self.commands: list[list[bytes]] = []
        self.refuse: dict[bytes, bytes] = {}
        self.connect()

    def connect(self) -> None:
        self.link, self.transport = link_to_nothing(Owner(self.subscriptions), self.tuning, hears=True)
        self.parser = hiredis.Reader()
        self.heard.clear()

    def serve(self, most: int = 1_000_000) -> None:
        """Execute what was sent, or the first commands of it."""
        assert isinstance(self.transport, Nowhere)
        self.parser.feed(bytes(self.transport.written))
        del self.transport.written[:]
        for _ in range(most):
            words = self.parser.gets()
            if words is False:
                return
            self.commands.append(words)
            self.link.data_received(self.execute(words))

    def execute(self, words: list[bytes]) -> bytes:
        name = words[0]
        if name == b"PING":
            return b"+PONG\r\n"
        for channel in words[1:]:
            if channel in self.refuse:
                return self.refuse[channel]
        said = b""
        for channel in words[1:]:
            (self.heard.discard if b"UNSUB" in name else self.heard.add)(channel)
            said += b">3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n:1\r\n" % (len(name), name.lower(), len(channel), channel)
        return said

    async def begin(self) -> None:
        """Have everything subscribed to."""
        beginning = asyncio.create_task(self.subscriptions.begin(self.link))
        while not beginning.done():
            self.serve()
            await asyncio.sleep(0)
        await beginning

    async def pump(self) -> None:
        """Until nothing is on its way."""
        for _ in range(10):
            await asyncio.sleep(0)
            self.serve()


@on_loops("asyncio")
async def test_who_subscribes_is_answered_when_the_channel_is_heard() -> None:
    rig = Rig()
    await rig.begin()
    first, second = rig.subscriptions.subscribe(1, b"a"), rig.subscriptions.subscribe(2, b"b")
    again = rig.subscriptions.subscribe(1, b"a")
    assert isinstance(first, asyncio.Future)
    assert isinstance(second, asyncio.Future)
    assert isinstance(again, asyncio.Future)
    again.cancel()  # one who gives up takes nothing from the others
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not first.done()
    rig.serve(1)
    assert not first.done()
    late = rig.subscriptions.subscribe(1, b"a")
    assert isinstance(late, asyncio.Future)
    rig.serve(1)
    assert first.done()
    assert second.done()
    assert late.done()
    assert rig.heard == {b"a", b"b"}
    assert rig.subscriptions.subscribe(1, b"a") is None
    assert rig.commands[1:] == [[b"SUBSCRIBE", b"a", b"b"], [b"PING"]]
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_changes_of_mind_within_a_pass_cost_nothing() -> None:
    rig = Rig()
    await rig.begin()
    waiter = rig.subscriptions.subscribe(1, b"a")
    rig.subscriptions.unsubscribe(b"a")
    rig.subscriptions.unsubscribe(b"a")
    rig.subscriptions.unsubscribe(b"unknown")
    await rig.pump()
    assert isinstance(waiter, asyncio.Future)
    assert waiter.done()
    assert rig.commands == [[b"PING"]]
    rig.subscriptions.subscribe(1, b"a")
    await rig.pump()
    rig.subscriptions.unsubscribe(b"a")
    assert rig.subscriptions.subscribe(1, b"a") is None
    await rig.pump()
    assert rig.commands[1:] == [[b"SUBSCRIBE", b"a"], [b"PING"]]
    rig.link.abort("the end")


@pytest.mark.parametrize("is_sharded", [False, True])
@on_loops("asyncio")
async def test_races_end_in_what_is_wanted(is_sharded: bool) -> None:
    """Random subscribing and unsubscribing, answers at random times, links that break: in the end the server sends what
    is wanted, and everybody was answered, nobody while the channel was not heard.
    """
    for seed in range(60):
        rng = random.Random(seed)
        rig = Rig(is_sharded=is_sharded)
        await rig.begin()
        channels = [b"c%d" % number for number in range(4)]
        wanted: set[bytes] = set()
        waiters: list[asyncio.Future[None]] = []

        def heard(waiter: asyncio.Future[None], rig: Rig = rig, waiters: list[Any] = waiters) -> None:
            waiters.remove(waiter)
            assert waiter.exception() is None

        for _ in range(rng.randrange(20, 120)):
            channel = rng.choice(channels)
            match rng.randrange(12):
                case 0 | 1 | 2 | 3:
                    wanted.add(channel)
                    answer = rig.subscriptions.subscribe(int(channel[1:]), channel)
                    if answer is None:
                        # The server was told, and of nothing else since.
                        assert channel in rig.heard
                    else:
                        assert isinstance(answer, asyncio.Future)
                        waiters.append(answer)
                        answer.add_done_callback(heard)
                case 4 | 5 | 6:
                    wanted.discard(channel)
                    rig.subscriptions.unsubscribe(channel)
                case 7 | 8:
                    await asyncio.sleep(0)
                case 9 | 10:
                    rig.serve(rng.randrange(1, 4))
                case _ if rng.random() < 0.3:
                    rig.link.abort("it broke")
                    rig.connect()
                    await rig.begin()
        await rig.pump()
        assert rig.heard == wanted == set(rig.subscriptions.wanted), seed
        assert not waiters
        rig.link.abort("the end")


@on_loops("asyncio")
async def test_many_channels_go_in_several_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "AT_ONCE", 100)
    rig = Rig()
    for number in range(2500):
        assert rig.subscriptions.subscribe(number % 256, b"c%d" % number) is None
    await rig.begin()
    assert len(rig.heard) == 2500
    assert {len(words) - 1 for words in rig.commands if words[0] == b"SUBSCRIBE"} == {100}
    waiters = [rig.subscriptions.subscribe(0, b"d%d" % number) for number in range(250)]
    for number in range(2500):
        rig.subscriptions.unsubscribe(b"c%d" % number)
    await rig.pump()
    assert all(isinstance(waiter, asyncio.Future) and waiter.done() for waiter in waiters)
    assert rig.heard == {b"d%d" % number for number in range(250)}
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_a_refusal_reaches_those_who_waited_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    await rig.begin()
    rig.refuse[b"a"] = b"-NOPERM no access to this channel\r\n"
    refused = rig.subscriptions.subscribe(0, b"a")
    await asyncio.sleep(0)
    granted = rig.subscriptions.subscribe(0, b"b")
    await rig.pump()
    assert isinstance(refused, asyncio.Future)
    assert isinstance(refused.exception(), ReplyError)
    assert isinstance(granted, asyncio.Future)
    assert granted.exception() is None
    assert (rig.heard, dict(rig.subscriptions.wanted)) == ({b"b"}, {b"b": 0})
    assert "NOPERM" in caplog.text
    rig.subscriptions.unsubscribe(b"a")
    del rig.refuse[b"a"]
    rig.subscriptions.subscribe(0, b"a")
    await rig.pump()
    assert rig.heard == {b"a", b"b"}

    rig.refuse[b"a"] = b"-NOPERM no access to this channel\r\n"
    rig.link.abort("it broke")
    rig.connect()
    with pytest.raises(ReplyError):
        await rig.begin()
    rig.link.abort("of no use")
    del rig.refuse[b"a"]
    rig.connect()
    await rig.begin()
    assert rig.heard == {b"a", b"b"}
    rig.link.abort("the end")


@pytest.mark.parametrize("is_sharded", [False, True])
@on_loops("asyncio")
async def test_who_comes_with_one_that_is_refused_is_not_refused(is_sharded: bool) -> None:
    rig = Rig(is_sharded=is_sharded)
    await rig.begin()
    bad = {b"c3", b"c4", b"c17", b"c99"}
    rig.refuse = dict.fromkeys(bad, b"-NOPERM no access to this channel\r\n")
    waiters = {b"c%d" % number: rig.subscriptions.subscribe(7, b"c%d" % number) for number in range(100)}
    again = rig.subscriptions.subscribe(7, b"c5")
    for _ in range(10):
        await rig.pump()
    for channel, waiter in waiters.items():
        assert isinstance(waiter, asyncio.Future)
        assert waiter.done()
        assert isinstance(waiter.exception(), ReplyError) is (channel in bad)
    assert isinstance(again, asyncio.Future)
    assert again.exception() is None
    assert rig.heard == set(rig.subscriptions.wanted) == waiters.keys() - bad
    assert sum(words[0] != b"PING" for words in rig.commands) < 60
    assert rig.moved == []
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_what_changes_while_a_refusal_is_looked_into() -> None:
    rig = Rig()
    await rig.begin()
    rig.refuse[b"a"] = b"-NOPERM no access to this channel\r\n"
    waiters = [rig.subscriptions.subscribe(7, channel) for channel in (b"a", b"b", b"c", b"d")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rig.subscriptions.unsubscribe(b"c")
    rig.subscriptions.unsubscribe(b"d")
    late = rig.subscriptions.subscribe(7, b"d")
    for _ in range(5):
        await rig.pump()
    assert [isinstance(waiter, asyncio.Future) and waiter.done() for waiter in waiters] == [True] * 4
    assert isinstance(late, asyncio.Future)
    assert late.exception() is None
    assert rig.heard == set(rig.subscriptions.wanted) == {b"b", b"d"}
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_a_server_that_does_not_keep_up_is_not_asked_in_parts() -> None:
    rig = Rig(tuning=Tuning(most_unanswered=3))
    await rig.begin()
    rig.refuse[b"a"] = b"-NOPERM no access to this channel\r\n"
    waiters = [rig.subscriptions.subscribe(7, channel) for channel in (b"a", b"b")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for _ in range(2):
        rig.link.send(None, "PING")
    rig.serve(2)  # now there is room for one part
    await rig.pump()
    for waiter in waiters:
        assert isinstance(waiter, asyncio.Future)
        assert isinstance(waiter.exception(), ReplyError)
    assert dict(rig.subscriptions.wanted) == {}
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_a_refusal_is_in_the_log_once_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    await rig.begin()
    rig.refuse[b"a"] = b"-NOPERM no access to this channel\r\n"
    for _ in range(3):
        rig.subscriptions.subscribe(7, b"a")
        await rig.pump()
    assert caplog.text.count("NOPERM") == 1
    rig.link.abort("it broke")
    rig.subscriptions.subscribe(7, b"a")
    for _ in range(3):
        rig.connect()
        with pytest.raises(ReplyError):
            await rig.begin()
        rig.link.abort("of no use")
    assert caplog.text.count("NOPERM") == 1
    del rig.refuse[b"a"]
    rig.connect()
    await rig.begin()
    rig.refuse[b"b"] = b"-NOPERM no access to this channel\r\n"
    rig.subscriptions.subscribe(7, b"b")
    await rig.pump()
    assert caplog.text.count("NOPERM") == 2, "it was all right meanwhile"
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_a_refusal_of_what_was_promised_costs_a_cluster_one_partition() -> None:
    rig = Rig(is_sharded=True)
    await rig.begin()
    for partition, channel in ((7, b"a"), (7, b"b"), (8, b"c")):
        rig.subscriptions.subscribe(partition, channel)
    await rig.pump()
    rig.link.abort("it broke")
    rig.refuse[b"a"] = b"-NOPERM no access to this channel\r\n"
    rig.connect()
    await rig.begin()
    assert rig.moved == [{b"a": 7, b"b": 7}]
    assert rig.heard == set(rig.subscriptions.wanted) == {b"c"}
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_without_a_link_it_answers_at_once() -> None:
    rig = Rig()
    assert rig.subscriptions.subscribe(0, b"a") is None
    await rig.begin()
    pending = rig.subscriptions.subscribe(0, b"b")
    await asyncio.sleep(0)
    unsaid = rig.subscriptions.subscribe(0, b"c")
    rig.link.abort("it broke")
    assert isinstance(pending, asyncio.Future)
    assert isinstance(unsaid, asyncio.Future)
    assert await pending is None
    assert await unsaid is None
    assert rig.subscriptions.subscribe(0, b"d") is None
    with pytest.raises(AwayError):
        await rig.subscriptions.begin(rig.link)
    rig.connect()
    beginning = asyncio.create_task(rig.subscriptions.begin(rig.link))
    while len(rig.commands) < 4:
        await asyncio.sleep(0)
        rig.serve(1)
    assert rig.subscriptions.subscribe(0, b"e") is None
    rig.subscriptions.unsubscribe(b"a")
    while not beginning.done():
        await asyncio.sleep(0)
        rig.serve(1)
    assert rig.heard == {b"b", b"c", b"d", b"e"}
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_a_link_that_breaks_while_it_begins() -> None:
    rig = Rig()
    rig.subscriptions.subscribe(0, b"a")
    beginning = asyncio.create_task(rig.subscriptions.begin(rig.link))
    while len(rig.commands) < 2:
        await asyncio.sleep(0)
        rig.serve(1)
    rig.link.abort("it broke")
    with pytest.raises(AwayError, match="it broke"):
        await beginning
    assert rig.subscriptions.subscribe(0, b"b") is None


@on_loops("asyncio")
async def test_a_server_that_does_not_keep_up_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_LATER_S", 0.001)
    rig = Rig(tuning=Tuning(most_unanswered=5))
    await rig.begin()
    for _ in range(5):
        rig.link.send(None, "PING")
    waiter = rig.subscriptions.subscribe(0, b"a")
    gone = rig.subscriptions.subscribe(0, b"b")
    await asyncio.sleep(0.01)
    rig.subscriptions.unsubscribe(b"b")
    assert isinstance(waiter, asyncio.Future)
    assert isinstance(gone, asyncio.Future)
    assert not waiter.done()
    rig.serve()
    while not (waiter.done() and gone.done()):
        await asyncio.sleep(0.001)
        rig.serve()
    assert rig.heard == {b"a"}
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_shards() -> None:
    rig = Rig(is_sharded=True)
    await rig.begin()
    for number in range(6):
        rig.subscriptions.subscribe(number % 2, b"c%d" % number)
    await rig.pump()
    assert rig.commands[1:] == [
        [b"SSUBSCRIBE", b"c0", b"c2", b"c4"],
        [b"PING"],
        [b"SSUBSCRIBE", b"c1", b"c3", b"c5"],
        [b"PING"],
    ]
    rig.subscriptions.unsubscribe(b"c0")
    rig.subscriptions.unsubscribe(b"c1")
    await rig.pump()
    assert rig.commands[5:] == [[b"SUNSUBSCRIBE", b"c0"], [b"PING"], [b"SUNSUBSCRIBE", b"c1"], [b"PING"]]
    assert rig.moved == []

    # A slot goes to another server, which this one says by itself.
    rig.link.data_received(b">3\r\n$12\r\nsunsubscribe\r\n$2\r\nc2\r\n:1\r\n")
    rig.link.data_received(b">3\r\n$12\r\nsunsubscribe\r\n$2\r\nxx\r\n:1\r\n")
    rig.link.data_received(b">2\r\n$12\r\nsunsubscribe\r\n:5\r\n>1\r\n$12\r\nsunsubscribe\r\n")
    assert rig.moved == [{b"c2": 0}]

    # Or when it is told of a channel.
    rig.refuse[b"c6"] = rig.refuse[b"c4"] = b"-MOVED 5 127.0.0.1:7001\r\n"
    waiter = rig.subscriptions.subscribe(0, b"c6")
    await rig.pump()
    assert isinstance(waiter, asyncio.Future)
    assert isinstance(waiter.exception(), MovedError)
    assert rig.moved[1:] == [{b"c6": 0}]
    assert set(rig.subscriptions.wanted) == {b"c3", b"c4", b"c5"}
    rig.link.abort("it broke")
    rig.connect()
    await rig.begin()
    assert rig.moved[2:] == [{b"c4": 0}]
    assert rig.heard == {b"c3", b"c5"}

    # One that was just unsubscribed from is not.
    rig.subscriptions.unsubscribe(b"c3")
    await rig.pump()
    rig.subscriptions.subscribe(1, b"c3")
    await rig.pump()
    assert len(rig.moved) == 3
    rig.link.abort("the end")
    with pytest.raises(EngineError):
        rig.link.send(None, "PING")


@pytest.mark.parametrize("is_new", [True, False])
@on_loops("asyncio")
async def test_a_slot_that_moves_between_a_channel_and_the_ping_behind_it(is_new: bool) -> None:
    rig = Rig(is_sharded=True)
    await rig.begin()
    if not is_new:  # what we have unsubscribed from ourselves is confirmed in the same way
        rig.subscriptions.subscribe(7, b"a")
        await rig.pump()
        rig.subscriptions.unsubscribe(b"a")
        await asyncio.sleep(0)
    waiter = rig.subscriptions.subscribe(7, b"a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rig.serve(1 if is_new else 3)
    rig.link.data_received(b">3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:0\r\n")
    rig.serve()
    assert isinstance(waiter, asyncio.Future)
    assert waiter.done()
    assert rig.moved == [{b"a": 7}]
    assert set(rig.subscriptions.wanted) == set()
    rig.link.abort("the end")


@on_loops("asyncio")
async def test_a_slot_that_nobody_has_for_a_moment() -> None:
    """Its channels are not forgotten: they are subscribed to when it has an owner again."""
    rig = Rig(is_sharded=True)
    await rig.begin()
    rig.refuse[b"a"] = b"-CLUSTERDOWN Hash slot not served\r\n"
    waiter = rig.subscriptions.subscribe(7, b"a")
    await rig.pump()
    assert isinstance(waiter, asyncio.Future)
    assert isinstance(waiter.exception(), ReplyError)
    assert rig.moved == [{b"a": 7}]
    rig.link.abort("it broke")
    rig.subscriptions.subscribe(7, b"a")
    rig.subscriptions.subscribe(8, b"b")
    rig.connect()
    await rig.begin()
    assert rig.moved[1:] == [{b"a": 7}]
    assert rig.heard == {b"b"}
    rig.link.abort("the end")
