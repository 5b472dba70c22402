"""One message to a whole gateway in memory, and what may come of it: shared by the targets of the codecs."""

import asyncio
import atexit
import json
from functools import cache
from typing import Any, NamedTuple

import msgspec

from fastws import closes
from fastws.closes import CLOSES, ERRORS
from fastws.core.codecs.commands import NAMES, Aside, Broken, Fault, Lines
from tests.fuzz.silence import silent
from tests.gateway.stage import JSON, MSGPACK, Player, Stage
from tests.support.frames import BINARY, CLOSE, TEXT, Frame

TOPIC = "t"
DEEP = 700
"""More arrays and objects than this could be nested deeper than the stack is: how much of it is left where a message is
decoded decides then, so nothing is compared."""
COMMANDS = tuple(NAMES)
FORMS = (Fault, Lines, Aside, Broken)


class Heard(NamedTuple):
    """What came back: the objects in their order, whether PONG was among it, and the close frame's code (0: none)."""

    objects: list[Any]
    pong: bool
    code: int


@cache
def _runner() -> asyncio.Runner:
    """One loop for all inputs."""
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


def say(message: str | bytes) -> Heard:
    """Send one message to a new server, where clients of both codecs hear `TOPIC`; they must hear the same."""
    with silent("fastws"):
        return _runner().run(_say(message))


async def _say(message: str | bytes) -> Heard:
    stage = Stage(max_message_size=1 << 20)
    await stage.gateway.start()
    witnesses = [stage.connect(subprotocol=name) for name in (JSON, MSGPACK)]
    for witness in witnesses:
        assert "result" in _ask(witness, {"id": 1, "cmd": "sub", "topic": TOPIC})
    speaker = stage.connect(subprotocol=JSON if isinstance(message, str) else MSGPACK)
    if isinstance(message, str):
        speaker.say_text(message)
    else:
        speaker.say_bytes(message)
    await _settle(stage)
    frames = speaker.frames()
    text, binary = (witness.hear() for witness in witnesses)
    assert text == binary, f"one codec heard {text}, the other {binary}"
    for player in (*witnesses, speaker):
        player.vanish()
    await stage.gateway.stop()
    assert stage.gateway.errors == 0, "a callback of the gateway raised"
    assert stage.loop_data.errors == 0, "the wire reported an exception"
    return _read(frames, TEXT if isinstance(message, str) else BINARY)


async def _settle(stage: Stage) -> None:
    """Wait until nothing is left to do: what a pass had no time for is done in the next."""
    passes = -1
    while passes != stage.loop_data.passes or stage.gateway.tasks:
        passes = stage.loop_data.passes
        await asyncio.sleep(0)


def _ask(player: Player, content: dict[str, Any]) -> Any:
    player.say(content)
    return player.hear_one()


def _read(frames: list[Frame], opcode: int) -> Heard:
    objects: list[Any] = []
    pong, code = False, 0
    for frame in frames:
        assert not code, "something was sent behind the close frame"
        if frame.opcode == CLOSE:
            code = frame.close_code
            assert code in CLOSES
            assert frame.close_reason == CLOSES[code].reason
        elif frame.opcode == TEXT and frame.payload == b"PONG":
            pong = True
        else:
            assert frame.opcode == opcode, frame
            decoded = json.loads(frame.payload) if opcode == TEXT else msgspec.msgpack.decode(frame.payload)
            assert isinstance(decoded, dict)
            objects.append(decoded)
    return Heard(objects, pong, code)


def check_answers(said: object, heard: Heard) -> None:
    """What a client hears has to be one of the answers that the protocol knows for what it said."""
    for content in heard.objects:
        _check_object(content)
    errors = [content for content in heard.objects if "error" in content]
    replies = [content for content in heard.objects if "id" in content]
    assert heard.code in (0, closes.BAD_REQUEST.code, closes.INVALID_TOKEN.code), heard
    if isinstance(said, Lines):
        return
    assert isinstance(said, Aside) or not heard.pong
    assert (heard.code == closes.BAD_REQUEST.code) == isinstance(said, Broken)
    if isinstance(said, Broken):
        assert not heard.objects
    elif isinstance(said, Aside):
        assert heard.pong != bool(heard.objects)
    elif isinstance(said, Fault):
        assert [error["error"]["code"] for error in errors] == [said.error.code]
        assert [reply["id"] for reply in replies] == ([said.id] if said.id is not None else [])
    elif isinstance(said, COMMANDS):
        wanted_id = said.id  # type: ignore[attr-defined]
        assert [reply["id"] for reply in replies] == ([wanted_id] if wanted_id is not None else [])
        assert len(errors) <= 1


def _check_object(content: dict[str, Any]) -> None:
    if "error" in content:
        error = content["error"]
        assert error.keys() == {"code", "reason", "message", "temporary"}
        known = ERRORS[error["code"]]
        assert error["reason"] == known.reason
        assert error["temporary"] == known.temporary
        assert error["message"]
        assert error["code"] != closes.INTERNAL_ERROR.code, "a command failed in us"
    elif "id" in content:
        assert content.keys() == {"id", "result"}
    else:
        assert content.get("event") in ("publication", "unsubscribed") or content.get("type") == "HEARTBEAT"


def meaning(said: object) -> str:
    """What was said as a text that is the same for the same commands and faults, whatever the codec."""
    if isinstance(said, Fault):
        return repr(("fault", said.cmd, said.id, said.error.code))
    if isinstance(said, COMMANDS):
        return repr(said)
    return type(said).__name__
