"""What applications and clients publish, as JSON: the one form in which it travels inside the server."""

from __future__ import annotations

from math import isfinite
from typing import Any

import orjson


class DataError(ValueError):
    """The data cannot be written as JSON; the message says why and is safe to send."""


def pack_data(data: Any, *, of_client: bool = False) -> bytes:
    """Write data as JSON. Raises `DataError` for what JSON cannot hold.

    That is: keys that are no text, bytes, NaN and infinities, integers outside -2**63 to 2**64-1, text with lone
    surrogates, and nesting deeper than 254 levels. Dates, UUIDs, enums and dataclasses of Python become text and
    objects, unless it comes from a client, whose codec may have dates that others do not have.
    """
    try:
        packed = orjson.dumps(data, None, orjson.OPT_PASSTHROUGH_DATETIME if of_client else 0)
    except (TypeError, RecursionError) as error:
        raise DataError(f"the data has no form in JSON: {_safe(error)}") from None
    # NaN and the infinities are written as null, so only where one stands may there be any.
    if b"null" in packed and not _all_finite(data):
        raise DataError("the data has no form in JSON: NaN and infinities are no numbers there")
    return packed


def _all_finite(data: Any) -> bool:
    if isinstance(data, float):
        return isfinite(data)
    if isinstance(data, dict):
        return all(map(_all_finite, data.values()))
    return not isinstance(data, list | tuple) or all(map(_all_finite, data))


def _safe(error: Exception) -> str:
    """The encoder's complaints quote types, never contents."""
    text = str(error)
    return text if text.isascii() and len(text) < 100 else "a value of a wrong type"
