"""Types of Python that data has to fit: the option `schema` of a namespace, and the data of applications' methods."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.inspect import CustomType, type_info


class MisfitError(ValueError):
    """The data does not fit the type; the message says why, and is safe to send: it names types and fields."""


def schema_problem(schema: Any) -> str | None:
    """What is wrong with a type as a schema, or None. Types of msgspec's and models of pydantic are good."""
    if _is_pydantic(schema):
        return None
    try:
        msgspec.json.Decoder(schema)
        known = not isinstance(type_info(schema), CustomType)
    except (TypeError, NameError) as error:
        return f"cannot be checked by msgspec: {error}"
    return None if known else f"cannot be checked by msgspec: {schema!r} is a class of its own"


def fit(data: Any, schema: Any) -> Any:
    """Convert data to the type. Raises `MisfitError` if it does not fit."""
    try:
        return schema.model_validate(data) if _is_pydantic(schema) else msgspec.convert(data, schema)
    except msgspec.ValidationError as error:
        raise MisfitError(str(error)) from None
    except (ValueError, RecursionError):
        raise MisfitError("the data does not fit the type that is wanted here") from None


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and hasattr(schema, "model_validate")
