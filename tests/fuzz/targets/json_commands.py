"""Commands in JSON: each text is a command, an error reply or a 4501; Python's own parser agrees on what it says.

Input: the payload of a text frame.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from fastws.core.codecs import json_text, msgpack_binary
from fastws.core.codecs.commands import Aside, Broken, Lines
from tests.fuzz.saying import COMMANDS, DEEP, FORMS, check_answers, meaning, say

MAX_BYTES = 4096
WORDS = (
    *(b'{"cmd":"', b'"cmd":', b'"id":1,', b'"id":"a",', b'"topic":"t",', b'"data":', b'"recover":', b'"since":'),
    *(b'{"epoch":"e","offset":0}', b'"limit":1,', b'"interval":25', b'"reverse":true', b'"presence":', b'"token":""'),
    *(b'"key":"k",', b'"echo":false,', b"auth", b"refresh", b"sub", b"unsub", b"pub", b"history", b"heartbeat"),
    *(b"ping", b"rpc", b'{"type":"HEARTBEAT"}', b"PING", b"null", b"true", b"NaN", b"Infinity", b"1e999", b"-0.0"),
    *(b"9223372036854775808", b"18446744073709551616", b"1" * 32, b"[" * 40, b"]" * 40, b'{"a":', b"}", b"\n", b","),
    *(b"\\ud800", b"\\ud83d\\ude42", b"\\u0000", b"\\/", b'\\"', b"\xef\xbb\xbf", b"\xc3\xa4", b"\xf0\x9f\x99\x82"),
)
_AMBIGUOUS = object()


def run(data: bytes) -> None:
    """Decode, ask Python's parser and the other codec, and let a gateway execute it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # RFC 6455 8.1: it never gets here
    said = json_text.decode(text)
    assert isinstance(said, (*COMMANDS, *FORMS)), said
    if text.count("[") + text.count("{") > DEEP:
        say(text)
        return
    _compare(text, said)
    if isinstance(said, Lines):
        for line in said.texts:
            assert "\n" not in line
            assert isinstance(said.decode(line), (*COMMANDS, *FORMS)), line
    check_answers(said, say(text))


def _compare(text: str, said: Any) -> None:
    value = _by_python(text)
    if value is _AMBIGUOUS:
        return
    if text == "PING":
        assert isinstance(said, Aside)
    elif isinstance(said, Broken):
        assert not isinstance(value, dict) or _is_beyond(text), "this is an object"
    elif not isinstance(said, Lines):
        assert isinstance(value, dict), f"{said}, but this is no object"
        if isinstance(said, Aside):
            assert value["type"] == "HEARTBEAT"
            assert "cmd" not in value
            return
        if isinstance(said, COMMANDS):
            for name in said.__struct_fields__:  # type: ignore[attr-defined]
                _compare_field(getattr(said, name), value.get(name))
        try:
            json.dumps(value, allow_nan=False)
            packed = msgspec.msgpack.encode(value)
        except (ValueError, OverflowError, RecursionError):
            return  # numbers of more than 64 bits, surrogates
        if "HEARTBEAT" not in text:
            other = msgpack_binary.decode(packed)
            assert meaning(other) == meaning(said), f"JSON: {meaning(said)}, MessagePack: {meaning(other)}"


def _compare_field(found: Any, wanted: Any) -> None:
    if isinstance(found, msgspec.Struct):
        found = msgspec.to_builtins(found)
        wanted = {name: wanted[name] for name in found}
    assert found == wanted, f"{found!r}, Python reads {wanted!r}"


def _by_python(text: str) -> Any:
    """What Python reads; None if it is no JSON. RFC 8259 4: of two members of one name either may count."""
    twice = False

    def refuse(word: str) -> None:
        raise ValueError(word)

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        twice |= len(dict(pairs)) != len(pairs)
        return dict(pairs)

    try:
        value = json.loads(text, parse_constant=refuse, object_pairs_hook=collect)
    except (ValueError, RecursionError):
        return None
    return _AMBIGUOUS if twice else value


def _is_beyond(text: str) -> bool:
    """What Python takes and no other parser has to: escaped lone surrogates, and nesting beyond all reason."""
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return True
    return False


def seeds() -> Mapping[str, bytes]:
    """Every command with all of its fields, every hand-made form, and what is nearly one of them."""
    return {
        "auth": b'{"id":1,"cmd":"auth","token":"x.y.z"}',
        "refresh": b'{"id":1,"cmd":"refresh","token":""}',
        "sub": b'{"id":1,"cmd":"sub","topic":"t","recover":{"epoch":"e","offset":5},"token":null,"presence":false}',
        "unsub": b'{"id":-9223372036854775808,"cmd":"unsub","topic":"t"}',
        "pub": b'{"id":"a","cmd":"pub","topic":"t","data":{"a":[1,2.5,null,true,"\xc3\xa4"]},"key":"k","echo":true}',
        "pub-number": b'{"cmd":"pub","topic":"t","data":1e-7}',
        "pub-wild": b'{"id":1,"cmd":"pub","topic":"t","data":[18446744073709551616,-0.0,1e999]}',
        "pub-deep": b'{"id":1,"cmd":"pub","topic":"t","data":' + b"[" * 300 + b"]" * 300 + b"}",
        "pub-deeper": b'{"id":1,"cmd":"pub","topic":"t","data":' + b"[" * 1500 + b"]" * 1500 + b"}",
        "history": b'{"id":1,"cmd":"history","topic":"t","since":{"epoch":"","offset":0},"limit":5,"reverse":true}',
        "heartbeat": b'{"id":1,"cmd":"heartbeat","interval":25.5}',
        "ping": b'{"id":9223372036854775807,"cmd":"ping"}',
        "hand-ping": b"PING",
        "hand-heartbeat": b'{"type":"HEARTBEAT","n":1,"x":[]}',
        "lines": b'{"id":1,"cmd":"sub","topic":"t"}\n\n{"id":2,"cmd":"pub","topic":"t","data":1}\r\nx',
        "unknown": b'{"id":1,"cmd":"nope"}',
        "not-built": b'{"id":1,"cmd":"rpc","method":"m"}',
        "no-cmd": b'{"id":1}',
        "wrong-type": b'{"id":1,"cmd":"sub","topic":7}',
        "wrong-id": b'{"id":[],"cmd":"ping"}',
        "long-id": b'{"id":"' + b"\xc3\xa4" * 40 + b'","cmd":"ping"}',
        "twice": b'{"id":1,"id":2,"cmd":"ping","cmd":"sub","topic":"t"}',
        "surrogate": b'{"id":1,"cmd":"pub","topic":"t","data":"\\ud800"}',
        "pair": b'{"id":1,"cmd":"pub","topic":"\\ud83d\\ude42\\u0000","data":"\\/"}',
        "array": b'[{"cmd":"ping"}]',
        "half": b'{"id":1,"cmd":"pi',
        "bom": b'\xef\xbb\xbf{"cmd":"ping"}',
        "blank": b" \t\r\n ",
    }
