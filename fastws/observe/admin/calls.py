"""One call of the control API, from the bytes of its body to the bytes of its answer."""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from fastws import closes
from fastws.closes import ErrorCode
from fastws.errors import EngineError, TopicError, UsageError
from fastws.observe.admin import bodies, results
from fastws.observe.admin.methods import METHODS, MISSING, READING, Context, Method, failure, refused

_log: Final = logging.getLogger("fastws.admin")

BATCH: Final = "batch"
MAX_COMMANDS: Final = 1000
"""Commands of one `batch`."""
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Bytes of answers in one `batch` after which nothing more is looked up for it."""

_STATUS: Final = {
    closes.UNAUTHORIZED.code: 401,
    closes.UNKNOWN_TOPIC.code: 404,
    closes.UNKNOWN_COMMAND.code: 404,
    closes.UNKNOWN_USER.code: 404,
    closes.UNKNOWN_GROUP.code: 404,
    closes.PAYLOAD_TOO_LARGE.code: 413,
    closes.ENGINE_UNAVAILABLE.code: 503,
    closes.INTERNAL_ERROR.code: 500,
}
_OTHERS: Final = 400

_decoders: Final = {name: msgspec.json.Decoder(method.body) for name, method in METHODS.items()}
_batch: Final = msgspec.json.Decoder(bodies.Batch)
_encoder: Final = msgspec.json.Encoder()


class Answer(NamedTuple):
    """What an HTTP answer carries: its status, and JSON."""

    status: int
    body: bytes


def error_answer(error: ErrorCode, message: str, status: int | None = None) -> Answer:
    """The answer that says why a call was not carried out; `status` where it is not the code's own."""
    return _failed(results.Failure(error.code, error.reason, message), status)


async def call(context: Context, name: str, body: bytes, idempotency_key: str = "") -> Answer:
    """Carry out one call. Raises nothing; `body` may be empty where no field is needed.

    With `idempotency_key` publications that have no key of their own get one made of it: a call that is repeated at
    another node, which has not seen the first one, delivers nothing.
    """
    turn = await context.floor.turn()
    try:
        if name == BATCH:
            result: results.Result = await _run_batch(context, _decoded(_batch, body), idempotency_key)
        else:
            method = _method(name)
            result = await method.run(context, _keyed(_decoded(_decoders[name], body), idempotency_key))
        return Answer(200, _encoder.encode({"result": result}))
    except Exception as error:  # what is not foreseen is logged, and answered all the same
        return _failed(_why(name, error))
    finally:
        turn.end()


def _method(name: str) -> Method:
    method = METHODS.get(name)
    if method is not None:
        return method
    if name in MISSING:
        raise refused(f"{name}: {MISSING[name]} are not built in this version", closes.NOT_AVAILABLE)
    raise refused("there is no such method", closes.UNKNOWN_COMMAND)


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise refused(_named(str(error))) from None
    except RecursionError:
        raise refused("the body is nested too deeply") from None
    except ValueError as error:
        raise refused(f"the body is no JSON: {error}") from None


async def _run_batch(context: Context, batch: bodies.Batch, idempotency_key: str) -> results.BatchResult:
    if len(batch.commands) > MAX_COMMANDS:
        raise refused(f"at most {MAX_COMMANDS} commands", closes.LIMIT_EXCEEDED)
    replies: list[Any] = []
    room = MAX_ANSWER_BYTES
    turn = await context.floor.turn()
    for number, command in enumerate(batch.commands):
        name = ""
        try:
            name, fields = _command(command)
            if batch.tenant and "tenant" not in fields:
                fields = {**fields, "tenant": batch.tenant}
            method = _method(name)
            if room <= 0 and name in READING:
                raise refused(
                    f"the answers before this one take {MAX_ANSWER_BYTES} bytes already", closes.LIMIT_EXCEEDED
                )
            key = f"{idempotency_key}\0{number}" if idempotency_key else ""
            reply: dict[str, Any] = {"result": await method.run(context, _keyed(_converted(fields, method), key))}
        except Exception as error:  # as in `call`: one that fails does not stop the rest
            reply = {"error": _why(name, error)}
        encoded = _encoder.encode(reply)
        replies.append(Raw(encoded))
        room -= len(encoded)
        await turn.give_way()
    return results.BatchResult(replies=replies)


def _keyed(body: bodies.Body, idempotency_key: str) -> bodies.Body:
    """The same body, with a key that no caller has thought of where a publication has none."""
    if idempotency_key and isinstance(body, bodies.Publish | bodies.Broadcast) and body.key is None:
        body.key = f"\0http\0{idempotency_key}"
    return body


def _command(command: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and fields of one command of a batch: `{"method": "publish", "topic": ...}`.

    Also taken: `cmd` instead of `method`, as clients say it; the fields by themselves under `params`; and
    `{"publish": {"topic": ...}}`.
    """
    for word in ("method", "cmd"):
        name = command.get(word)
        if isinstance(name, str):
            fields = {key: value for key, value in command.items() if key != word}
            params = fields.get("params")
            return name, params if isinstance(params, dict) and len(fields) == 1 else fields
    if len(command) == 1:
        ((name, fields),) = command.items()
        if isinstance(fields, dict):
            return name, fields
    raise refused("method is missing or no text")


def _converted(fields: dict[str, Any], method: Method) -> Any:
    try:
        return msgspec.convert(fields, method.body)
    except msgspec.ValidationError as error:
        raise refused(_named(str(error))) from None


def _why(name: str, error: Exception) -> results.Failure:
    if isinstance(error, TopicError | EngineError):
        return failure(error)
    if isinstance(error, UsageError):
        return failure(refused(error.message))
    _log.error("a call of the control API failed: %s", name, exc_info=error)
    internal = closes.INTERNAL_ERROR
    return results.Failure(internal.code, internal.reason, "the server failed; its log says why")


def _failed(why: results.Failure, status: int | None = None) -> Answer:
    return Answer(status or _STATUS.get(why.code, _OTHERS), _encoder.encode({"error": why}))


def _named(complaint: str) -> str:
    """What the decoder complains of, with the field called `topic` and not `$.topic`."""
    return complaint.replace("`$.", "`")
