"""What the server tells one connection unasked, in the words of its dialect."""

from __future__ import annotations

from typing import Any

from fastws.core.codecs import CODECS
from fastws_ext.frames import encode_frame


def push(conn: Any, event: str, content: dict[str, Any]) -> None:
    """Send `{"event", ...}` to a connection, unless its dialect has no such thing."""
    codec = CODECS[conn.codec_index]
    payload = codec.push(event, content)
    if payload:
        conn.send_frame(encode_frame(codec.opcode, payload))
