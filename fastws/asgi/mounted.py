"""The ASGI application: when it starts and ends, and which of its scopes are served how."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from fastws.app import FastWS
from fastws.asgi.exchanges import Exchange, HttpExchange, WebSocketExchange, deny
from fastws.asgi.translating import Receive, Scope, Send
from fastws.config import Settings
from fastws.config.embedded import OF_THE_PROCESS, embedded
from fastws.core.proxies import canonical_address, is_loopback
from fastws.errors import ConfigError, UsageError
from fastws.server.serving import Serving

_log: Final = logging.getLogger("fastws.asgi")

OF_THE_SERVER: Final = OF_THE_PROCESS | {
    *("host", "port", "uds", "backlog", "tcp_keepalive", "ping_interval", "ping_timeout", "deflate"),
    *("admin_host", "admin_port", "admin_key", "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password"),
    *("ssl_ca_certs", "ssl_require_client_cert", "data_dir"),
}
"""Options of sockets and frames, which are the ASGI server's, and of processes beside it."""

_EXCHANGES: Final[dict[str, type[Exchange]]] = {"http": HttpExchange, "websocket": WebSocketExchange}

_PROTECTED: Final = (
    "protected mode: no authentication is configured, and this address can be reached from other machines; "
    "mount with jwt_secret=..., or with anonymous=True to accept clients without a token"
)


def mount(app: FastWS, **settings: Any) -> Mounted:
    """Make an ASGI application of `app`, to be mounted in another or served by itself.

    ::

        api.mount("/realtime", fastws.asgi.mount(app))                     # /realtime/ws, /realtime/echo, ...
        api.router.routes.append(WebSocketRoute("/ws", mount(app)))        # /ws alone

    Each process of the ASGI server is a server of its own, and publications stay in it unless `redis` connects them.
    Pings are the ASGI server's as well, so `welcome` says 0 of ours, and `heartbeat` answers 108.

    Variables `FASTWS_*` and `./fastws.toml` count as they do for `fastws-server`; options of processes, sockets and
    frames (`workers`, `host`, `ping_interval`, ...) are the ASGI server's business. Clients without a token are let in
    where no authentication is configured and the request has come in over this machine's loopback, or with
    `anonymous=True`.

    :param settings: options by their names in Python, such as `jwt_secret="..."`, `path="/ws"` or `dev=True`.
    :raises ConfigError: unknown ones, values that cannot be, and options that have no effect here.
    """
    if not isinstance(app, FastWS):
        raise UsageError(f"a FastWS is mounted, not {app!r}", "mount(app), with app = FastWS()")
    given = embedded(settings, name="asgi:app", without=OF_THE_SERVER)
    if given.redis == "embedded":
        raise ConfigError("redis: embedded belongs to fastws-server, which starts it; give the URL of a Redis here")
    # What environment and file say of these is meant for fastws-server.
    own = replace(given, uds=None, ssl_certfile=None, ssl_require_client_cert=False, admin_port=-1)
    return Mounted(app, replace(own, deflate=False, ping_interval=0.0))


class Mounted:
    """An ASGI application. It starts when its `lifespan` is entered, or else with the first request.

    Frameworks do not tell what is mounted in them when they start and stop, so give them this one's lifespan:
    `FastAPI(lifespan=mounted.lifespan)`, or `async with mounted.lifespan():` in one of your own. Without that
    `on_startup` is not called, and services do not work, before somebody connects; `on_shutdown` is called when the
    event loop ends. Served by itself it needs nothing.
    """

    def __init__(self, app: FastWS, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._is_guarded = not (settings.auth_configured or settings.anonymous)
        self._has_warned = False
        self._life: Life | None = None

    @asynccontextmanager
    async def lifespan(self, _parent: object = None) -> AsyncIterator[None]:
        """Serve for the time of the block. Its argument is the application it is mounted in, and not needed.

        :raises StartError: `on_startup` failed.
        """
        life = self._begin()
        try:
            await life.started()
            yield
        finally:
            await life.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope of ASGI 3."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._serve_lifespan(receive, send)
            return
        exchange_of = _EXCHANGES.get(kind)
        if exchange_of is None:
            raise UsageError(f"a scope of the type {kind!r} cannot be served", "it is http, websocket or lifespan")
        if self._is_guarded and not _came_over_loopback(scope):
            self._warn_once()
            await deny(scope, send, 403, _PROTECTED)
            return
        life = self._life
        if life is None or life.is_over:
            life = self._begin_late()
        serving = await life.started()
        await exchange_of.serve(serving.listeners.make_connection, scope, receive, send)

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        stage = "startup"
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                stage = "shutdown"
                await receive()
        except Exception as error:
            await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
            # As Starlette does: servers have heard enough, and its TestClient waits for this.
            raise
        await send({"type": "lifespan.shutdown.complete"})

    def _begin(self) -> Life:
        if self._life is not None and not self._life.is_over:
            raise UsageError("this application is served already", "one event loop serves it, and one lifespan")
        self._life = Life(self.settings, self.app)
        return self._life

    def _begin_late(self) -> Life:
        if self.app.startup_hooks or self.app.shutdown_hooks:
            _log.warning(
                "started by the first request, and so are the hooks of on_startup: "
                "give the application around this one lifespan=mounted.lifespan"
            )
        return self._begin()

    def _warn_once(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(_PROTECTED)


class Life:
    """One time of being served, in one event loop, from the start to the end.

    A task of its own does both: when the loop ends first, which cancels what is left in it, that is the end as well.
    """

    def __init__(self, settings: Settings, app: FastWS) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Serving] = self._loop.create_future()
        self._ending = asyncio.Event()
        self._task = self._loop.create_task(self._live(Serving(settings, app)))
        # However it ends: nobody waits for what will not come.
        self._task.add_done_callback(lambda _: self._ready.cancel())

    @property
    def is_over(self) -> bool:
        """It has ended, or never began well."""
        return self._task.done() or self._loop.is_closed()

    async def started(self) -> Serving:
        """What serves, once it does. Raises what has kept it from starting."""
        if self._loop is not asyncio.get_running_loop():
            raise UsageError(
                "this application is served in another event loop already",
                "tests: one loop for all clients, `with TestClient(app) as client`",
            )
        return await asyncio.shield(self._ready)

    async def end(self) -> None:
        """Close every connection and stop, also in the middle of the start; returns when that is done."""
        self._ending.set()
        if not self._ready.done():
            self._task.cancel()
        await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.result()

    async def _live(self, serving: Serving) -> None:
        try:
            serving.build()
        except Exception as error:
            self._ready.set_exception(error)
            return
        try:
            if await self._start(serving):
                await self._ending.wait()
        finally:
            self._ready.cancel()
            await serving.empty()
            await serving.shutdown()

    async def _start(self, serving: Serving) -> bool:
        try:
            await serving.open()
            await serving.run_startup_hooks()
            await serving.listen()
        except Exception as error:
            self._ready.set_exception(error)
            return False
        self._ready.set_result(serving)
        return True


def _came_over_loopback(scope: Scope) -> bool:
    """Whether the address that a request has come in on is of this machine alone, or no address of a network.

    ASGI servers tell that address; None and names are those of Unix sockets and of clients in the same process.
    """
    server = scope.get("server")
    try:
        return not server or is_loopback(canonical_address(str(server[0])))
    except ValueError:
        return True
