"""Paths of an application: raw endpoints and small HTTP answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from fastws.config.checks import path_problem
from fastws.errors import UsageError

RESERVED_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Answered by the server itself, always."""

TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
"""Names of methods and headers (RFC 9110 5.6.2)."""


@dataclass(frozen=True, slots=True)
class RawRoute:
    """A raw endpoint: frames as they are, no protocol of ours."""

    path: str
    handler: Callable[..., Any]
    auth: bool
    """Clients have to be authenticated, and the connect hooks are asked."""
    shape: str
    """`message` or `stream`."""


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """A small HTTP answer on the same port."""

    path: str
    handler: Callable[..., Any]
    methods: tuple[str, ...]
    auth: bool = False
    """Clients have to be authenticated."""


def check_path(decorator: str, path: Any) -> None:
    """Raise `UsageError` for a path that cannot be registered."""
    if not isinstance(path, str):
        raise UsageError(f"@app.{decorator} needs a path", f'write @app.{decorator}("/name")')
    problem = path_problem(path)
    if problem is not None:
        raise UsageError(f"the path {path!r} {problem}")
    if path in RESERVED_PATHS:
        raise UsageError(f"{path} is answered by the server itself", "choose another path")


def checked_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """HTTP methods, each once; `UsageError` for what is none."""
    given = (methods,) if isinstance(methods, str) or not isinstance(methods, Iterable) else tuple(methods)
    wrong = [method for method in given if not isinstance(method, str) or not TOKEN.fullmatch(method)]
    if isinstance(methods, str) or wrong or not given:
        raise UsageError(f"methods={methods!r} is no tuple of HTTP methods", 'write methods=("GET", "POST")')
    lower = [method for method in given if method != method.upper()]
    if lower:
        raise UsageError(f"the method {lower[0]!r} is not in capital letters", "HTTP methods are case-sensitive")
    return tuple(dict.fromkeys(given))
