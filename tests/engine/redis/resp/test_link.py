"""A link: order, pushes, limits, and that it notices by itself when the other side is of no use any more."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import time
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.engine.redis.resp.errors import AwayError, BusyError, ReplyError
from fastws.engine.redis.resp.link import DEFAULT_TUNING, Link, LinkOwner, Tuning, pack
from fastws.engine.redis.resp.opening import open_link
from tests.engine.redis.loops import on_loops
from tests.engine.redis.resp.fakes import FakeServer, Nowhere, Recorder, link_to_nothing, politely
from tests.support.waiting import Stopwatch

QUICK = Tuning(connect_s=2.0, idle_s=0.05, silence_s=0.2, answer_s=0.6)

ANSWERS: list[tuple[bytes, Any]] = [
    (b"+OK\r\n", b"OK"),
    (b":-12\r\n", -12),
    (b"$5\r\nhe\r\no\r\n", b"he\r\no"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"_\r\n", None),
    (b"#t\r\n", True),
    (b",1.5\r\n", 1.5),
    (b"*0\r\n", []),
    (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", [b"a", [1]]),
    (b"%1\r\n$1\r\na\r\n:1\r\n", {b"a": 1}),
    (b"~1\r\n:1\r\n", [1]),
    (b"=7\r\ntxt:abc\r\n", b"abc"),
    (b"-ERR no\r\n", "ERR no"),
]
PUSHES: list[tuple[bytes, Any]] = [
    (b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\nabc\r\n", (b"c", b"abc")),
    (b">3\r\n$8\r\nsmessage\r\n$1\r\nd\r\n$0\r\n\r\n", (b"d", b"")),
    (b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", [b"subscribe", b"c", 1]),
    (b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", [b"invalidate", [b"k"]]),
]


class Quiet(LinkOwner):
    """Wants to know nothing."""

    def on_message(self, channel: bytes, payload: bytes) -> None: ...

    def on_push(self, kind: bytes, push: list[Any]) -> None: ...

    def on_lost(self, link: Link, reason: str) -> None: ...


def outcome(future: asyncio.Future[Any]) -> Any:
    """An answer, or the text of a refusal."""
    error = future.exception()
    return error.text if isinstance(error, ReplyError) else future.result()


@on_loops("asyncio")
async def test_a_stream_cut_at_every_byte_says_the_same() -> None:
    said = [*PUSHES[:2], *ANSWERS, *PUSHES, ANSWERS[0]]
    stream = b"".join(data for data, _ in said)
    for cut in range(len(stream) + 1):
        hear(said, [stream[:cut], stream[cut:]])
    hear(said, [stream[at : at + 1] for at in range(len(stream))])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(ANSWERS + PUSHES), max_size=40), st.integers(0, 2**32), st.booleans())
def test_any_stream_in_any_pieces_says_the_same(said: list[tuple[bytes, Any]], seed: int, hears: bool) -> None:
    rng = random.Random(seed)
    stream = b"".join(data for data, _ in said)
    cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def main() -> None:
        hear(said, pieces, hears=hears)

    asyncio.run(main())


def hear(said: list[tuple[bytes, Any]], pieces: list[bytes], *, hears: bool = False) -> None:
    """Let a link read the pieces; it has to say what was said."""
    owner = Recorder()
    link, _ = link_to_nothing(owner, hears=hears)
    answers = [expected for data, expected in said if (data, expected) in ANSWERS]
    futures = [link.ask("GET", number) for number in range(len(answers))]
    for piece in pieces:
        link.data_received(piece)
    assert [outcome(future) for future in futures] == answers
    pushed = [expected for data, expected in said if (data, expected) in PUSHES]
    assert owner.messages == [one for one in pushed if isinstance(one, tuple)]
    assert owner.pushes == [one for one in pushed if isinstance(one, list)]
    assert link.is_open
    link.abort("the end")


@on_loops("asyncio")
async def test_lists_of_resp2_are_pushes_where_channels_are_heard() -> None:
    owner = Recorder()
    link, _ = link_to_nothing(owner, hears=True)
    pong, other = link.ask("PING"), link.ask("GET", "a")
    link.data_received(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n")
    link.data_received(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*0\r\n")
    assert (pong.result(), other.result()) == ([b"pong", b""], [])
    assert (owner.messages, owner.pushes) == ([(b"c", b"x")], [[b"subscribe", b"c", 1]])
    link.abort("the end")


@pytest.mark.parametrize(
    "said",
    [
        b"?what\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*-7\r\n",
        b"*4294967295\r\n",
        b":9999999999999999999999\r\n",
        b"%1\r\n*0\r\n:1\r\n",
        b"$-7\r\n",
        b"!3\r\nERR\r\n",
        b">0\r\n",
        b">1\r\n$7\r\nmessage\r\n",
        b">3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
        b">2\r\n:1\r\n:2\r\n",
        b"+OK\r\n+OK\r\n",
        bytes(range(256)),
    ],
)
@on_loops("asyncio")
async def test_nonsense_ends_the_link(said: bytes) -> None:
    owner = Recorder()
    link, transport = link_to_nothing(owner)
    answer = link.ask("PING")
    link.data_received(said)
    assert not link.is_open
    assert transport.is_aborted
    assert len(owner.reasons) == 1
    assert owner.reasons[0].isprintable()
    assert answer.done()
    link.data_received(b"+more\r\n")  # and that is the end of it
    link.connection_lost(None)
    assert len(owner.reasons) == 1


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.booleans())
def test_whatever_a_server_says_the_process_lives(said: bytes, hears: bool) -> None:
    async def main() -> None:
        link, _ = link_to_nothing(Recorder(), hears=hears)
        for _ in range(3):
            link.send(None, "PING")
        link.data_received(said)
        link.abort("the end")

    asyncio.run(main())


@on_loops()
async def test_commands_of_one_pass_go_out_in_one_piece_and_are_answered_in_order() -> None:
    owner = Recorder()
    async with FakeServer(lambda words: b"$%d\r\n%b\r\n" % (len(words[-1]), words[-1])) as server:
        link = Link(DEFAULT_TUNING, hears=False)
        await asyncio.get_running_loop().create_connection(lambda: link, server.address.host, server.address.port)
        link.own(owner)
        futures = [link.ask("ECHO", number) for number in range(1000)]
        link.send(None, "ECHO", "nobody wants it")
        given_up = link.ask("ECHO", "given up")
        given_up.cancel()
        last = link.ask("ECHO", b"\x00\xff\r\n", 1.5, "ü")
        assert await last == "ü".encode()
        assert [future.result() for future in futures] == [b"%d" % number for number in range(1000)]
        assert link.unanswered == 0
        assert [b"ECHO", b"\x00\xff\r\n", b"1.5", "ü".encode()] == server.commands[-1]
        await link.close()
    assert owner.reasons == []
    with pytest.raises(AwayError, match="it was closed"):
        link.send(None, "PING")


@on_loops("asyncio")
async def test_what_waits_for_the_network_is_bounded() -> None:
    link, transport = link_to_nothing(Recorder(), Tuning(most_unsent=10_000))
    word = b"x" * 900
    for _ in range(10):
        link.send(None, "SET", "k", word)
    with pytest.raises(BusyError, match="keep up"):
        link.send(None, "SET", "k", word)
    assert link.unanswered == 10
    link.abort("the end")

    link, transport = link_to_nothing(Recorder(), Tuning(most_unsent=10_000))
    link.pause_writing()
    for _ in range(10):
        link.send(None, "SET", "k", word)
        await asyncio.sleep(0)
    with pytest.raises(BusyError):
        link.send(None, "SET", "k", word)
    assert 9_000 < len(transport.written) <= 10_000
    del transport.written[:]  # the network took it
    link.send(None, "SET", "k", word)
    link.abort("the end")


@on_loops("asyncio")
async def test_what_is_unanswered_is_bounded() -> None:
    link, _ = link_to_nothing(Recorder(), Tuning(most_unanswered=100))
    futures = [link.ask("PING") for _ in range(100)]
    with pytest.raises(BusyError):
        link.ask("PING")
    link.data_received(b"+PONG\r\n")
    futures.append(link.ask("PING"))
    link.abort("the end")
    assert futures.pop(0).result() == b"PONG"
    assert all(isinstance(future.exception(), AwayError) for future in futures)


@on_loops("asyncio")
async def test_what_is_lost_fails_a_part_at_a_time() -> None:
    owner = Recorder()
    link, _ = link_to_nothing(owner)
    futures = [link.ask("PING") for _ in range(9000)]
    link.abort("the end")
    assert owner.reasons == ["the end"]
    assert 0 < sum(future.done() for future in futures) < 9000
    for _ in range(6):
        await asyncio.sleep(0)
    assert all(isinstance(future.exception(), AwayError) for future in futures)

    link, _ = link_to_nothing(owner)
    futures = [link.ask("PING") for _ in range(9000)]
    await link.close()
    assert all(isinstance(future.exception(), AwayError) for future in futures)


@pytest.mark.parametrize("said", [b"$100000\r\n" + b"x" * 99_000, b"*9000\r\n" + b"$8\r\nabcdefgh\r\n" * 8000])
@on_loops("asyncio")
async def test_an_answer_has_a_largest_size(said: bytes) -> None:
    owner = Recorder()
    link, _ = link_to_nothing(owner, Tuning(largest_answer=50_000))
    for _ in range(100):
        link.send(None, "GET", "k")
        link.data_received(b"$4000\r\n" + b"x" * 4000 + b"\r\n")
    link.send(None, "GET", "k")
    for at in range(0, len(said), 5000):
        link.data_received(said[at : at + 5000])
    assert owner.reasons == ["it sent an answer that is larger than one may be"]


HOSTILE = {
    "a huge list": (b"*4294967295\r\n", b""),
    "a huge push": (b">4294967295\r\n", b""),
    "a huge map": (b"%2147483647\r\n", b""),
    "a huge string": (b"$999999999999\r\n", b"x"),
    "empty lists": (b"*200000\r\n", b"*0\r\n"),
    "lists of lists": (b"*190000\r\n", b"*1\r\n*1\r\n*1\r\n:1\r\n"),
    "errors": (b"*200000\r\n", b"-E\r\n"),
    "maps": (b"*100000\r\n", b"%1\r\n:1\r\n*0\r\n"),
    "numbers": (b"*4000000\r\n", b":1234567890123456789\r\n"),
    "depth": (b"", b"*1\r\n"),
    "width": (b"", b"*3\r\n:1\r\n"),
    "a line": (b"+", b"x"),
    "a length": (b"$", b"0"),
    "strings": (b"*100000\r\n", b"$200\r\n" + b"x" * 200 + b"\r\n"),
    "an attribute": (b"|1\r\n+a\r\n+b\r\n", b"+c\r\n"),
}
FEEDING = """
import asyncio, resource, sys
from fastws.engine.redis.resp.link import Tuning
from tests.engine.redis.resp.fakes import Recorder, link_to_nothing
from tests.engine.redis.resp.test_link import HOSTILE

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

async def main():
    for name, (begin, element) in HOSTILE.items():
        owner, before, given = Recorder(), peak(), 0
        link, transport = link_to_nothing(owner, Tuning(largest_answer=16 << 20))
        link.send(None, "GET", "k")
        link.data_received(begin)
        more = element * (65536 // len(element)) if element else b""
        while more and link.is_open and given < 200 << 20:
            link.data_received(more)
            given += len(more)
            while not transport.reads and link.is_open:
                await asyncio.sleep(0)
        del link
        print(name, given >> 20, peak() - before, *owner.reasons, sep=";")

asyncio.run(main())
"""


def test_what_a_hostile_server_sends_takes_no_more_memory_than_an_answer_may() -> None:
    """In a process of its own: how much memory it has taken is known of whole processes."""
    ran = subprocess.run([sys.executable, "-c", FEEDING], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    told = [line.split(";") for line in ran.stdout.splitlines()]
    assert [name for name, *_ in told] == list(HOSTILE)
    for name, given_mib, taken_mib, *reasons in told:
        assert len(reasons) == 1, f"{name}: it was not ended, after {given_mib} MiB"
        assert any(each in reasons[0] for each in ("it sent", "protocol", "nobody asked")), "as large as one may be"
        assert int(taken_mib) < 60, f"{name}: {taken_mib} MiB, of 16 that an answer may have"


@pytest.mark.parametrize("said", [b">4294967295\r\n", b"*1\r\n" * 20, b"|1\r\n+a\r\n+b\r\n+OK\r\n"])
@on_loops()
async def test_a_hostile_server_is_left_before_anything_was_said(said: bytes) -> None:
    async with FakeServer(lambda words: said) as server:
        with pytest.raises(AwayError, match="it sent"):
            await open_link(server.address, None, DEFAULT_TUNING, name="a-test")


@on_loops("asyncio")
async def test_what_came_before_something_wrong_is_handed_over() -> None:
    owner = Recorder()
    link, _ = link_to_nothing(owner)
    futures = [link.ask("GET", "k") for _ in range(3000)]
    link.data_received(b"$20\r\n" + b"x" * 20 + b"\r\n" + b":1\r\n" * 2998 + b"$999999999999\r\nabc")
    while not owner.reasons:
        await asyncio.sleep(0)
    assert owner.reasons == ["it sent an answer that is larger than one may be"]
    assert [future.result() for future in futures[:2999]] == [b"x" * 20] + [1] * 2998
    assert isinstance(futures[2999].exception(), AwayError)


@on_loops("asyncio")
async def test_a_flood_is_taken_in_turns() -> None:
    class Slow(Recorder):
        def on_message(self, channel: bytes, payload: bytes) -> None:
            super().on_message(channel, payload)
            time.sleep(0.00002)

    owner = Slow()
    link, transport = link_to_nothing(owner, hears=True)
    flood = PUSHES[0][0] * 5000
    link.data_received(flood)
    assert len(owner.messages) < 1000
    assert not transport.reads
    link.data_received(PUSHES[1][0])  # TLS may have had some more
    turns = 0
    while len(owner.messages) <= 5000:
        turns += 1
        await asyncio.sleep(0)
    assert turns > 3
    assert owner.messages[-1] == (b"d", b"")
    assert transport.reads
    link.abort("the end")


@on_loops("asyncio")
async def test_an_owner_that_raises_does_not_stop_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Recorder):
        def on_message(self, channel: bytes, payload: bytes) -> None:
            super().on_message(channel, payload)
            raise ValueError("a fault of ours")

    owner = Faulty()
    link, _ = link_to_nothing(owner)
    link.data_received(PUSHES[0][0] * 3)
    assert len(owner.messages) == 3
    assert link.is_open
    assert "a fault of ours" in caplog.text
    link.abort("the end")


@on_loops("asyncio")
async def test_a_taker_that_raises_does_not_stop_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty:
        def take(self, answer: object) -> None:
            raise ValueError("a fault of ours")

        def lose(self, error: AwayError) -> None: ...

    link, _ = link_to_nothing(Recorder())
    link.send(Faulty(), "PING")
    answer = link.ask("PING")
    link.data_received(b"+PONG\r\n+PONG\r\n")
    assert answer.result() == b"PONG"
    assert "a fault of ours" in caplog.text
    link.abort("the end")


@pytest.mark.parametrize("error", [b"-READONLY You can't write", b"-LOADING wait", b"-MASTERDOWN link is down"])
@on_loops("asyncio")
async def test_who_is_no_master_is_left(error: bytes) -> None:
    owner = Recorder()
    link, _ = link_to_nothing(owner)
    refused, unanswered = link.ask("SET", "a", "b"), link.ask("SET", "a", "c")
    link.data_received(error + b"\r\n")
    assert isinstance(refused.exception(), ReplyError)
    assert isinstance(unanswered.exception(), AwayError)
    assert "no master" in owner.reasons[0]


@on_loops()
async def test_an_idle_link_is_pinged_and_stays() -> None:
    async with FakeServer() as server:
        link = await open_link(server.address, None, QUICK, name="test")
        while [b"PING"] not in server.commands[-3:] or len(server.commands) < 6:
            await asyncio.sleep(0.01)
        assert link.is_open
        await link.close()


@on_loops()
async def test_a_server_that_says_nothing_is_left() -> None:
    owner = Recorder()
    async with FakeServer() as server:
        link = await open_link(server.address, None, QUICK, name="test")
        link.own(owner)
        server.answer = lambda words: None
        watch = Stopwatch()
        await owner.until(lambda: owner.reasons)
        assert watch.s >= 0.2
        assert watch.own_s < 10.0
    assert owner.reasons == ["it has said nothing for 0.2 s"]
    assert not link.is_open


@on_loops()
async def test_a_server_that_talks_and_does_not_answer_is_left() -> None:
    owner = Recorder()
    async with FakeServer() as server:
        link = await open_link(server.address, None, QUICK, name="test", hears=True)
        link.own(owner)
        server.answer = lambda words: None
        answer = link.ask("PING")
        while not owner.reasons:
            server.say(PUSHES[0][0])
            await asyncio.sleep(0.01)
        assert owner.reasons == ["it has not answered for 0.6 s"]
        assert isinstance(answer.exception(), AwayError)


@on_loops()
async def test_a_server_that_hangs_up_is_noticed() -> None:
    owner = Recorder()
    async with FakeServer() as server:
        link = await open_link(server.address, None, DEFAULT_TUNING, name="test")
        link.own(owner)
        server.answer = lambda words: None
        answer = link.ask("GET", "a")
        server.writers[0].close()
        with pytest.raises(AwayError, match=r"closed the connection|broke"):
            await answer
        assert len(owner.reasons) == 1
        with pytest.raises(AwayError):
            link.own(owner)


@on_loops()
async def test_closing_waits_for_answers_and_not_for_ever() -> None:
    owner = Recorder()
    async with FakeServer() as server:
        link = await open_link(server.address, None, DEFAULT_TUNING, name="test")
        link.own(owner)
        answers = [link.ask("SET", number, "x") for number in range(100)]
        await link.close(5.0)
        assert [answer.result() for answer in answers] == [b"OK"] * 100

        link = await open_link(server.address, None, DEFAULT_TUNING, name="test")
        link.own(owner)
        server.answer = lambda words: None
        answer = link.ask("GET", "a")
        watch = Stopwatch()
        await link.close(0.05)
        assert watch.own_s < 10.0
        assert isinstance(answer.exception(), AwayError)
    assert owner.reasons == []


@on_loops()
async def test_closing_that_is_given_up_closes_all_the_same() -> None:
    async with FakeServer() as server:
        link = await open_link(server.address, None, DEFAULT_TUNING, name="test")
        server.answer = lambda words: None
        answer = link.ask("GET", "a")
        closing = asyncio.create_task(link.close(30.0))
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert isinstance(answer.exception(), AwayError)
        assert not link.is_open


@on_loops("asyncio")
async def test_a_connection_that_comes_when_it_was_given_up_is_closed() -> None:
    link, transport = Link(DEFAULT_TUNING, hears=False), Nowhere()
    link.abort("it was given up")
    link.connection_made(transport)
    assert transport.is_aborted
    assert not link.is_open


@on_loops("asyncio")
async def test_nothing_is_left_of_a_link() -> None:
    """Neither in a cycle nor in the loop: it is gone at once, without the collector."""
    link, transport = link_to_nothing(Recorder())
    futures = [link.ask("PING") for _ in range(10)]
    link.data_received(b"+PONG\r\n*3\r\n")
    gone = weakref.ref(link)
    gc.collect()
    gc.disable()
    try:
        link.abort("the end")
        link.connection_lost(None)
        await asyncio.sleep(0)
        del link, transport, futures
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()


STOPPED = """
import asyncio, sys, uvloop
from fastws.engine.redis.resp.link import Tuning
from fastws.engine.redis.resp.opening import open_link
from tests.engine.redis.resp.fakes import FakeServer

async def main():
    async with FakeServer() as server:
        link = await open_link(server.address, None, Tuning(2.0, 0.2, 0.4, 0.6), name="test")
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        for _ in range(20):
            await asyncio.sleep(0.01)
        print("open" if link.is_open else link.reason, flush=True)
        await link.close()

uvloop.run(main())
"""


def test_who_was_stopped_itself_does_not_blame_the_server() -> None:
    """Seconds in which this process stood still are no silence of the server's."""
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        time.sleep(1.0)
        process.send_signal(signal.SIGCONT)
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.stdout.readline() == "open\n"


@on_loops("asyncio")
async def test_a_command_is_packed_as_bytes() -> None:
    assert pack("SET", b"k", 1, 2.5, "ü") == b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n1\r\n$3\r\n2.5\r\n$2\r\n\xc3\xbc\r\n"
    link, transport = link_to_nothing(Recorder())
    assert isinstance(transport, Nowhere)
    assert repr(link) == "<Link open, 0 unanswered>"
    link.abort("the end")
    assert "the end" in repr(link)
    assert politely([b"SELECT", b"1"]) == b"+OK\r\n"
