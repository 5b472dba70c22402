"""Data on its way to a topic, for clients and for applications alike."""

from __future__ import annotations

from typing import Any

import orjson

from fastws import closes
from fastws.core.codecs.data import DataError, pack_data
from fastws.core.codecs.schemas import MisfitError, fit
from fastws.core.topics import Namespace
from fastws.errors import TopicError


def pack(data: Any, namespace: Namespace | None, *, of_client: bool) -> bytes:
    """Write data as JSON. Raises `TopicError` 107 for what JSON cannot hold or does not fit the namespace's schema."""
    try:
        packed = pack_data(data, of_client=of_client)
        if namespace is not None and namespace.schema is not None:
            # What is sent has to fit: msgspec's types and dataclasses hold whatever they were given, and one of another
            # type may say the same. Models of pydantic have been checked when they were made.
            is_itself = of_client or hasattr(data, "model_dump")
            fit(data if is_itself else orjson.loads(packed), namespace.schema)
    except (DataError, MisfitError) as error:
        raise TopicError(closes.MALFORMED.code, str(error)) from None
    return packed
