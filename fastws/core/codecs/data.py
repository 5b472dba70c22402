"""What applications and clients publish, as JSON: the one form in which it travels inside the server."""

from __future__ import annotations

from dataclasses import is_dataclass
from math import isfinite
from typing import Any

import msgspec
import orjson


class Packed:
    """Data as JSON, inside of what is written in either codec."""

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        self.json = json


class DataError(ValueError):
    """The data cannot be written as JSON; the message says why and is safe to send."""


def pack_data(data: Any, *, of_client: bool = False) -> bytes:
    """Write data as JSON. Raises `DataError` for what JSON cannot hold.

    That is: keys that are no text, bytes, NaN and infinities, integers outside -2**63 to 2**64-1, text with lone
    surrogates, and nesting deeper than 254 levels. Dates, UUIDs, enums, dataclasses, types of msgspec and models of
    pydantic become text and objects, unless it comes from a client, whose codec may have dates that others do not have.
    """
    try:
        packed = orjson.dumps(data, None, orjson.OPT_PASSTHROUGH_DATETIME) if of_client else orjson.dumps(data, _plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"the data has no form in JSON: {_safe(error)}") from None
    # NaN and the infinities are written as null, so only where one stands may there be any.
    if b"null" in packed and not _all_finite(data):
        raise DataError("the data has no form in JSON: NaN and infinities are no numbers there")
    return fitted(packed)


def fitted(packed: bytes) -> bytes:
    """The same bytes, in as much memory as they need: for what an encoder has written and somebody keeps.

    orjson 3.13 leaves its result in the buffer that it has grown: 4 KB for the smallest, a megabyte for 70 KB; msgspec
    a third more than is needed. This way it takes 50 ns, through a `memoryview` three times as long.
    """
    return b"%b" % packed


def _all_finite(data: Any) -> bool:
    if data is None or isinstance(data, str | int):
        return True
    if isinstance(data, float):
        return isfinite(data)
    if isinstance(data, dict):
        return all(map(_all_finite, data.values()))
    if isinstance(data, list | tuple):
        return all(map(_all_finite, data))
    return not _is_declared(data) or _all_finite(_plain(data))


def _is_declared(value: Any) -> bool:
    """Whether it is an object of a type with fields: msgspec's, pydantic's, or a dataclass."""
    return isinstance(value, msgspec.Struct) or is_dataclass(value) or hasattr(value, "model_dump")


def _plain(value: Any) -> Any:
    """Such an object as a dict or the like, written as its own library writes it in JSON."""
    if not _is_declared(value):
        raise TypeError(f"{type(value).__name__} is no JSON")
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else msgspec.to_builtins(value)


def _safe(error: Exception) -> str:
    """The encoder's complaints quote types, never contents."""
    text = str(error)
    return text if text.isascii() and len(text) < 100 else "a value of a wrong type"
