"""The option `schema` of a namespace: a type of Python that data has to fit."""

from __future__ import annotations

from typing import Any

import msgspec


def schema_problem(schema: Any) -> str | None:
    """What is wrong with a type as a schema, or None. Types of msgspec's and models of pydantic are good."""
    if _is_pydantic(schema):
        return None
    try:
        msgspec.json.Decoder(schema)
    except (TypeError, NameError) as error:
        return f"cannot be checked by msgspec: {error}"
    return None


def misfit(data: Any, schema: Any) -> str | None:
    """Why data does not fit a schema, or None if it does. The text is safe to send: it names types and fields."""
    try:
        if _is_pydantic(schema):
            schema.model_validate(data)
        else:
            msgspec.convert(data, schema)
    except msgspec.ValidationError as error:
        return str(error)
    except (ValueError, RecursionError):
        return "the data does not fit the schema of the namespace"
    return None


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and hasattr(schema, "model_validate")
