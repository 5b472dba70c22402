"""How this protocol says that a command failed, in both of its codecs."""

from __future__ import annotations

from typing import Any

from fastws.errors import TopicError


def described(name: str, reply_id: str | int | None, error: TopicError) -> dict[str, Any]:
    """The reply with an error, or without an id the push. `name` is the command's, empty if it has none."""
    content: dict[str, Any] = {
        "code": error.code,
        "reason": error.reason,
        "message": error.message or error.reason,
        "temporary": error.temporary,
    }
    if reply_id is not None:
        return {"id": reply_id, "error": content}
    if name:
        return {"event": "error", "cmd": name, "error": content}
    return {"event": "error", "error": content}
