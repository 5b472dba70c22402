"""The subprotocol `fastws.msgpack.v1`: binary frames of MessagePack, one map each, with the fields of the JSON ones."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson

from fastws.core.codecs.commands import BROKEN, NAMES, AnyCommand, Command, Said
from fastws.core.codecs.data import Packed
from fastws.core.codecs.failures import described
from fastws.core.codecs.judge import id_fault, id_fits, judge
from fastws.core.publication import Publication
from fastws.errors import TopicError

NAME: Final = "msgpack"
SUBPROTOCOL: Final = "fastws.msgpack.v1"
INDEX: Final = 1
OPCODE: Final = 2
MESSAGE_TYPE: Final = bytes

_commands: Final = msgspec.msgpack.Decoder(AnyCommand)
_anything: Final = msgspec.msgpack.Decoder()
# Sizes that a message only claims to have are no danger: the decoder makes room for what is there.
_FAILURES: Final = (ValueError, RecursionError)


def decode(message: bytes) -> Said:
    """What a binary frame says. Raises nothing."""
    try:
        command: AnyCommand = _commands.decode(message)
    except _FAILURES as error:
        return _second_look(message, error)
    if type(command.id) is str and not id_fits(command.id):
        return id_fault(NAMES[type(command)])
    return command


def _second_look(message: bytes, error: Exception) -> Said:
    try:
        content = _anything.decode(message)
    except _FAILURES:
        return BROKEN
    if not isinstance(content, dict):
        return BROKEN
    return judge(content, str(error) if isinstance(error, msgspec.ValidationError) else "the fields have wrong types")


def reply(command: Command, result: dict[str, Any]) -> bytes:
    """`{"id", "result"}`. `result` may have `Publication`s and `Packed` data in it."""
    return _encoder.encode({"id": command.id, "result": result})


def failure(name: str, reply_id: str | int | None, error: TopicError) -> bytes:
    """`{"id", "error"}`, or the push `error` if no reply is wanted."""
    return _encoder.encode(described(name, reply_id, error))


def push(event: str, content: dict[str, Any]) -> bytes:
    """`{"event", ...}`."""
    return _encoder.encode({"event": event, **content})


def message(packed: bytes, ts_ms: int) -> bytes:
    """The push `message` with data that is JSON already."""
    return _encoder.encode({"event": "message", "data": orjson.loads(packed), "ts": ts_ms})


def publication(topic: str, published: Publication) -> bytes:
    """The push `publication`."""
    return _encoder.encode({"event": "publication", "topic": topic, **_core(published)})


def _core(published: Publication) -> dict[str, Any]:
    core: dict[str, Any] = {"data": orjson.loads(published.data)}
    if published.offset:
        core["offset"] = published.offset
    core["ts"] = published.ts_ms
    if published.user is not None:
        core["from"] = {"user": published.user, "conn": published.conn}
    return core


def _default(value: Any) -> Any:
    if isinstance(value, Publication):
        return _core(value)
    if isinstance(value, Packed):
        return orjson.loads(value.json)
    raise TypeError(f"{type(value).__name__} has no form in MessagePack")


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_default)
