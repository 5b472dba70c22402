"""Methods of applications, which clients call with `rpc`: their names, and the type that the data has to have."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastws.app.handlers import check_signature, name_of
from fastws.core.codecs.schemas import schema_problem
from fastws.errors import UsageError

_MAX_NAME: int = 255


@dataclass(frozen=True, slots=True)
class RpcMethod:
    """One method."""

    name: str
    handler: Callable[..., Any]
    data_type: Any
    """What the data is converted to before the handler gets it; None: the handler takes it as it comes."""


def rpc_method(name: str, handler: Any) -> RpcMethod:
    """Check a handler of `@app.rpc(name)`; `UsageError` says what is wrong."""
    check_signature(handler, f'@app.rpc("{name}")', "conn", "data")
    data_type = _data_type(handler)
    if data_type is not None:
        problem = schema_problem(data_type)
        if problem is not None:
            raise UsageError(
                f"the type of data in {name_of(handler)} {problem}",
                "annotate it with a type of msgspec or pydantic, or with Any to take it as it comes",
            )
    return RpcMethod(name, handler, data_type)


def check_method_name(name: Any) -> None:
    """Raise `UsageError` for what is no name of a method."""
    if not isinstance(name, str):
        raise UsageError("@app.rpc needs the name of the method", 'write @app.rpc("name")')
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise UsageError(f"{name!r} is no name of a method", f"1 to {_MAX_NAME} characters that can be printed")


def _data_type(handler: Any) -> Any:
    """What the second parameter is annotated with; None for nothing, `Any` and `object`."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        return None  # compiled functions may not tell
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    annotation = positional[1].annotation if len(positional) > 1 else inspect.Parameter.empty
    if isinstance(annotation, str):
        annotation = _evaluated(handler, annotation)
    return None if annotation in (inspect.Parameter.empty, Any, object) else annotation


def _evaluated(handler: Any, annotation: str) -> Any:
    """An annotation that was kept as text, as all are under `from __future__ import annotations`."""
    while isinstance(handler, partial):
        handler = handler.func
    function = handler if inspect.isroutine(handler) else handler.__call__
    function = inspect.unwrap(getattr(function, "__func__", function))
    known = inspect.getclosurevars(function)
    try:
        # It is the application's own source.
        return eval(annotation, {**known.builtins, **function.__globals__, **known.nonlocals})  # noqa: S307
    except Exception as error:
        raise UsageError(
            f"the annotation {annotation!r} of data in {name_of(handler)} cannot be resolved: {error}",
            "define the type at the top of the module, outside TYPE_CHECKING, or annotate data with Any",
        ) from None
