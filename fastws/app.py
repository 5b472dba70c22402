"""The application object: what users of fastws write, as registrations that a server reads later."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from fastws.config import check_namespaces
from fastws.config.checks import path_problem
from fastws.core.schemas import schema_problem
from fastws.errors import ConfigError, UsageError
from fastws.types import Published

Function = TypeVar("Function", bound=Callable[..., Any])

MESSAGE: Final = "message"
"""Shape of a raw handler that is called for each message: `handler(conn, message)`."""
STREAM: Final = "stream"
"""Shape of a raw handler that receives by itself: `async handler(conn)`."""

RESERVED_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Answered by the server itself, always."""

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)


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


class Services(Protocol):
    """What a running server does for its application."""

    async def publish(self, topic: str, data: Any, *, key: str | None, exclude: Any) -> Published: ...

    async def broadcast(self, data: Any) -> None: ...

    async def disconnect(self, conn: Any, code: int, reason: str) -> bool: ...


class FastWS:
    """An application: handlers and hooks, registered with decorators, and the services of the server that runs it.

    ::

        app = FastWS()

        @app.raw("/echo")
        def echo(conn, message):
            conn.send(message)

    and then `fastws-server module:app`. Handlers are plain functions or coroutine functions; every decorator returns
    the function as it is. What cannot work raises `UsageError` at once, with a hint.

    :param namespaces: options of topics by namespace, like the tables `[namespaces.NAME]` of the configuration file,
        whose values hold over these.
    :param keep_headers: names of request headers, in any case, that connections keep after they are established.
    """

    def __init__(
        self, namespaces: Mapping[str, Mapping[str, Any]] | None = None, keep_headers: Iterable[str] = ()
    ) -> None:
        self.namespaces = _checked_namespaces(namespaces)
        """By name, checked, durations in seconds; only the options that were given."""
        self.keep_headers = _checked_headers(keep_headers)
        self.raw_routes: dict[str, RawRoute] = {}
        self.http_routes: dict[str, HttpRoute] = {}
        self.connect_hooks: list[Callable[..., Any]] = []
        self.disconnect_hooks: list[Callable[..., Any]] = []
        self.startup_hooks: list[Callable[..., Any]] = []
        self.shutdown_hooks: list[Callable[..., Any]] = []
        self.upgrade_hooks: list[Callable[..., Any]] = []
        self._services: Services | None = None

    # Registrations.

    def raw(self, path: str, auth: bool = False) -> Callable[[Function], Function]:
        """Register a raw endpoint.

        The handler is `handler(conn, message)`, plain or coroutine, called for each message (str or bytes), or a
        coroutine `handler(conn)` that receives by itself: `async for message in conn`. The connection closes 1000 when
        the latter returns. An exception closes 1011.

        :param path: compared exactly, as it stands in the request line.
        :param auth: only for authenticated clients, after `on_connect`.
        """
        self._check_path("raw", path)

        def register(handler: Function) -> Function:
            shape = _raw_shape(handler)
            self._claim(path, handler)
            self.raw_routes[path] = RawRoute(path, handler, bool(auth), shape)
            return handler

        return register

    def http(self, path: str, methods: Iterable[str] = ("GET",)) -> Callable[[Function], Function]:
        """Register a small HTTP answer: `handler(request)`, plain or coroutine.

        It returns a dict or list (JSON), str (text/plain), bytes (octet-stream) or None (204). An exception answers
        500.

        :param path: compared exactly; one handler for all its methods.
        :param methods: HTTP methods in capital letters; GET covers HEAD.
        """
        self._check_path("http", path)
        accepted = _checked_methods(methods)

        def register(handler: Function) -> Function:
            _check_signature(handler, "@app.http", "request")
            self._claim(path, handler)
            self.http_routes[path] = HttpRoute(path, handler, accepted)
            return handler

        return register

    def on_connect(self, hook: Function) -> Function:
        """Register `hook(conn)`, asked before a connection is welcomed; `Reject(1000..4999)` closes it."""
        return self._add(self.connect_hooks, hook, "@app.on_connect", "conn")

    def on_disconnect(self, hook: Function) -> Function:
        """Register `hook(info, close)`, told when a connection has ended whose `on_connect` succeeded.

        `info` is a `ConnectionInfo`, `close` a `CloseInfo`.
        """
        return self._add(self.disconnect_hooks, hook, "@app.on_disconnect", "info", "close")

    def on_startup(self, hook: Function) -> Function:
        """Register `hook()`, run before the server listens; an exception ends the process with code 3."""
        return self._add(self.startup_hooks, hook, "@app.on_startup")

    def on_shutdown(self, hook: Function) -> Function:
        """Register `hook()`, run after the last connection is gone."""
        return self._add(self.shutdown_hooks, hook, "@app.on_shutdown")

    def on_upgrade(self, hook: Function) -> Function:
        """Register `hook(request)`, asked before an upgrade is answered; `Reject(400..599)` refuses it."""
        return self._add(self.upgrade_hooks, hook, "@app.on_upgrade", "request")

    # Services.

    async def publish(self, topic: str, data: Any, *, key: str | None = None, exclude: Any = None) -> Published:
        """Publish to a topic: everyone who is subscribed hears it.

        :param data: anything that JSON can hold.
        :param key: idempotency: within 5 minutes a topic takes one publication with this key.
        :param exclude: a connection, or its id, that shall not hear it.
        :raises TopicError: 107 for a name or data that cannot be, 102 for an undeclared namespace, 110 for too much.
        :raises UsageError: the server does not run.
        """
        return await self._running("publish").publish(topic, data, key=key, exclude=exclude)

    async def broadcast(self, data: Any) -> None:
        """Send `{"event": "message", "data", "ts"}` to every connection of the client protocol.

        :raises TopicError: 107 for data that JSON cannot hold, 110 for too much of it.
        :raises UsageError: the server does not run.
        """
        await self._running("broadcast").broadcast(data)

    async def disconnect(self, *, conn: Any, code: int = 4503, reason: str = "") -> bool:
        """Close a connection, given itself or its id; False if it is not there.

        :param code: 1000 to 4999; 4000-4499 ask the client to connect again, 4500-4999 not to.
        :param reason: at most 123 bytes of UTF-8; by default the word that belongs to the code.
        :raises UsageError: the server does not run, or the code cannot be sent.
        """
        return await self._running("disconnect").disconnect(conn, code, reason)

    # What the server calls.

    def bind(self, services: Services) -> None:
        """The server runs: services work from now on, and nothing can be registered any more."""
        self._services = services

    def unbind(self) -> None:
        """The server has stopped."""
        self._services = None

    def _running(self, service: str) -> Services:
        if self._services is None:
            raise UsageError(
                f"app.{service}() needs a running server",
                "call it in a handler, in on_startup's background tasks, or later; not while the module is imported",
            )
        return self._services

    def _check_path(self, decorator: str, path: str) -> None:
        if not isinstance(path, str):
            raise UsageError(f"@app.{decorator} needs a path", f'write @app.{decorator}("/name")')
        problem = path_problem(path)
        if problem is not None:
            raise UsageError(f"the path {path!r} {problem}")
        if path in RESERVED_PATHS:
            raise UsageError(f"{path} is answered by the server itself", "choose another path")

    def _claim(self, path: str, handler: Callable[..., Any]) -> None:
        self._check_open(handler)
        other = self.raw_routes.get(path) or self.http_routes.get(path)
        if other is not None:
            raise UsageError(
                f"{path} has a handler already, {_name(other.handler)}",
                f"give {_name(handler)} another path: raw and http handlers share them",
            )

    def _add(self, hooks: list[Callable[..., Any]], hook: Function, where: str, *wanted: str) -> Function:
        self._check_open(hook)
        _check_signature(hook, where, *wanted)
        hooks.append(hook)
        return hook

    def _check_open(self, handler: Callable[..., Any]) -> None:
        if self._services is not None:
            raise UsageError(f"{_name(handler)} comes too late", "register handlers before the server runs")


def _name(handler: Any) -> str:
    return str(getattr(handler, "__qualname__", None) or repr(handler))


def _check_callable(handler: Any, where: str) -> None:
    if not callable(handler):
        raise UsageError(f"{where} got {handler!r}, which cannot be called", "put it above a function")
    if inspect.isclass(handler):
        raise UsageError(f"{where} got the class {_name(handler)}", "register a function, or an instance with __call__")
    called = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
    if inspect.isasyncgenfunction(called) or inspect.isgeneratorfunction(called):
        raise UsageError(f"{_name(handler)} has a yield", "send with conn.send, or return the result")


def _accepts(handler: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many positional arguments."""
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return True  # compiled functions may not tell
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _is_coroutine_function(handler: Any) -> bool:
    while isinstance(handler, partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def _check_signature(handler: Any, where: str, *wanted: str) -> None:
    _check_callable(handler, where)
    if not _accepts(handler, len(wanted)):
        raise UsageError(
            f"{_name(handler)}{_signature(handler)} cannot be called with ({', '.join(wanted)})",
            f"write: {where}\n      def {getattr(handler, '__name__', 'handler')}({', '.join(wanted)}): ...",
        )


def _raw_shape(handler: Any) -> str:
    _check_callable(handler, "@app.raw")
    if _accepts(handler, 2):
        return MESSAGE
    if not _accepts(handler, 1):
        raise UsageError(
            f"{_name(handler)}{_signature(handler)} can be called neither with (conn, message) nor with (conn)",
            "write: def handler(conn, message), or: async def handler(conn)",
        )
    if not _is_coroutine_function(handler):
        raise UsageError(
            f"{_name(handler)}{_signature(handler)} takes the connection alone, but is no coroutine function",
            "write: def handler(conn, message) to be called for each message, or: async def handler(conn)",
        )
    return STREAM


def _signature(handler: Any) -> str:
    return str(inspect.signature(handler))


def _checked_methods(methods: Iterable[str]) -> tuple[str, ...]:
    given = (methods,) if isinstance(methods, str) else tuple(methods)
    wrong = [method for method in given if not isinstance(method, str) or not _TOKEN.fullmatch(method)]
    if isinstance(methods, str) or wrong or not given:
        raise UsageError(f"methods={methods!r} is no tuple of HTTP methods", 'write methods=("GET", "POST")')
    lower = [method for method in given if method != method.upper()]
    if lower:
        raise UsageError(f"the method {lower[0]!r} is not in capital letters", "HTTP methods are case-sensitive")
    return tuple(dict.fromkeys(given))


def _checked_headers(names: Iterable[str]) -> tuple[str, ...]:
    given = tuple(names)
    wrong = [name for name in given if not isinstance(name, str) or not _TOKEN.fullmatch(name)]
    if isinstance(names, str) or wrong:
        raise UsageError(
            f"keep_headers={names!r} is no tuple of header names", 'write keep_headers=("user-agent", "x-request-id")'
        )
    return given


def _checked_namespaces(tables: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    if tables is None:
        return {}
    if not isinstance(tables, Mapping):
        raise UsageError(f"namespaces={tables!r} is no dict", 'write namespaces={"chat": {"subscribe": "all"}}')
    schemas = {
        name: table["schema"] for name, table in tables.items() if isinstance(table, Mapping) and "schema" in table
    }
    for name, schema in schemas.items():
        problem = schema_problem(schema)
        if problem is not None:
            raise UsageError(f"the schema of the namespace {name!r} {problem}", "give a type of msgspec or pydantic")
    plain = {
        name: {key: value for key, value in table.items() if key != "schema"} if name in schemas else table
        for name, table in tables.items()
    }
    try:
        checked = check_namespaces(plain, "FastWS(namespaces=...)")
    except ConfigError as error:
        raise UsageError(str(error)) from None
    for name, schema in schemas.items():
        checked[name]["schema"] = schema
    return checked
