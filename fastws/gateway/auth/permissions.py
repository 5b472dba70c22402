"""The claim `permissions`: which topics a client may subscribe to and publish to."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET

from fastws.gateway.auth.claims import Permissions


class Patterns:
    """Topics by name, or by how they begin: `chat:a`, `chat:*`. Only a `*` at the end means more than itself."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        given = tuple(patterns)
        self._exact = frozenset(pattern for pattern in given if not pattern.endswith("*"))
        self._prefixes = tuple(pattern[:-1] for pattern in given if pattern.endswith("*"))

    def __contains__(self, topic: str) -> bool:
        return topic in self._exact or topic.startswith(self._prefixes)


class Grants:
    """What a token permits; None where it has no list, and other rules decide."""

    __slots__ = ("publish", "subscribe")

    def __init__(self, permissions: Permissions | None = None) -> None:
        sub, pub = (UNSET, UNSET) if permissions is None else (permissions.sub, permissions.pub)
        self.subscribe = None if sub is UNSET else Patterns(sub)
        self.publish = None if pub is UNSET else Patterns(pub)


NO_GRANTS = Grants()
