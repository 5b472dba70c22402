"""From settings and an application to what is served: endpoints with their handlers, limits and rules."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex
from typing import Any, Final

from fastws.app import FastWS, RawRoute
from fastws.config import Settings
from fastws.core.deflate import compress, inflate
from fastws.core.law import Law
from fastws.core.proxies import TrustedProxies
from fastws.core.upgrade import OriginRules, UpgradeRules, origin_rules
from fastws.errors import ConfigError, EngineError, StartError
from fastws.gateway.gateway import Gateway
from fastws.hub.canary import Canary
from fastws.hub.hub import Hub
from fastws.net.http import Site, SocketPath
from fastws.net.raw import MessageRunner, RawRunner, StreamRunner
from fastws.server.engines import make_engine, start_checks
from fastws.server.lag import SlowHandlers
from fastws.server.lifespan import CANCELLED_S
from fastws_ext.endpoint import Endpoint
from fastws_ext.loop_data import LoopData

_log: Final = logging.getLogger("fastws.server")

_UNLIMITED: Final = 0x7FFFFFFF


class Assembly:
    """The parts of one worker that depend on the application. `site` is what its ingress serves."""

    def __init__(
        self,
        settings: Settings,
        app: FastWS,
        loop: asyncio.AbstractEventLoop,
        loop_data: LoopData,
        *,
        is_ready: Callable[[], tuple[bool, dict[str, Any]]],
        demo_page: bytes | None,
    ) -> None:
        self._settings = settings
        self._app = app
        self._loop = loop
        self._loop_data = loop_data
        self._keep_headers = frozenset(name.lower().encode("latin-1") for name in app.keep_headers)
        self._origins = origin_rules(settings.origins) if settings.origins else OriginRules()
        if settings.path in (*app.raw_routes, *app.http_routes):
            raise ConfigError(f"{settings.path} is a path of the application and --path too: change one of them")
        self.engine, self._backbone = make_engine(settings)
        self.hub = Hub(loop_data, self.engine, settings.node_name)
        # Processes of one node share its name, and none shall take another one's canary for its own.
        self._canary = self.hub.canary = Canary(self.engine, loop, f"{settings.node_name}:{token_hex(8)}")
        self.gateway = Gateway(app, settings, self.hub, self.engine, loop)
        self.slow_handlers = SlowHandlers(loop)
        self.is_running = False
        self.runners: dict[str, RawRunner] = {}
        sockets = {path.encode("ascii"): self._raw_path(route) for path, route in app.raw_routes.items()}
        sockets[settings.path.encode("ascii")] = self._gateway_path()
        proxies = TrustedProxies(settings.forwarded_allow_ips) if settings.proxy_headers else None
        self.site = Site(
            sockets=sockets,
            http={path.encode("ascii"): route for path, route in app.http_routes.items()},
            upgrade_hooks=app.upgrade_hooks,
            keep_headers=self._keep_headers,
            demo_page=demo_page,
            origins=self._origins,
            proxies=proxies,
            is_ready=is_ready,
            access_log=settings.access_log,
            over_tls=settings.ssl_certfile is not None,
            authenticate=self.gateway.gate.of_http,
        )

    async def start(self) -> None:
        """Start the engine; the application may use the services after this. Raises `StartError`."""
        try:
            await self.gateway.start()
        except EngineError as error:
            hint = "; start Redis there, or name another one with --redis" if error.temporary else ""
            raise StartError(f"the engine cannot start: {error}{hint}") from error
        self.is_running = True
        if self._backbone is not None:
            await start_checks(self._backbone)
        self._canary.start()

    async def end_handlers(self, grace_s: float) -> None:
        """Give coroutines of handlers and hooks `grace_s` seconds to end, then cancel them; whoever does not care about
        that either is left to itself.
        """
        tasks = [*self.gateway.tasks, *(task for runner in self.runners.values() for task in runner.tasks)]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                done, left = await asyncio.wait(late, timeout=CANCELLED_S)
                for task in done:
                    if not task.cancelled():
                        task.exception()  # it had its say, and nobody else asks
                if left:
                    _log.error("%d handlers go on %g s after they were cancelled", len(left), CANCELLED_S)

    async def stop(self) -> None:
        """Stop the engine."""
        if self.is_running:
            self.is_running = False
            self._canary.stop()
            await self.gateway.stop()

    def engine_works(self) -> bool:
        """Whether what carries messages does: a message that was sent through it has just come back."""
        return self.is_running and self._canary.is_back

    def _gateway_path(self) -> SocketPath:
        settings, gate = self._settings, self.gateway.gate
        rules = UpgradeRules(self._origins, self.gateway.subprotocols, settings.deflate)
        # Compression is for those whose identity is settled by the upgrade alone.
        plain = replace(rules, deflate=False)
        return SocketPath(
            self._endpoint(settings.path, self.gateway.callbacks()),
            rules,
            wants_request=True,
            is_common=not (self._app.connect_hooks or self._app.middleware),
            authenticate=gate.of_protocol,
            rules_of_strangers=None if gate.terms.welcome else plain,
        )

    def _raw_path(self, route: RawRoute) -> SocketPath:
        kind = StreamRunner if route.shape == "stream" else MessageRunner
        runner = self.runners[route.path] = kind(
            self._loop,
            route.handler,
            connect_hooks=self._app.connect_hooks if route.auth else (),
            around_connect=self.gateway.around_connect if route.auth else None,
            disconnect_hooks=self._app.disconnect_hooks if route.auth else (),
            judge=self.gateway.gate.enter_raw if route.auth else None,
            registry=self.gateway.raw_connections if route.auth else None,
            messages_per_s=self._settings.messages_per_second,
            bytes_per_s=self._settings.bytes_per_second,
            keep_headers=self._keep_headers,
            node=self._settings.node_name,
        )
        return SocketPath(
            self._endpoint(route.path, runner.callbacks()),
            UpgradeRules(self._origins, (), self._settings.deflate),
            wants_request=runner.wants_session or route.auth,
            is_common=not (runner.wants_session or route.auth),
            authenticate=self.gateway.gate.of_raw if route.auth else None,
        )

    def _endpoint(self, path: str, callbacks: dict[str, Any]) -> Endpoint:
        settings = self._settings
        return Endpoint(
            self._loop_data,
            path,
            max_message_size=settings.max_message_size or _UNLIMITED,
            max_fragments=settings.max_fragments or _UNLIMITED,
            max_outbox=settings.max_outbox or _UNLIMITED,
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            on_slow=self.slow_handlers,
            law_factory=Law,
            compress=compress,
            inflate=inflate,
            **callbacks,
        )
