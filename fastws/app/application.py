"""The application object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastws.app.handlers import name_of
from fastws.app.options import checked_headers, checked_namespaces
from fastws.app.registering import Registering
from fastws.app.services import NotBuilt, ServiceCalls, Tenant, not_built
from fastws.errors import UsageError
from fastws.services import Services


class FastWS(Registering, ServiceCalls):
    """An application: handlers and hooks, registered with decorators, and the services of the server that runs it.

    ::

        app = FastWS()

        @app.raw("/echo")
        def echo(conn, message):
            conn.send(message)

    and then `fastws-server module:app`. Handlers are plain functions or coroutine functions; every decorator returns
    the function as it is. What cannot work raises `UsageError` at once, with a hint. Services are to be awaited on the
    loop's thread, in handlers and in tasks that `on_startup` begins.

    :param namespaces: options of topics by namespace, like the tables `[namespaces.NAME]` of the configuration file,
        whose values hold over these; `schema` is a type of msgspec or pydantic that data has to fit.
    :param keep_headers: names of request headers, in any case, that connections keep after they are established.
    """

    def __init__(
        self, namespaces: Mapping[str, Mapping[str, Any]] | None = None, keep_headers: Iterable[str] = ()
    ) -> None:
        super().__init__()
        self.namespaces = checked_namespaces(namespaces)
        """By name, checked, durations in seconds; only the options that were given."""
        self.keep_headers = checked_headers(keep_headers)
        self._services: Services | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def tenant(self, name: str) -> Tenant:
        """The same services inside a tenant: its users, its topics, its connections."""
        if not isinstance(name, str) or not name or "\0" in name:
            raise UsageError(f"{name!r} is no tenant", 'write app.tenant("acme"); without tenants call app itself')
        return Tenant(self, name)

    async def send(self, *_arguments: Any, **_options: Any) -> Any:
        """Direct messages are not in this version: raises `UsageError`."""
        raise not_built("app.send()")

    @property
    def groups(self) -> Any:
        """Groups of users are not in this version: every use raises `UsageError`."""
        return NotBuilt("app.groups")

    @property
    def dead_letters(self) -> Any:
        """Direct messages are not in this version: every use raises `UsageError`."""
        return NotBuilt("app.dead_letters")

    # What the server calls.

    def bind(self, services: Services) -> None:
        """The server runs in this event loop: services work from now on, and nothing can be registered any more.

        Raises `UsageError` if another one serves it.
        """
        if self._services is not None:
            raise UsageError("this application is served already", "one server at a time, or make another FastWS()")
        self._services = services
        self._loop = asyncio.get_running_loop()

    def unbind(self) -> None:
        """The server has stopped."""
        self._services = self._loop = None

    @property
    def _tenant(self) -> str:
        return ""

    def _running(self, service: str) -> Services:
        if self._services is None:
            raise UsageError(
                f"app.{service}() needs a running server",
                "call it in a handler, in on_startup's background tasks, or later; not while the module is imported",
            )
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError(
                f"app.{service}() is awaited in another event loop than the server's",
                "from another thread, call asyncio.run_coroutine_threadsafe(app.publish(...), loop) with the loop that"
                " asyncio.get_running_loop() returns in on_startup",
            )
        return self._services

    def _check_open(self, handler: Callable[..., Any]) -> None:
        if self._services is not None:
            raise UsageError(f"{name_of(handler)} comes too late", "register handlers before the server runs")
