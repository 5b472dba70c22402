"""Codecs of the client protocol: bytes of a message to commands, replies and pushes to bytes. No connection, no IO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastws.core.codecs import json_text, msgpack_binary
from fastws.core.codecs.commands import Said
from fastws.core.publication import Publication


@dataclass(frozen=True, slots=True)
class Codec:
    """One form of the client protocol."""

    subprotocol: str
    index: int
    """What `codec` of its connections is, and where its frames stand where there is one for each codec."""
    opcode: int
    """Of its frames: 1 text, 2 binary (RFC 6455 5.6)."""
    message_type: type
    """What a frame of that kind is in Python: str or bytes."""
    decode: Callable[[Any], Said]
    """From a message to what it says. Raises nothing."""
    reply: Callable[[str | int, Any], bytes]
    """(id, result) -> payload; the result may hold `Publication`s."""
    push: Callable[[dict[str, Any]], bytes]
    """Any other object -> payload."""
    message: Callable[[bytes, int], bytes]
    """(data as JSON, Unix milliseconds) -> payload of a `message` push."""
    publication: Callable[[str, Publication], bytes]
    """(topic, publication) -> payload of a `publication` push."""


CODECS: Final = tuple(
    Codec(
        subprotocol=form.SUBPROTOCOL,
        index=form.INDEX,
        opcode=form.OPCODE,
        message_type=form.MESSAGE_TYPE,
        decode=form.decode,
        reply=form.reply,
        push=form.push,
        message=form.message,
        publication=form.publication,
    )
    for form in (json_text, msgpack_binary)
)
"""By index; the first is spoken where no subprotocol was agreed on."""
