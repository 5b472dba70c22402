"""What one process writes to another: an order, or what came of one. Inside an envelope of kind `LETTER`."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from fastws.engine.contract import Order, Outcome
from fastws.engine.redis.envelope import LETTER, pack, unpack
from fastws.errors import EngineError


class OrderLetter(Struct, array_like=True, tag=1, gc=False):
    """An order. Names are bytes, as there are some that no UTF-8 knows. What a later version adds stands behind it."""

    number: int
    """Which order of its sender."""
    sender: bytes
    """The node that wants to know what came of it; empty if nobody does."""
    action: str
    user: bytes | None
    conn: bytes | None
    tenant: bytes | None
    topic: bytes
    data: bytes
    ts_ms: int
    code: int
    reason: bytes
    attribute: bytes

    def order(self) -> Order:
        """The order."""
        return Order(
            self.action,
            _text(self.user),
            _text(self.conn),
            _text(self.tenant),
            _decoded(self.topic),
            self.data,
            self.ts_ms,
            self.code,
            _decoded(self.reason),
            _decoded(self.attribute),
        )


class OutcomeLetter(Struct, array_like=True, tag=2, gc=False):
    """What came of an order."""

    number: int
    sender: bytes
    """Who carried it out."""
    connections: int
    refused: int

    def outcome(self) -> Outcome:
        """The outcome."""
        return Outcome(max(0, self.connections), self.refused)


Letter = OrderLetter | OutcomeLetter

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Letter)


def letter_of(order: Order, number: int, sender: str) -> bytes:
    """An order in its envelope."""
    letter = OrderLetter(
        number,
        sender.encode(),
        order.action,
        _bytes(order.user),
        _bytes(order.conn),
        _bytes(order.tenant),
        _encoded(order.topic),
        order.data,
        order.ts_ms,
        order.code,
        _encoded(order.reason),
        _encoded(order.attribute),
    )
    return pack(LETTER, _encoder.encode(letter))


def reply_of(number: int, sender: str, outcome: Outcome) -> bytes:
    """What came of an order, in its envelope."""
    return pack(LETTER, _encoder.encode(OutcomeLetter(number, sender.encode(), outcome.connections, outcome.refused)))


def read(envelope: bytes) -> Letter:
    """The letter in an envelope; `EngineError` if there is none that can be read."""
    unpacked = unpack(envelope)
    if unpacked is None or unpacked[0] != LETTER:
        raise EngineError("no letter")
    try:
        letter: Letter = _decoder.decode(unpacked[1])
        letter.sender.decode()
        if isinstance(letter, OrderLetter):
            letter.order()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EngineError(f"a letter cannot be read: {error}") from None
    return letter


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


def _bytes(name: str | None) -> bytes | None:
    return None if name is None else _encoded(name)


def _text(name: bytes | None) -> str | None:
    return None if name is None else _decoded(name)
