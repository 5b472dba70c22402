"""What a Redis server says: the link lives or ends, in any pieces the same, and as a simple reader has it.

Input: a byte of options (1: the link hears channels, so that lists of RESP2 may be pushes; the four bits above: how
many commands are unanswered), a byte that says where the stream is cut, then the stream.

Aggregates that are announced with ten million elements and more are left out: hiredis makes room for them at once.
"""

import asyncio
import random
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from fastws.engine.redis.resp.errors import MovedError, ReplyError
from fastws.engine.redis.resp.link import DEFAULT_TUNING, Link
from tests.engine.redis.resp.fakes import Recorder, link_to_nothing

MAX_BYTES = 2_000
WORDS = (
    *(
        b"\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",1.5\r\n",
        b"(12345\r\n",
        b"$0\r\n\r\n",
    ),
    *(
        b"*2\r\n",
        b">3\r\n",
        b"%1\r\n",
        b"~1\r\n",
        b"|1\r\n",
        b"$5\r\nhello\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"!5\r\nERR x\r\n",
    ),
    *(b"$7\r\nmessage\r\n", b"$8\r\nsmessage\r\n", b"$9\r\nsubscribe\r\n", b"$12\r\nsunsubscribe\r\n", b"$1\r\nc\r\n"),
    *(
        b"-ERR no\r\n",
        b"-MOVED 5 127.0.0.1:7001\r\n",
        b"-ASK 16384 ::1:7\r\n",
        b"-LOADING wait\r\n",
        b"-OOM \xff\x00\r\n",
    ),
    *(b"*1\r\n" * 9, b"$3\r\n\r\n\r\r\n", b"\x00", b"\xff", b"\r", b"\n", b"-", b"9999", b"HTTP/1.1 400 Bad\r\n"),
)
_TOO_MANY = re.compile(rb"[*>~%|]\+?0*[1-9][0-9]{7,}")
_LINE = re.compile(rb"[^\r\n]*\r\n")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,15})\r\n")
_SIZE = re.compile(rb"(?:0|[1-9][0-9]{0,5})\r\n")
_CHANNELS = (b"message", b"smessage")
_PUSHES = (*_CHANNELS, b"subscribe", b"unsubscribe", b"ssubscribe", b"sunsubscribe")

Transcript = list[Any]


class _Listener(Recorder):
    """Writes down everything in the order in which it came."""

    def __init__(self, transcript: Transcript) -> None:
        super().__init__()
        self.transcript = transcript

    def on_message(self, channel: bytes, payload: bytes) -> None:
        assert type(channel) is type(payload) is bytes
        self.transcript.append(("message", channel, payload))

    def on_push(self, kind: bytes, push: list[Any]) -> None:
        assert type(kind) is bytes
        self.transcript.append(("push", push))

    def on_lost(self, link: Link, reason: str) -> None:
        assert reason.isprintable()
        assert len(reason) < 400
        self.transcript.append(("end", reason))


class _Asker:
    """Waits for an answer."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript

    def take(self, answer: object) -> None:
        if isinstance(answer, ReplyError):
            assert answer.text.isprintable()
            assert len(answer.text) < 210
            if isinstance(answer, MovedError):
                assert 0 <= answer.slot < 16384
                assert 0 <= answer.port < 65536
            answer = ("refused", answer.code)
        self.transcript.append(("answer", answer))

    def lose(self, error: Exception) -> None:
        self.transcript.append(("lost",))


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def run(data: bytes) -> None:
    """Let a link read it in one piece, in pieces, and byte by byte; then a simple reader."""
    options, cut, stream = data[:1] or b"\0", data[1:2] or b"\0", data[2:]
    if _TOO_MANY.search(stream):
        return
    rng = random.Random(cut[0])
    hears, unanswered = bool(options[0] & 1), options[0] >> 1 & 15
    cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(1, 6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    runner = _runner()
    whole = runner.run(_heard([stream], hears, unanswered))
    for cuts_of in (pieces, [stream[at : at + 1] for at in range(len(stream))]):
        again = runner.run(_heard(cuts_of, hears, unanswered))
        assert repr(again) == repr(whole), "cut differently it says something else"  # a NaN is not itself
    for number, (theirs, ours) in enumerate(zip(_read(stream, hears, unanswered), whole, strict=False)):
        assert theirs == ours, f"event {number}"


async def _heard(pieces: list[bytes], hears: bool, unanswered: int) -> Transcript:
    transcript: Transcript = []
    link, transport = link_to_nothing(_Listener(transcript), DEFAULT_TUNING, hears=hears)
    for _ in range(unanswered):
        link.send(_Asker(transcript), "PING")
    for piece in pieces:
        link.data_received(piece)
        while not transport.reads and link.is_open:
            await asyncio.sleep(0)
    assert link.is_open or transcript[-unanswered:] or not unanswered
    link.abort("there is no more")
    assert transport.is_aborted
    ends = [event for event in transcript if event[0] == "end"]
    assert len(ends) == 1
    assert sum(event[0] in ("answer", "lost") for event in transcript) == unanswered
    return transcript


def _read(stream: bytes, hears: bool, unanswered: int) -> Iterator[tuple[Any, ...]]:
    """The events in the part of the stream that is simple, up to the first thing that is not."""
    at = 0
    while True:
        try:
            is_push = stream[at : at + 1] == b">"
            value, at = _value(stream, at)
        except ValueError:
            return
        is_push = is_push or (hears and type(value) is list and value[:1] != [] and value[0] in _PUSHES)
        if is_push:
            if not value or type(value[0]) is not bytes:
                return
            if value[0] in _CHANNELS:
                if len(value) != 3 or not type(value[1]) is type(value[2]) is bytes:
                    return
                yield ("message", value[1], value[2])
            else:
                yield ("push", value)
        elif unanswered:
            unanswered -= 1
            yield ("answer", value)
        else:
            return


def _value(stream: bytes, at: int) -> tuple[Any, int]:
    """A value and where the next one begins. `ValueError` if it is incomplete or not simple."""
    kind = stream[at : at + 1]
    at += 1
    if kind == b"+":
        line = _match(_LINE, stream, at)
        return line[:-2], at + len(line)
    if kind == b":":
        line = _match(_NUMBER, stream, at)
        if line == b"-0\r\n":
            raise ValueError
        return int(line), at + len(line)
    if kind == b"_":
        return None, at + len(_match(re.compile(rb"\r\n"), stream, at))
    if kind == b"$":
        line = _match(_SIZE, stream, at)
        start, end = at + len(line), at + len(line) + int(line)
        if stream[end : end + 2] != b"\r\n":
            raise ValueError
        return stream[start:end], end + 2
    if kind in (b"*", b">"):
        line = _match(_SIZE, stream, at)
        at += len(line)
        values = []
        for _ in range(min(int(line), len(stream))):
            if stream[at : at + 1] not in (b"+", b":", b"$"):
                raise ValueError  # nested ones are left to hiredis
            value, at = _value(stream, at)
            values.append(value)
        if len(values) < int(line):
            raise ValueError
        return values, at
    raise ValueError


def _match(pattern: re.Pattern[bytes], stream: bytes, at: int) -> bytes:
    found = pattern.match(stream, at)
    if found is None:
        raise ValueError
    return found[0]


def seeds() -> Mapping[str, bytes]:
    """Answers and pushes of both protocols, and what is none of them."""
    message = b"$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"
    return {
        "answers": b"\x1e\x03+OK\r\n:12\r\n$5\r\nhello\r\n_\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "nested": b"\x08\x07*2\r\n*1\r\n:1\r\n%1\r\n$1\r\na\r\n~1\r\n#t\r\n,1.5\r\n(123456789012345678901234567890\r\n",
        "nulls": b"\x06\x01$-1\r\n*-1\r\n_\r\n",
        "errors": b"\x0e\x02-ERR no\r\n-MOVED 5 127.0.0.1:7001\r\n-ASK 6 ::1:1\r\n-MOVED x\r\n-OOM \xff\xfe\r\n",
        "loading": b"\x04\x02+OK\r\n-LOADING wait\r\n+OK\r\n",
        "message": b"\x03\x04>3\r\n" + message + b"+PONG\r\n",
        "sharded": b"\x00\x04>3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$0\r\n\r\n",
        "message-in-2": b"\x03\x05*3\r\n" + message + b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        "message-as-answer": b"\x02\x05*3\r\n" + message,
        "confirmed": b"\x01\x06"
        b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n>3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n",
        "many": b"\x01\x09" + (b">3\r\n" + message) * 40,
        "unasked": b"\x02\x00+OK\r\n+OK\r\n",
        "empty-push": b"\x01\x00>0\r\n",
        "odd-push": b"\x01\x00>3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
        "odd-kind": b"\x01\x00>1\r\n:1\r\n",
        "http": b"\x02\x01HTTP/1.1 400 Bad Request\r\n\r\n",
        "unhashable": b"\x02\x01%1\r\n*0\r\n:1\r\n",
        "control": b"\x02\x01?\x00\x1b[2J\r\n",
    }
