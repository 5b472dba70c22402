"""Types of Python that data has to fit: the option `schema` of a namespace, and the data of applications' methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, get_args

import msgspec
from msgspec.inspect import CustomType, type_info


class MisfitError(ValueError):
    """The data does not fit the type; the message says why, and is safe to send: it names types and fields."""


def schema_problem(schema: Any) -> str | None:
    """What is wrong with a type as a schema, or None.

    Types of msgspec's are good, models of pydantic, and lists, dicts and unions of either.
    """
    try:
        hash(schema)  # converters are kept by type
        if _has_pydantic(schema):
            return None
        msgspec.json.Decoder(schema)
        known = not isinstance(type_info(schema), CustomType)
    except (TypeError, NameError) as error:
        return f"cannot be checked: {error}"
    return None if known else f"cannot be checked by msgspec: {schema!r} is a class of its own"


def fit(data: Any, schema: Any) -> Any:
    """Convert data to the type. Raises `MisfitError` if it does not fit."""
    try:
        return _converter(schema)(data)
    except msgspec.ValidationError as error:
        raise MisfitError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise MisfitError(_complaint(error)) from None


@lru_cache(maxsize=1024)
def _converter(schema: Any) -> Callable[[Any], Any]:
    """What converts data to the type."""
    if not _has_pydantic(schema):
        return partial(msgspec.convert, type=schema)
    validate: Callable[[Any], Any]
    if _is_pydantic(schema):
        validate = schema.model_validate
    else:
        validate = import_module("pydantic").TypeAdapter(schema).validate_python
    return validate


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and hasattr(schema, "model_validate")


def _has_pydantic(schema: Any) -> bool:
    return _is_pydantic(schema) or any(_has_pydantic(part) for part in get_args(schema))


def _complaint(error: Exception) -> str:
    """What pydantic says about the first field that is wrong; other errors may be about anything."""
    try:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]  # type: ignore[attr-defined]
        place = ".".join(str(part) for part in first["loc"])
        return f"{first['msg']} - at {place}" if place else str(first["msg"])
    except (AttributeError, TypeError, LookupError):
        return "the data does not fit the type that is wanted here"
