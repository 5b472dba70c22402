"""The second look at an object that is no proper command, to find out which fault it is."""

from __future__ import annotations

from typing import Any, Final

from fastws import closes
from fastws.core.codecs.commands import MAX_ID_BYTES, NAMES, NOT_BUILT, Fault

_KNOWN: Final = frozenset(NAMES.values())
_ID_RULE: Final = f"id is a text of at most {MAX_ID_BYTES} bytes or a signed 64-bit integer"


def id_fits(value: object) -> bool:
    """Whether a reply may carry it."""
    if isinstance(value, str):
        return len(value) <= MAX_ID_BYTES and (value.isascii() or len(value.encode()) <= MAX_ID_BYTES)
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def judge(content: dict[Any, Any], complaint: str) -> Fault:
    """Say what is wrong with an object that was not taken for a command. `complaint` is what the decoder said."""
    cmd, reply_id = content.get("cmd"), content.get("id")
    name = cmd if isinstance(cmd, str) else ""
    if reply_id is not None and not id_fits(reply_id):
        return Fault(closes.MALFORMED, _ID_RULE, name)
    if not isinstance(cmd, str):
        return Fault(closes.MALFORMED, "cmd is missing or no text", "", reply_id)
    if cmd in NOT_BUILT:
        return Fault(closes.NOT_AVAILABLE, "this version of the server does not have this command", cmd, reply_id)
    if cmd not in _KNOWN:
        return Fault(closes.UNKNOWN_COMMAND, "there is no such command", cmd, reply_id)
    return Fault(closes.MALFORMED, complaint, cmd, reply_id)


def id_fault(name: str) -> Fault:
    """The fault of a command whose id is too long."""
    return Fault(closes.MALFORMED, _ID_RULE, name)
