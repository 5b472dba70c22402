"""docs/reference/python-api.md: the public names of the package, from their signatures and docstrings."""

from __future__ import annotations

import ast
import enum
import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

import fastws
import fastws.asgi
import fastws.testing
from docs.generate.markdown import GENERATED, prose, table
from fastws import types

_HEAD: Final = f"""\
# Python API

{GENERATED}

Everything here is imported from `fastws`, except where a module is named. [The guide](../guide/python-api.md) shows how
it is used.
"""

CONNECTION_INHERITED: Final = ("buffered", "close", "send")
"""What connections have from the compiled wire and applications use; the rest of the wire is the server's."""
CONNECTION_INTERNAL: Final = frozenset({"need_session", "peer", "phase"})
REQUEST: Final[dict[str, str]] = {
    "method": "in capital letters",
    "path": "the target up to `?`, not percent-decoded",
    "query": "its parameters, a dict",
    "headers": "by name in any case",
    "remote": "address and port of the client; None on a Unix socket",
    "scheme": "`https` over TLS and where a trusted proxy says so, else `http`",
    "user": "who asks, where the route has `auth=True`; empty if anonymous",
    "tenant": "empty if there is none",
    "device": "`default` unless the token names one",
    "info": "what is public about the user; None if the token has nothing",
    "claims": "of the token; empty without one",
    "body": "bytes; empty for an upgrade",
    "json()": "the body as JSON; `ValueError` if it is none",
}
FASTWS_INTERNAL: Final = frozenset({"bind", "unbind"})


def render() -> str:
    """The whole page."""
    parts = (_application(), _connection(), _values(), _errors(), _testing(), _mounting())
    return "\n".join((_HEAD, *(text for part in parts for text in part)))


def _application() -> Iterator[str]:
    yield f"## `{signature(fastws.FastWS)}`\n"
    yield prose(fastws.FastWS.__doc__)
    for name, member in members(fastws.FastWS):
        if name not in FASTWS_INTERNAL:
            yield from _member("app", name, member)


def _connection() -> Iterator[str]:
    yield "## `Connection`\n"
    yield prose(fastws.Connection.__doc__)
    named = [(name, member) for name, member in members(fastws.Connection) if name not in CONNECTION_INTERNAL]
    named += [(name, getattr(fastws.Connection, name)) for name in CONNECTION_INHERITED]
    attributes = [(f"`{name}`", one_line(member.__doc__)) for name, member in sorted(named) if not callable(member)]
    yield table(("attribute", "is"), attributes)
    for name, member in sorted(named):
        if callable(member):
            yield from _member("conn", name, member)


def _values() -> Iterator[str]:
    yield "## Values\n"
    yield "What handlers receive and services return. Those without a note are in `fastws.types`.\n"
    found = {
        name: value
        for name, value in vars(types).items()
        if inspect.isclass(value) and value.__module__ == types.__name__
    }
    for name, value in found.items():
        yield f"### `{name}`\n"
        yield prose(value.__doc__)
        notes = attribute_notes(value)
        if issubclass(value, enum.Enum):
            yield table(("member", "means"), [(f"`{entry.name}`", notes.get(entry.name, "")) for entry in value])
        else:
            kinds = field_types(value).items()
            yield table(("field", "type", "is"), [(f"`{n}`", f"`{kind}`", notes.get(n, "")) for n, kind in kinds])
    yield "### `Context`\n"
    yield prose(fastws.Context.__doc__)
    rows = [(f"`{name}`", one_line(member.__doc__)) for name, member in members(fastws.Context)]
    yield table(("attribute", "is"), rows)
    yield "### `HttpRequest`\n"
    yield prose(fastws.HttpRequest.__doc__)
    yield table(("attribute", "is"), [(f"`{name}`", text) for name, text in REQUEST.items()])


def _errors() -> Iterator[str]:
    yield "## Errors\n"
    for name in fastws.__all__:
        value = getattr(fastws, name)
        if inspect.isclass(value) and issubclass(value, Exception):
            yield f"### `{signature(value)}`\n"
            yield prose(value.__doc__)


def _testing() -> Iterator[str]:
    yield "## `fastws.testing`\n"
    yield prose(fastws.testing.__doc__)
    for owner, value in (("server", fastws.testing.TestServer), ("client", fastws.testing.Client)):
        yield f"### `{value.__name__}`\n"
        yield prose(value.__doc__)
        for name, member in members(value):
            yield from _member(owner, name, member, level=4)
    for error in (fastws.testing.CommandError, fastws.testing.ConnectionClosed):
        yield f"### `{error.__name__}`\n"
        yield prose(error.__doc__)


def _mounting() -> Iterator[str]:
    yield "## `fastws.asgi`\n"
    yield prose(fastws.asgi.__doc__)
    yield f"### `{signature(fastws.asgi.mount)}`\n"
    yield prose(fastws.asgi.mount.__doc__)
    yield "### `Mounted`\n"
    yield prose(fastws.asgi.Mounted.__doc__)
    for name, member in members(fastws.asgi.Mounted):
        yield from _member("mounted", name, member, level=4)


def _member(owner: str, name: str, member: Any, level: int = 3) -> Iterator[str]:
    if isinstance(member, property):
        yield f"{'#' * level} `{owner}.{name}`\n"
    else:
        called = inspect.iscoroutinefunction(member)
        yield f"{'#' * level} `{'await ' if called else ''}{owner}.{signature(member, name)}`\n"
    yield prose(documentation(member))


def documentation(member: Any) -> str:
    """The docstring; that of compiled functions begins with their signature."""
    text = inspect.getdoc(member) or ""
    head, _, rest = text.partition("\n")
    return rest if re.match(r"\w+\(self", head) else text


def members(owner: type) -> Iterator[tuple[str, Any]]:
    """What a class and those of its bases that are fastws's have in public, in the order of the source."""
    seen: set[str] = set()
    for base in owner.__mro__:
        if not base.__module__.startswith("fastws."):
            continue
        for name, member in vars(base).items():
            if not name.startswith("_") and name not in seen and (callable(member) or isinstance(member, property)):
                seen.add(name)
                yield name, member


def signature(callable_: Any, name: str = "") -> str:
    """Name and parameters, without types of what it returns."""
    if callable_ is fastws.FastWSError:
        return callable_.__name__
    found = inspect.signature(callable_)
    parameters = [p for p in found.parameters.values() if p.name != "self"]
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    text = str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    text = re.sub(r"<(\w+\.\w+): \d+>", r"\1", text)  # members of enumerations
    return f"{name or callable_.__name__}{text}"


def one_line(docstring: str | None) -> str:
    """A short docstring in one line."""
    return " ".join(inspect.cleandoc(docstring or "").split())


def field_types(owner: type) -> dict[str, str]:
    """The annotations of a class as its source has them, which is the same in every version of Python."""
    (found,) = ast.parse(inspect.getsource(owner)).body
    assert isinstance(found, ast.ClassDef)
    annotated = [node for node in found.body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: ast.unparse(node.annotation) for node in annotated if isinstance(node.target, ast.Name)}


def attribute_notes(owner: type) -> dict[str, str]:
    """The texts that stand below the fields of a class in its source."""
    found = re.findall(r'^    (\w+)\b[^\n]*\n    """(.*?)"""', inspect.getsource(owner), re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}
