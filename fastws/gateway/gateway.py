"""The gateway: what the endpoint of the client protocol calls.

A connection is opened, asked about (`on_connect`), welcomed, and then everything it says is decoded and executed in
order. While a command waits for something, what comes after it is queued.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any, Final, Protocol

from fastws.config import Settings, contradictions
from fastws.core.codecs import CODECS
from fastws.core.codecs.data import pack_data
from fastws.core.patterns import PatternTable
from fastws.core.topics import Namespaces
from fastws.engine.contract import Engine
from fastws.errors import ConfigError, UsageError
from fastws.gateway.auth.access import Access
from fastws.gateway.auth.gate import Gate
from fastws.gateway.commands import Commands
from fastws.gateway.commands.authenticating import Authenticating
from fastws.gateway.commands.calling import Calling
from fastws.gateway.commands.keeping import Keeping
from fastws.gateway.commands.looking import Looking
from fastws.gateway.commands.publishing import Publishing
from fastws.gateway.commands.subscribing import Subscribing
from fastws.gateway.execution import Execution
from fastws.gateway.losses import Farewells, Losses
from fastws.gateway.middleware import onion_of
from fastws.gateway.opening import Opening
from fastws.gateway.places import Places, RawConnections
from fastws.gateway.rules import topic_hooks, warn_of_unreachable
from fastws.gateway.services import GatewayServices
from fastws.gateway.session import CONNECTING, ENDED, READY, Session
from fastws.hub.hub import Hub
from fastws.net.connection import OPEN, Connection
from fastws.net.hooks import Hooks
from fastws.net.stepping import step
from fastws.types import CloseInfo, ConnectionInfo, SendStatus
from fastws_ext.frames import encode_frame

_log: Final = logging.getLogger("fastws.gateway")

FAREWELL_S: Final = 5.0
"""Seconds that disconnect hooks have to end when the server stops."""


class Application(Protocol):
    """What the gateway reads of an application, and how it lets it use the services."""

    @property
    def namespaces(self) -> Mapping[str, Mapping[str, Any]]: ...

    @property
    def keep_headers(self) -> Sequence[str]: ...

    @property
    def connect_hooks(self) -> Sequence[Callable[..., Any]]: ...

    @property
    def disconnect_hooks(self) -> Sequence[Callable[..., Any]]: ...

    @property
    def raw_routes(self) -> Mapping[str, Any]: ...

    @property
    def middleware(self) -> Sequence[Any]: ...

    @property
    def rpc_methods(self) -> Mapping[str, Any]: ...

    @property
    def subscribe_rules(self) -> PatternTable[Callable[..., Any]]: ...

    @property
    def publish_rules(self) -> PatternTable[Callable[..., Any]]: ...

    @property
    def publish_hooks(self) -> PatternTable[Callable[..., Any]]: ...

    @property
    def subscribe_hooks(self) -> PatternTable[Callable[..., Any]]: ...

    @property
    def unsubscribe_hooks(self) -> PatternTable[Callable[..., Any]]: ...

    def bind(self, services: Any) -> None: ...

    def unbind(self) -> None: ...


class Gateway:
    """The client protocol of one worker.

    The worker makes it with hub and engine, awaits `start`, gives `callbacks` to the endpoint of `--path`, and awaits
    `stop` when the connections are gone. `subprotocols` is what that path offers.
    """

    subprotocols: Final = tuple(codec.subprotocol for codec in CODECS)
    wants_request: Final = True
    """Connections come with their upgrade request where it had anything beyond the common."""

    def __init__(
        self, app: Application, settings: Settings, hub: Hub, engine: Engine, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.errors = 0
        """Exceptions of the gateway's own callbacks so far."""
        self.tasks: set[asyncio.Task[Any]] = set()
        """Coroutines under way."""
        self._departures: set[asyncio.Task[None]] = set()
        self._app = app
        self._settings = settings
        self._hub = hub
        self._engine = engine
        self._loop = loop
        self.gate = Gate(settings, keep_claims=_asks_for_claims(app))
        """Judges tokens, for raw endpoints and http routes as well."""
        onion = onion_of(app.middleware)
        self.around_connect = onion.around_connect if onion is not None else None
        """The application's middleware around the connect hooks, of raw endpoints too; None if there is none."""
        self._hooks = Hooks(app.connect_hooks, app.disconnect_hooks, settings.node_name, self.around_connect)
        self._losses = Losses(self._hooks, loop)
        self._losses.listen(hub)
        self._farewells = Farewells(hub, engine, loop, self._tell_end, self._losses.tell)
        namespaces = Namespaces(merged_namespaces(app.namespaces, settings.namespaces), dev=settings.dev)
        warn_of_unreachable(app, namespaces)
        access = Access(
            namespaces,
            anonymous_is_trusted=self.gate.terms.trusted,
            verifier=self.gate.verifier,
            subscribe_rules=app.subscribe_rules if len(app.subscribe_rules) else None,
            publish_rules=app.publish_rules if len(app.publish_rules) else None,
        )
        self._subscribing = Subscribing(
            hub,
            engine,
            access,
            max_topics=settings.max_topics,
            listener=topic_hooks(app.subscribe_hooks, app.unsubscribe_hooks, loop, self.tasks),
        )
        hub.serve(self._subscribing)
        places = Places(engine, settings)
        self.raw_connections = RawConnections(hub, places, self._farewells.say)
        """Those of raw endpoints with `auth` are known to it."""
        self._opening = Opening(
            settings,
            self.gate,
            access,
            hub,
            self._hooks,
            self._subscribing,
            places,
            loop,
            keep_headers=frozenset(name.lower().encode("latin-1") for name in app.keep_headers),
            run=self._run,
            go_on=self._go_on,
            fail=self.on_error,
        )
        self._execution = Execution(self._commands(access).table(), loop, self.tasks, onion)
        self._services = GatewayServices(hub, engine, access, max_data_size=settings.max_message_size)

    def _commands(self, access: Access) -> Commands:
        return Commands(
            Authenticating(self.gate, self._opening),
            self._subscribing,
            Publishing(self._engine, access, self._app.publish_hooks),
            Looking(self._engine, access),
            Calling(self._app.rpc_methods),
            Keeping(has_heartbeat=self._settings.ping_interval > 0),
        )

    @property
    def services(self) -> GatewayServices:
        """What applications and operators may ask for; works between `start` and `stop`."""
        return self._services

    @property
    def commands(self) -> Counter[tuple[str, int]]:
        """Commands so far by (name, error code); the code is 0 for those that succeeded, the name empty if unknown."""
        return self._execution.counts

    async def start(self) -> None:
        """Start the engine and let the application use the services."""
        await self._engine.start(self._hub)
        try:
            self._app.bind(self._services)
        except UsageError:
            await self._engine.stop()
            raise

    async def stop(self) -> None:
        """Let the disconnect hooks end, cancel what else still runs, stop the engine."""
        self._farewells.stop()
        telling = self._losses.telling
        departures = self._departures if telling is None else {*self._departures, telling}
        if departures:
            await asyncio.wait(departures, timeout=FAREWELL_S)
        if telling is not None:
            telling.cancel()
        self._app.unbind()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._hub.stop()
        await self._engine.stop()

    def callbacks(self) -> dict[str, Callable[..., Any]]:
        """What the `Endpoint` calls, by the names of its parameters."""
        return {
            "on_open": self._opening.on_open,
            "on_message": self._execution.on_message,
            "on_send": self.on_send,
            "on_close": self.on_close,
            "on_error": self.on_error,
            "on_deadline": self._opening.on_deadline,
            "on_drain": self.on_drain,
        }

    # What the endpoint calls.

    def on_close(self, conn: Connection, code: int, reason: str) -> None:
        """The connection has ended, and is in no audience any more."""
        session = conn.session
        if not isinstance(session, Session):
            return
        self.on_drain(conn)
        if session.work is not None:
            session.work.waiting.clear()
        was_ready, session.phase = session.phase == READY, ENDED
        if not was_ready:
            return
        self._subscribing.ended(conn, session)
        was_reported = self._hub.has_been_reported(conn)
        is_mine = self._hub.leave(conn, session.subscriptions())
        if self._hooks.watch_disconnect and not was_reported:
            self._farewells.say(self._hooks.info(conn), CloseInfo(code, reason), is_mine)

    def _tell_end(self, info: ConnectionInfo, close: CloseInfo) -> None:
        departure = self._run(self._hooks.disconnect(info, close))
        if departure is not None:
            self._departures.add(departure)
            departure.add_done_callback(self._departures.discard)

    def on_send(self, conn: Connection, data: Any) -> SendStatus:
        """`conn.send(data)` by the application: data arrives as `{"event": "message", "data", "ts"}`.

        Raises `DataError`, a `ValueError`, for what JSON cannot hold.
        """
        codec = CODECS[conn.codec_index]
        frame = encode_frame(codec.opcode, codec.message(pack_data(data), int(time() * 1000)))
        session: Session = conn.session
        if conn.phase == OPEN and session.phase == CONNECTING:
            session.need_work().early.append(frame)
            return SendStatus.QUEUED
        return SendStatus(conn.send_frame(frame))

    def on_drain(self, conn: Connection) -> None:
        """The outbox has room again."""
        details = getattr(conn.session, "details", None)
        if details is not None:
            details.wake_drain_waiters()

    def on_error(self, conn: Connection, error: BaseException, where: str) -> None:
        """A callback raised; the wire closes 1011 after this."""
        self.errors += 1
        _log.error("the gateway failed (%s)", where, exc_info=error, extra={"conn": conn.id})

    def _go_on(self, conn: Connection, session: Session) -> None:
        self._execution.go_on(conn, session)

    def _run(self, coroutine: Any) -> asyncio.Task[None] | None:
        """Step a coroutine that raises nothing; the task if it has to wait."""
        _, task = step(coroutine, self._loop)
        if task is not None:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return task


def _asks_for_claims(app: Application) -> bool:
    """Whether the application has handlers that may look at the claims of a connection that is established."""
    tables = (app.subscribe_rules, app.publish_rules, app.publish_hooks, app.subscribe_hooks, app.unsubscribe_hooks)
    is_asked_for = any(len(table) for table in tables) or app.middleware or app.rpc_methods
    return bool(is_asked_for) or any(route.auth for route in app.raw_routes.values())


def merged_namespaces(
    of_app: Mapping[str, Mapping[str, Any]], of_file: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The namespaces of both places; what the operator's file says about an option holds over the application's.

    Raises `ConfigError` where each of them is right, but not both together.
    """
    merged = {name: {**of_app.get(name, {}), **of_file.get(name, {})} for name in (*of_app, *of_file)}
    problems = [
        f"[namespaces.{name}] with what the application says: {problem}"
        for name, table in merged.items()
        for problem in contradictions(table)
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return merged
