"""What is spoken on the wire: bytes of a message to commands, replies and pushes to bytes. No connection, no IO.

A *dialect* is a protocol of clients: this one, in two codecs. Whatever a dialect says is turned into the commands of
`commands.py`, and what the server has to say into the dialect's own words, so that gateway, hub and engine know none
of them. Another dialect is one more module here that makes a `Codec`, and one more entry in `CODECS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastws.core.codecs import json_text, msgpack_binary
from fastws.core.codecs.commands import Said
from fastws.core.publication import Publication
from fastws.errors import TopicError


@dataclass(frozen=True, slots=True)
class Codec:
    """One dialect in one encoding. A payload of no bytes means that the dialect does not say this: nothing is sent."""

    subprotocol: str
    index: int
    """What `codec_index` of its connections is, and where its frames stand where there is one for each codec."""
    opcode: int
    """Of its frames: 1 text, 2 binary (RFC 6455 5.6)."""
    message_type: type
    """What a frame of that kind is in Python: str or bytes."""
    decode: Callable[[Any], Said]
    """From a message to what it says. Raises nothing."""
    reply: Callable[[Any, dict[str, Any]], bytes]
    """(command with an id, result) -> payload; the result has this protocol's names, and may hold `Publication`s and
    `Packed` data.
    """
    failure: Callable[[str, str | int | None, TopicError], bytes]
    """(name of the command, its id, error) -> payload."""
    push: Callable[[str, dict[str, Any]], bytes]
    """(event, what it says by the names of this protocol) -> payload."""
    message: Callable[[bytes, int], bytes]
    """(data as JSON, Unix milliseconds) -> payload of a `message` push."""
    publication: Callable[[str, Publication], bytes]
    """(topic, publication) -> payload of a `publication` push."""
    name: str
    """What applications and operators call it."""


CODECS: Final = tuple(
    Codec(
        subprotocol=form.SUBPROTOCOL,
        index=form.INDEX,
        opcode=form.OPCODE,
        message_type=form.MESSAGE_TYPE,
        decode=form.decode,
        reply=form.reply,
        failure=form.failure,
        push=form.push,
        message=form.message,
        publication=form.publication,
        name=form.NAME,
    )
    for form in (json_text, msgpack_binary)
)
"""By index; the first is spoken where no subprotocol was agreed on."""
