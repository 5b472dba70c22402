"""What the nodes serve: topics with and without history, and a file that has who came and who went."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastws import FastWS, TopicError

_EVENTS = Path(os.environ["FAULTS_EVENTS"])
_PLANTED = os.environ.get("FAULTS_PLANTED", "")
"""A promise that this application breaks on purpose, so that it is seen whether somebody notices."""
_file = os.open(_EVENTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

app = FastWS(
    namespaces={
        "kept": {
            "history_size": 50_000,
            "history_ttl": os.environ.get("FAULTS_TTL", "600"),
            "recover": True,
            "presence": True,
        },
        "plain": {},
    }
)


@app.on_connect
def connected(conn: Any) -> None:
    """One write for each, so that lines of several processes never mix and outlive whoever wrote them."""
    os.write(_file, f"+ {conn.id}\n".encode())


@app.on_disconnect
def disconnected(info: Any, close: Any) -> None:
    """The same of one that has ended, wherever it was."""
    os.write(_file, f"- {info.id} {close.code} {close.reason}\n".encode())


@app.use
async def sabotage(ctx: Any, call_next: Any) -> Any:
    """Of every eleventh publication something is wrong, if that was asked for."""
    if _PLANTED and ctx.cmd == "pub" and int(ctx.data["data"].partition(".")[2]) % 11 == 0:
        is_kept = ctx.data["topic"].startswith("kept")
        if _PLANTED == "swallow" and not is_kept:
            return {"duplicate": False}
        if _PLANTED == "repeat" and not is_kept:
            await call_next(ctx)
        if _PLANTED == "invent" and is_kept:
            return {"epoch": "x", "offset": 1, "duplicate": False}
        if _PLANTED == "refuse" and not is_kept:
            raise TopicError(1000, "for no reason")
    return await call_next(ctx)
