"""fastws: a WebSocket server for very many connections. `fastws-server --help` runs it, `FastWS` is its application.

The public names are loaded when they are first asked for, so that importing a part (the command line, a table of codes)
neither needs the compiled modules nor waits for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastws.app import FastWS, Tenant
    from fastws.errors import EngineError, FastWSError, Reject, TopicError, UsageError
    from fastws.gateway.middleware import Context
    from fastws.net.connection import Connection
    from fastws.net.http import HttpRequest, HttpResponse
    from fastws.types import (
        Author,
        CloseInfo,
        ConnectionInfo,
        HistoryEntry,
        HistoryPage,
        Member,
        Presence,
        PresenceStats,
        Published,
        SendStatus,
        SessionInfo,
        TopicInfo,
        UserStatus,
    )

__version__ = "0.1.0"
__all__ = [
    "Author",
    "CloseInfo",
    "Connection",
    "ConnectionInfo",
    "Context",
    "EngineError",
    "FastWS",
    "FastWSError",
    "HistoryEntry",
    "HistoryPage",
    "HttpRequest",
    "HttpResponse",
    "Member",
    "Presence",
    "PresenceStats",
    "Published",
    "Reject",
    "SendStatus",
    "SessionInfo",
    "Tenant",
    "TopicError",
    "TopicInfo",
    "UsageError",
    "UserStatus",
    "__version__",
]

_HOMES = {
    "Author": "fastws.types",
    "CloseInfo": "fastws.types",
    "Connection": "fastws.net.connection",
    "ConnectionInfo": "fastws.types",
    "Context": "fastws.gateway.middleware",
    "EngineError": "fastws.errors",
    "FastWS": "fastws.app",
    "FastWSError": "fastws.errors",
    "HistoryEntry": "fastws.types",
    "HistoryPage": "fastws.types",
    "HttpRequest": "fastws.net.http",
    "HttpResponse": "fastws.net.http",
    "Member": "fastws.types",
    "Presence": "fastws.types",
    "PresenceStats": "fastws.types",
    "Published": "fastws.types",
    "Reject": "fastws.errors",
    "SendStatus": "fastws.types",
    "SessionInfo": "fastws.types",
    "Tenant": "fastws.app",
    "TopicError": "fastws.errors",
    "TopicInfo": "fastws.types",
    "UsageError": "fastws.errors",
    "UserStatus": "fastws.types",
}


_PARTS = frozenset({"asgi", "testing"})
"""Packages that `import fastws` is enough for: `fastws.asgi.mount(app)`."""


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
