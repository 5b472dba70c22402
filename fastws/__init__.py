"""fastws: a WebSocket server for very many connections. `fastws-server --help` runs it, `FastWS` is its application.

The public names are loaded when they are first asked for, so that importing a part (the command line, a table of codes)
neither needs the compiled modules nor waits for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastws.app import FastWS
    from fastws.errors import FastWSError, Reject, TopicError, UsageError
    from fastws.net.connection import Connection
    from fastws.net.http import HttpRequest, HttpResponse
    from fastws.types import CloseInfo, ConnectionInfo, Published, SendStatus

__version__ = "0.1.0"
__all__ = [
    "CloseInfo",
    "Connection",
    "ConnectionInfo",
    "FastWS",
    "FastWSError",
    "HttpRequest",
    "HttpResponse",
    "Published",
    "Reject",
    "SendStatus",
    "TopicError",
    "UsageError",
    "__version__",
]

_HOMES = {
    "CloseInfo": "fastws.types",
    "Connection": "fastws.net.connection",
    "ConnectionInfo": "fastws.types",
    "FastWS": "fastws.app",
    "FastWSError": "fastws.errors",
    "HttpRequest": "fastws.net.http",
    "HttpResponse": "fastws.net.http",
    "Published": "fastws.types",
    "Reject": "fastws.errors",
    "SendStatus": "fastws.types",
    "TopicError": "fastws.errors",
    "UsageError": "fastws.errors",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
