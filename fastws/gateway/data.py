"""Data on its way to a topic, for clients and for applications alike."""

from __future__ import annotations

from typing import Any

from fastws import closes
from fastws.core.codecs.data import DataError, pack_data
from fastws.core.codecs.schemas import MisfitError, fit
from fastws.core.topics import Namespace
from fastws.errors import TopicError


def pack(data: Any, namespace: Namespace | None, *, of_client: bool) -> bytes:
    """Write data as JSON. Raises `TopicError` 107 for what JSON cannot hold or does not fit the namespace's schema."""
    if namespace is not None and namespace.schema is not None:
        try:
            fit(data, namespace.schema)
        except MisfitError as error:
            raise TopicError(closes.MALFORMED.code, str(error)) from None
    try:
        return pack_data(data, of_client=of_client)
    except DataError as error:
        raise TopicError(closes.MALFORMED.code, str(error)) from None
