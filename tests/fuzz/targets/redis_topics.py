"""What Redis and other processes say of topics: a story without a hole, a list that is one, or an error; nothing hangs.

Input: a byte that says who asks (0: a question to all processes, 1: an answer to one, 2: a recovery, 3: a page of
history, 4: one from the newest on, 5: positions), then for the first two what came in the channel, and for the others a
MessagePack list of what the server answers, one question after the other.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from fastws.core.publication import Position, Retention
from fastws.engine.contract import UNREACHED, EpochError, Outgoing
from fastws.engine.redis.common import Common
from fastws.engine.redis.envelope import ANSWER, QUESTION, envelope_of, flags_of, pack, tail_of
from fastws.engine.redis.names import Names
from fastws.engine.redis.topic.asking import Asking, _Collected
from fastws.engine.redis.topic.channels import Channels
from fastws.engine.redis.topic.past import Past
from fastws.errors import EngineError
from fastws.types import TopicInfo

MAX_BYTES = 1_000
WORDS = (
    *(b"\x01\x03", b"\x01\x04", b"\x93\x01\xc3\x90", b"\x92\xa1t\x01", b"\xc4\x01e", b"\xc4\x00", b"\xa1t", b"\xc0"),
    *(
        b"\xff",
        b"\xfe",
        b"\xd3" + b"\xff" * 8,
        b"\xcf" + b"\xff" * 8,
        b"\xc2",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\x94",
        b"\x90",
    ),
)
SINCE = Position("e", 1)
TOPICS = ("t", "u", "\ud800")
_KEPT = Retention(5, 0.0)
_LIMIT = 4


class _Server:
    """Answers what the input says, then nothing but errors."""

    def __init__(self, answers: Sequence[object]) -> None:
        self._answers = iter(answers)
        self.said: list[tuple[int, bytes, bytes]] = []

    def is_up(self, _partition: int) -> bool:
        return True

    def run(self, *_asked: object) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        answer = next(self._answers, EngineError("there is no more"))
        if isinstance(answer, EngineError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    def say(self, partition: int, channel: bytes, payload: bytes) -> asyncio.Future[object]:
        self.said.append((partition, channel, payload))
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        future.set_result(1)
        return future


class _Hub:
    """Knows some topics."""

    def topics_of(self, tenant: str, pattern: str) -> Sequence[TopicInfo]:
        assert type(tenant) is type(pattern) is str
        return [TopicInfo(topic, 1) for topic in ("a", "b")]


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def run(data: bytes) -> None:
    """Let one part of the engine hear it."""
    if not data:
        return
    runner = _runner()
    match data[0] % 6:
        case 0:
            runner.run(_hear_question(data[1:]))
        case 1:
            runner.run(_hear_answer(data[1:]))
        case kind:
            try:
                answers = msgspec.msgpack.decode(data[1:])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
                return
            if isinstance(answers, list):
                ask = {2: _recover, 3: _page, 4: _page_back, 5: _positions}[kind]
                runner.run(ask(Past(_common(answers)[0], _NoChannels(), lambda: "new")))


class _NoChannels(Channels):
    """Every topic is heard."""

    def __init__(self) -> None: ...

    def joining(self, topic: str) -> None:
        return None


def _common(answers: Sequence[object] = ()) -> tuple[Common, _Server]:
    server: Any = _Server(answers)
    common = Common(server, Names("p"), "n")
    common.events = _Hub()  # type: ignore[assignment]
    return common, server


async def _hear_question(payload: bytes) -> None:
    common, server = _common()
    Asking(common)._hear_question(payload)
    failed = [task.exception() for task in list(common.tasks) if await asyncio.wait([task])]
    assert not any(failed), failed
    assert len(server.said) == 1 - sum(common.unreadable.values())


async def _hear_answer(payload: bytes) -> None:
    common, _ = _common()
    asking = Asking(common)
    collected = asking._waiting[1] = _Collected()
    collected.expected = 1
    asking._hear_answer(payload)
    assert collected.is_complete.is_set() == bool(collected.answered)
    if common.unreadable:
        assert not collected.topics
    for topic, subscribers in collected.topics.items():
        assert type(topic) is str
        assert type(subscribers) is int
        assert subscribers >= 0


async def _recover(past: Past) -> None:
    try:
        recovery = await past.recover("t", _KEPT, SINCE)
    except EngineError:
        return
    offsets = [publication.offset for publication in recovery.publications]
    if recovery.recovered:
        assert offsets == list(range(SINCE.offset + 1, recovery.position.offset + 1))
    else:
        assert not offsets
    _check(recovery.position)


async def _page(past: Past, *, reverse: bool = False) -> None:
    try:
        page = await past.history("t", _KEPT, SINCE if reverse else None, _LIMIT, reverse=reverse)
    except (EngineError, EpochError):
        return
    _check(page.position)
    offsets = [publication.offset for publication in page.publications]
    assert len(offsets) <= _LIMIT
    assert offsets == sorted(set(offsets), reverse=reverse)
    assert all(0 < offset <= page.position.offset for offset in offsets)


async def _page_back(past: Past) -> None:
    await _page(past, reverse=True)


async def _positions(past: Past) -> None:
    try:
        positions = await past.positions(TOPICS)
    except EngineError:
        return
    assert len(positions) == len(TOPICS)
    for position in positions:
        if position is not None and position != UNREACHED:
            _check(position)


def _check(position: Position) -> None:
    assert type(position.epoch) is str
    assert position.epoch.isascii() or "\ufffd" in position.epoch
    assert type(position.offset) is int
    assert 0 <= position.offset <= 2**53


def seeds() -> Mapping[str, bytes]:
    """Answers to everything, whole and damaged."""
    encode = msgspec.msgpack.encode
    outgoing = Outgoing("t", b"1", None, "ann", "n1-1f")
    one, two, three = (envelope_of(flags_of(outgoing), tail_of(outgoing), 5, offset, "e") for offset in (1, 2, 3))
    asked = [b"a-node", 1, b"acme", b"chat:*"]
    return {
        "question": b"\0" + pack(QUESTION, encode(["a-node", *asked[1:]])),
        "question-of-half-a-pair": b"\0" + pack(QUESTION, encode(["n", 1, b"\xed\xa0\x80", b"*"])),
        "question-of-no-text": b"\0" + pack(QUESTION, encode(["n", 1, b"\xff", b"\xc3"])),
        "answer-as-question": b"\0" + pack(ANSWER, encode(["n", 1, b"", b"*"])),
        "answer": b"\1" + pack(ANSWER, encode([1, True, [["t", 5], ["u", 0]]])),
        "answer-in-parts": b"\1" + pack(ANSWER, encode([1, False, [["t", 5], ["t", 5]]])),
        "answer-below-nothing": b"\1" + pack(ANSWER, encode([1, True, [["t", -5]]])),
        "answer-to-another": b"\1" + pack(ANSWER, encode([2, True, []])),
        "recovery": b"\2" + encode([[b"e", 3, 3, 0, two, three]]),
        "recovery-in-parts": b"\2" + encode([[b"e", 3, 3, 0, two], [b"e", 3, 3, 0, three]]),
        "recovery-across-epochs": b"\2" + encode([[b"f", 3, 2, 0, two, three]]),
        "recovery-with-a-hole": b"\2" + encode([[b"e", 3, 3, 0, three]]),
        "recovery-twice-the-same": b"\2" + encode([[b"e", 3, 3, 0, two, two]]),
        "recovery-behind": b"\2" + encode([[b"e", 0, 3, 0]]),
        "recovery-below-nothing": b"\2" + encode([[b"e", -3, 3, 0]]),
        "recovery-that-never-ends": b"\2" + encode([[b"e", 99, 99, 0, two]] * 5),
        "trimmed": b"\2" + encode([[b"e", 3, 3, 2, three]]),
        "page": b"\3" + encode([[b"e", 3, -1, 0, one, two, three]]),
        "page-in-parts": b"\3" + encode([[b"e", 3, -1, 0, one], [b"e", 3, -1, 0, two, three]]),
        "page-out-of-order": b"\3" + encode([[b"e", 3, -1, 0, two, one, two]]),
        "page-of-too-many": b"\3" + encode([[b"e", 3, -1, 0, *[one] * 6]]),
        "page-back": b"\4" + encode([[b"e", 3, 3, 0, three, two, one]]),
        "page-back-in-parts": b"\4" + encode([[b"e", 3, 3, 0, three], [b"e", 3, 3, 0, two, one]]),
        "positions": b"\5" + encode([[b"e", 5], [b"", 7], [b"", -1]]),
        "damaged-positions": b"\5" + encode([[b"e", -2], [b"\xff", 2**62], [b"", -9]]),
        "strange-positions": b"\5" + encode([[b"e"], [5, 5], [b"e", True], "no"]),
        "nothing": b"",
    }
