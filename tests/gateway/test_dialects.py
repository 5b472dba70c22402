"""Another protocol of clients fits as one more codec: gateway, hub and engine do not know what is spoken.

The dialect here is made up, in the manner of protocols whose commands and results are nested under their names, which
call topics channels, welcome nobody, and have a sign of life of their own.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import pytest

import fastws.core.codecs
from fastws.closes import UNKNOWN_COMMAND
from fastws.core.codecs import CODECS, Codec, json_text
from fastws.core.codecs.commands import BROKEN, Aside, Command, Fault, Ping, Pub, Said, Since, Sub, Unsub
from fastws.core.publication import Publication
from fastws.errors import TopicError
from fastws.hub import topic as hub_topic
from tests.gateway.stage import JSON, Player, Stage, staged
from tests.support.frames import TEXT

pytestmark = pytest.mark.asyncio

NAME: Final = "channels.v1"
INDEX: Final = 2


def decode(message: str) -> Said:
    try:
        content = json.loads(message)
    except ValueError:
        return BROKEN
    if not isinstance(content, dict):
        return BROKEN
    if not content:
        return Aside(lambda _now_ms: b"{}")
    number = content.pop("id", None)
    ((name, body),) = content.items()
    if name == "subscribe":
        since = Since(epoch=body["epoch"], offset=body["offset"]) if "epoch" in body else None
        return Sub(id=number, topic=body["channel"], recover=since)
    if name == "unsubscribe":
        return Unsub(id=number, topic=body["channel"])
    if name == "publish":
        return Pub(id=number, topic=body["channel"], data=body["data"])
    if name == "time":
        return Ping(id=number)
    return Fault(UNKNOWN_COMMAND, "no such method", name, number)


WORDS: Final[dict[type, str]] = {Sub: "subscribe", Unsub: "unsubscribe", Pub: "publish", Ping: "time"}


def reply(command: Command, result: dict[str, Any]) -> bytes:
    if isinstance(command, Sub):
        publications = [entry(published) for published in result.pop("publications")]
        result = {**result, "channel": result.pop("topic"), "publications": publications}
    return json.dumps({"id": command.id, WORDS[type(command)]: result}).encode()


def failure(_name: str, reply_id: str | int | None, error: TopicError) -> bytes:
    return json.dumps({"id": reply_id, "error": {"code": error.code, "message": error.reason}}).encode()


def push(event: str, content: dict[str, Any]) -> bytes:
    return b"" if event == "welcome" else json.dumps({"push": {event: content}}).encode()


def message(packed: bytes, _ts_ms: int) -> bytes:
    return b'{"push":{"message":{"data":%b}}}' % packed


def entry(published: Publication) -> dict[str, Any]:
    return {"data": json.loads(published.data), "offset": published.offset}


def publication(topic: str, published: Publication) -> bytes:
    return json.dumps({"push": {"channel": topic, "pub": entry(published)}}).encode()


CHANNELS: Final = Codec(NAME, INDEX, TEXT, str, decode, reply, failure, push, message, publication, NAME)


@pytest.fixture(autouse=True)
def _spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module has the entry that `CODECS` would have."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fastws.") and getattr(module, "CODECS", None) is CODECS:
            monkeypatch.setattr(module, "CODECS", (*CODECS, CHANNELS))
    dialect = (CHANNELS.index, CHANNELS.opcode, CHANNELS.publication)
    monkeypatch.setattr(hub_topic, "_DIALECTS", (*hub_topic._DIALECTS, dialect))
    assert len(fastws.core.codecs.CODECS) == 3


def connect(stage: Stage) -> Player:
    player = stage.connect(subprotocol=NAME, welcomed=False)
    assert player.hear() == []
    return player


async def test_it_is_spoken_beside_the_others() -> None:
    async with staged() as stage:
        other, same = connect(stage), stage.connect(subprotocol=JSON)
        other.say({"id": 1, "subscribe": {"channel": "chat:a"}})
        subscribed = other.hear_one()
        assert (subscribed["id"], subscribed["subscribe"]["channel"]) == (1, "chat:a")
        same.ask("sub", topic="chat:a")
        other.say({"publish": {"channel": "chat:a", "data": {"text": "hi"}}})
        await stage.settle()
        assert other.hear_one() == {"push": {"channel": "chat:a", "pub": {"data": {"text": "hi"}, "offset": 1}}}
        assert same.hear_one()["data"] == {"text": "hi"}
        same.say({"cmd": "pub", "topic": "chat:a", "data": 2})
        await stage.settle()
        assert other.hear_one()["push"]["pub"] == {"data": 2, "offset": 2}
        await stage.app.broadcast("all")
        await stage.settle()
        assert other.hear_one() == {"push": {"message": {"data": "all"}}}


async def test_it_recovers() -> None:
    async with staged() as stage:
        player = connect(stage)
        player.say({"id": 1, "subscribe": {"channel": "chat:a"}})
        epoch = player.hear_one()["subscribe"]["epoch"]
        player.go()
        for number in range(3):
            await stage.app.publish("chat:a", number)
        player = connect(stage)
        player.say({"id": 2, "subscribe": {"channel": "chat:a", "epoch": epoch, "offset": 1}})
        recovered = player.hear_one()["subscribe"]
        assert recovered["recovered"]
        assert recovered["publications"] == [{"data": 1, "offset": 2}, {"data": 2, "offset": 3}]


async def test_what_it_does_not_say_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = [(index, opcode, encode if index != INDEX else _nothing) for index, opcode, encode in hub_topic._DIALECTS]
    monkeypatch.setattr(hub_topic, "_DIALECTS", tuple(silent))
    async with staged() as stage:
        other, same = connect(stage), stage.connect(subprotocol=JSON)
        other.say({"id": 1, "subscribe": {"channel": "chat:a"}})
        other.hear_one()
        same.ask("sub", topic="chat:a")
        await stage.app.publish("chat:a", 1)
        await stage.settle()
        assert same.hear_one()["data"] == 1
        assert other.hear() == []


def _nothing(_topic: str, _publication: Publication) -> bytes:
    return b""


async def test_signs_of_life_and_failures_are_its_own() -> None:
    async with staged() as stage:
        player = connect(stage)
        player.say({})
        assert player.hear_one() == {}
        player.say({"id": 5, "nope": {}})
        assert player.hear_one() == {"id": 5, "error": {"code": 104, "message": "unknown_command"}}
        player.say({"id": 6, "unsubscribe": {"channel": "x"}})
        assert player.hear_one() == {"id": 6, "unsubscribe": {}}
        player.say([])
        assert player.hear() == []
        assert player.closed == (4501, "bad_request")


async def test_this_protocol_knows_nothing_of_it() -> None:
    assert json_text.decode('{"id":1,"subscribe":{"channel":"a"}}').__class__ is Fault
