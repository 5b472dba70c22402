"""Answers of Redis, read with care: what is not what it should be is an `EngineError`, whatever it is instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastws.errors import EngineError


def items(answer: Any) -> Sequence[Any]:
    """An array. What is not there is an empty one."""
    if answer is None:
        return ()
    if isinstance(answer, list | tuple):
        return answer
    raise _strange(answer)


def pairs(answer: Any) -> Sequence[tuple[bytes, bytes]]:
    """Names and values: flat, as pairs, or as a map (RESP3)."""
    if isinstance(answer, dict):
        found = list(answer.items())
    else:
        flat = items(answer)
        if flat and isinstance(flat[0], list | tuple):
            found = [tuple(pair) for pair in flat]
        else:
            found = list(zip(flat[::2], flat[1::2], strict=False))
    for pair in found:
        if len(pair) != 2 or not isinstance(pair[0], bytes) or not isinstance(pair[1], bytes):
            raise _strange(pair)
    return found


def page_in(answer: Any) -> tuple[bytes, Sequence[tuple[bytes, bytes]]]:
    """Where a scan of a hash goes on, `0` at its end, and what it has found."""
    parts = items(answer)
    if len(parts) != 2 or not isinstance(parts[0], bytes):
        raise _strange(answer)
    return parts[0], pairs(parts[1])


def text(value: Any) -> str:
    """A word in UTF-8, as names of users may be that no UTF-8 knows."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            pass
    raise _strange(value)


def number(value: Any) -> int:
    """An integer, or the word for one."""
    if isinstance(value, int):
        return value
    if isinstance(value, bytes) and len(value) <= 20:
        try:
            return int(value)
        except ValueError:
            pass
    raise _strange(value)


def _strange(value: Any) -> EngineError:
    return EngineError(f"Redis answered something strange: {str(value)[:60]!r}")
