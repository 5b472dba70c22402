"""Commands in MessagePack: each message is a command, an error reply or a 4501, and means what it means in JSON.

Input: the payload of a binary frame.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from fastws.core.codecs import json_text, msgpack_binary
from fastws.core.codecs.commands import Broken
from tests.fuzz.saying import COMMANDS, DEEP, FORMS, check_answers, meaning, say

MAX_BYTES = 2048
WORDS = (
    *(b"\x80", b"\x81", b"\x82", b"\x83", b"\x84", b"\x85", b"\x90", b"\x91", b"\xc0", b"\xc1", b"\xc2", b"\xc3"),
    *(b"\xa3cmd", b"\xa2id", b"\xa5topic", b"\xa1t", b"\xa4data", b"\xa7recover", b"\xa5since", b"\xa5epoch"),
    *(b"\xa6offset", b"\xa5limit", b"\xa7reverse", b"\xa5token", b"\xa3key", b"\xa4echo", b"\xa8interval"),
    *(b"\xa4auth", b"\xa7refresh", b"\xa3sub", b"\xa5unsub", b"\xa3pub", b"\xa7history", b"\xa9heartbeat", b"\xa4ping"),
    *(
        b"\xc4\x01x",
        b"\xc7\x04\x01abcd",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xd7\xff" + b"\x00" * 8,
        b"\xdf\xff\xff\xff\xff",
    ),
    *(b"\xca\x7f\x80\x00\x00", b"\xcb\x7f\xf8" + b"\x00" * 6, b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\x00" * 7),
    *(
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xd9\x41" + b"x" * 65,
        b"\xa2\xed\xa0",
        b"\x91" * 50,
        b"\xe0",
    ),
)
_CONTAINERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])


def run(data: bytes) -> None:
    """Decode, compare with the same value in JSON, and let a gateway execute it."""
    said = msgpack_binary.decode(data)
    assert isinstance(said, (*COMMANDS, *FORMS)), said
    if len(data) - len(data.translate(None, _CONTAINERS)) > DEEP:
        say(data)
        return
    try:
        value = msgspec.msgpack.decode(data)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        assert not isinstance(said, Broken), "this is a map"
        # Of a key that comes twice the typed decoder judges both values, and a dict keeps one.
        if _entries(data) == len(value):
            _compare(value, said)
    check_answers(said, say(data))


def _entries(data: bytes) -> int:
    """How many the map at the start of `data` says that it has."""
    size = {0xDE: 2, 0xDF: 4}.get(data[0], 0)
    return int.from_bytes(data[1 : 1 + size], "big") if size else data[0] & 15


def _compare(value: dict[Any, Any], said: object) -> None:
    """JSON has no bytes, no NaN and no keys but texts; what both can hold they have to read alike."""
    try:
        packed = orjson.dumps(value, None, orjson.OPT_PASSTHROUGH_DATETIME)
    except (TypeError, RecursionError):
        return
    # As written by `orjson`, NaN and the infinities come back as null.
    if repr(orjson.loads(packed)) != repr(value) or "HEARTBEAT" in repr(value):
        return
    other = json_text.decode_line(packed.decode())
    assert meaning(other) == meaning(said), f"MessagePack: {meaning(said)}, JSON: {meaning(other)}"


def seeds() -> Mapping[str, bytes]:
    """Every command with all of its fields, what JSON cannot hold, and what is no map."""
    contents: dict[str, Any] = {
        "auth": {"id": 1, "cmd": "auth", "token": "x.y.z"},
        "refresh": {"cmd": "refresh", "token": ""},
        "sub": {"id": 1, "cmd": "sub", "topic": "t", "recover": {"epoch": "e", "offset": 5}, "presence": None},
        "unsub": {"id": -(2**63), "cmd": "unsub", "topic": "t"},
        "pub": {"id": "a", "cmd": "pub", "topic": "t", "data": {"a": [1, 2.5, None]}, "key": "k", "echo": True},
        "pub-bytes": {"id": 1, "cmd": "pub", "topic": "t", "data": b"\x00"},
        "pub-nan": {"id": 1, "cmd": "pub", "topic": "t", "data": [float("nan")]},
        "pub-keys": {"id": 1, "cmd": "pub", "topic": "t", "data": {1: 2}},
        "history": {"id": 1, "cmd": "history", "topic": "t", "since": {"epoch": "", "offset": 0}, "limit": 5},
        "heartbeat": {"id": 1, "cmd": "heartbeat", "interval": 25.5},
        "heartbeat-nan": {"id": 1, "cmd": "heartbeat", "interval": float("inf")},
        "ping": {"id": 2**63 - 1, "cmd": "ping"},
        "unknown": {"id": 2**64 - 1, "cmd": "nope"},
        "not-built": {"id": 1, "cmd": "rpc"},
        "no-cmd": {"id": 1},
        "wrong-type": {"id": 1, "cmd": "sub", "topic": b"t"},
        "array": [{"cmd": "ping"}],
    }
    named = {name: msgspec.msgpack.encode(content) for name, content in contents.items()}
    pub = b"\x84\xa2id\x01\xa3cmd\xa3pub\xa5topic\xa1t\xa4data"
    return named | {
        "deep": pub + b"\x91" * 300 + b"\xc0",
        "deeper": pub + b"\x91" * 1500 + b"\xc0",
        "timestamp": pub + b"\xd6\xff\x00\x00\x00\x00",
        "extension": pub + b"\xc7\x04\x01abcd",
        "huge-map": b"\xdf\xff\xff\xff\xff\xa3cmd\xa4ping",
        "trailing": b"\x81\xa3cmd\xa4ping\x00",
        "bad-text": b"\x82\xa3cmd\xa3sub\xa5topic\xa2\xed\xa0",
        "twice": b"\x84\xa2id\x01\xa2id\x02\xa3cmd\xa4ping\xa3cmd\xa3nop",
        "empty": b"",
    }
