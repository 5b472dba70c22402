"""Names of topics, and the options of the namespaces they belong to.

A topic's namespace is what stands before its first colon; a topic without one is in `default`. So `price` is in
`default`, and `price:eur` in `price`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastws.core.publication import Retention

MAX_TOPIC_BYTES: Final = 255
"""Longest name of a topic, in UTF-8."""

DEFAULT_NAMESPACE: Final = "default"

ALL: Final = "all"
AUTHENTICATED: Final = "authenticated"
TOKEN: Final = "token"
NOBODY: Final = "nobody"

_SCOPE: Final = "\0"  # never inside the name of a topic


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """What holds for every topic of one namespace. `Namespace()` has the defaults."""

    subscribe: str = AUTHENTICATED
    """Who may subscribe: `all`, `authenticated`, `token` or `nobody`."""
    publish: str = AUTHENTICATED
    """Who may publish, in the same words."""
    history_size: int = 0
    """Publications that are kept per topic; 0 = no history, and so no offsets."""
    history_ttl: float = 0.0
    """Seconds that they are kept; 0 = no limit of age."""
    recover: bool = False
    """Whether a client that comes back may be given what it missed."""
    presence: bool = False
    join_leave: bool = False
    max_subscribers: int = 0
    """Subscribers of one topic; 0 = unlimited."""
    slow_policy: str = "disconnect"
    """What becomes of a publication that does not fit into an outbox: `disconnect`, `drop_oldest`, `conflate`."""
    conflate_key: str = ""
    """The field of the data whose value tells which publications replace each other; empty: the topic itself."""
    echo: bool = True
    """Whether publishers hear themselves unless their command says otherwise."""
    schema: Any = None
    """A msgspec or pydantic type that the data has to fit."""

    retention: Retention | None = field(init=False, repr=False, compare=False)
    """What is kept of each topic; None: no history, and so no offsets."""

    def __post_init__(self) -> None:
        retention = Retention(self.history_size, self.history_ttl) if self.history_size > 0 else None
        object.__setattr__(self, "retention", retention)


DEVELOPMENT: Final = Namespace(
    subscribe=ALL, publish=ALL, history_size=100, history_ttl=600.0, recover=True, presence=True, join_leave=True
)
"""What an undeclared namespace is under `--dev`."""


class Namespaces:
    """All namespaces of a server."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]], *, dev: bool = False) -> None:
        """`tables`: declared namespaces with their options, checked already (see `fastws.config.check_namespaces`).

        `dev`: any other namespace exists as well, open to everybody.
        """
        self._declared = {name: Namespace(**table) for name, table in tables.items()}
        self._other = DEVELOPMENT if dev else None
        if not dev:
            self._declared.setdefault(DEFAULT_NAMESPACE, Namespace())

    def of(self, topic: str) -> Namespace | None:
        """The options that hold for a topic, or None if its namespace is not declared."""
        return self._declared.get(namespace_of(topic), self._other)


def namespace_of(topic: str) -> str:
    """The name of a topic's namespace."""
    name, colon, _ = topic.partition(":")
    return name if colon else DEFAULT_NAMESPACE


def topic_problem(topic: str) -> str | None:
    """What is wrong with the name of a topic, or None. Names are compared byte by byte, never normalised."""
    if 0 < len(topic) <= MAX_TOPIC_BYTES and topic.isascii() and topic.isprintable():
        return None
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        return "the name of a topic is text in UTF-8"
    if not 1 <= size <= MAX_TOPIC_BYTES:
        return f"the name of a topic has 1 to {MAX_TOPIC_BYTES} bytes"
    if any(unicodedata.category(letter) == "Cc" for letter in topic):
        return "the name of a topic has no control characters"
    return None


def scoped(tenant: str, topic: str) -> str:
    """The name under which a tenant's topic is known inside the server; without a tenant, the topic's own."""
    return f"{tenant}{_SCOPE}{topic}" if tenant else topic


def unscoped(name: str) -> tuple[str, str]:
    """(tenant, the name that the tenant knows) of what `scoped` made."""
    tenant, separator, own = name.partition(_SCOPE)
    return (tenant, own) if separator else ("", name)
