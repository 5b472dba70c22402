"""The gateway: what the endpoint of the client protocol calls.

A connection is opened, asked about (`on_connect`), welcomed, and then everything it says is decoded and executed in
order. While a command waits for something, what comes after it is queued.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import time
from typing import Any, Final, Protocol

from fastws import __version__, closes
from fastws.config import Settings, contradictions
from fastws.core.codecs import CODECS
from fastws.core.codecs.data import pack_data
from fastws.core.rates import Meter
from fastws.core.topics import Namespaces
from fastws.engine.contract import Engine
from fastws.errors import ConfigError
from fastws.gateway.auth.access import Access
from fastws.gateway.auth.identity import offered_token, terms
from fastws.gateway.commands import Commands
from fastws.gateway.commands.authenticating import Authenticating
from fastws.gateway.commands.calling import Calling
from fastws.gateway.commands.keeping import Keeping
from fastws.gateway.commands.looking import Looking
from fastws.gateway.commands.publishing import Publishing
from fastws.gateway.commands.subscribing import Subscribing
from fastws.gateway.execution import Execution
from fastws.gateway.services import GatewayServices
from fastws.gateway.session import CONNECTING, ENDED, READY, STRANGER, Session
from fastws.hub.hub import Hub
from fastws.hub.pushes import push
from fastws.net.connection import OPEN, Connection
from fastws.net.hooks import Hooks
from fastws.net.session import Details
from fastws.net.stepping import step
from fastws.types import CloseInfo, SendStatus
from fastws_ext.frames import encode_frame

_log: Final = logging.getLogger("fastws.gateway")

MAX_STRANGER_MESSAGE: Final = 16384
"""Bytes of a message before authentication; more close 1009."""


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
        self._farewells: set[asyncio.Task[None]] = set()
        self._app = app
        self._settings = settings
        self._hub = hub
        self._engine = engine
        self._loop = loop
        self._keep_headers = frozenset(name.lower().encode("latin-1") for name in app.keep_headers)
        self._terms = terms(settings)
        self._hooks = Hooks(app.connect_hooks, app.disconnect_hooks, settings.node_name)
        access = Access(
            Namespaces(merged_namespaces(app.namespaces, settings.namespaces), dev=settings.dev),
            anonymous_is_trusted=self._terms.trusted,
        )
        self._subscribing = Subscribing(hub, engine, access, max_topics=settings.max_topics)
        hub.serve(self._subscribing)
        commands = Commands(
            Authenticating(),
            self._subscribing,
            Publishing(engine, access),
            Looking(engine, access),
            Calling(),
            Keeping(has_heartbeat=settings.ping_interval > 0),
        )
        self._execution = Execution(commands.table(), loop, self.tasks)
        self._services = GatewayServices(hub, engine, access, max_data_size=settings.max_message_size)
        self._is_metered = bool(settings.messages_per_second or settings.bytes_per_second)

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
        self._app.bind(self._services)

    async def stop(self) -> None:
        """Let the disconnect hooks end, cancel what else still runs, stop the engine."""
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=FAREWELL_S)
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
            "on_open": self.on_open,
            "on_message": self._execution.on_message,
            "on_send": self.on_send,
            "on_close": self.on_close,
            "on_error": self.on_error,
            "on_deadline": self.on_deadline,
            "on_drain": self.on_drain,
        }

    # What the endpoint calls.

    def on_open(self, conn: Connection) -> None:
        """The upgrade is answered: find out who it is, ask the hooks, welcome it."""
        before = conn.session
        details: Details | None = before.details if before is not None else None
        session = conn.session = Session(details)
        if details is not None:
            self._read_details(conn, session, details)
        if self._is_metered:
            settings = self._settings
            session.need_work().meter = Meter(
                settings.messages_per_second, settings.bytes_per_second, self._loop.time()
            )
        if details is not None and details.request is not None:
            token = offered_token(details.request.headers, details.query)
            if token is not None:
                conn.close(*closes.INVALID_TOKEN)  # no key is configured, so no token can be valid
                return
        if self._terms.welcome:
            self._connect(conn, session)
            return
        session.phase = STRANGER
        conn.max_message_size = min(conn.max_message_size, MAX_STRANGER_MESSAGE)
        conn.set_deadline(self._settings.auth_timeout)

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
        self._hub.leave(conn, session.subscriptions())
        if self._hooks.watch_disconnect:
            farewell = self._run(self._hooks.disconnect(self._hooks.info(conn), CloseInfo(code, reason)))
            if farewell is not None:
                self._farewells.add(farewell)
                farewell.add_done_callback(self._farewells.discard)

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

    def on_deadline(self, conn: Connection) -> None:
        """The time to authenticate is over."""
        if isinstance(conn.session, Session) and conn.session.phase == STRANGER:
            conn.close(*closes.AUTH_TIMEOUT)

    def on_drain(self, conn: Connection) -> None:
        """The outbox has room again."""
        details = getattr(conn.session, "details", None)
        if details is not None:
            details.wake_drain_waiters()

    def on_error(self, conn: Connection, error: BaseException, where: str) -> None:
        """A callback raised; the wire closes 1011 after this."""
        self.errors += 1
        _log.error("the gateway failed (%s)", where, exc_info=error, extra={"conn": conn.id})

    # Opening.

    def _read_details(self, conn: Connection, session: Session, details: Details) -> None:
        """Take over the subprotocol: it is in `conn.codec_index`, and needs no memory for its name."""
        for codec in CODECS:
            if details.subprotocol == codec.subprotocol:
                conn.codec_index = session.codec = codec.index
        details.subprotocol = ""

    def _connect(self, conn: Connection, session: Session) -> None:
        if not self._hooks.watch_connect:
            self._welcome(conn, session)
            return
        work = session.need_work()
        work.task = self._run(self._ask_hooks(conn, session))
        if work.task is not None:
            work.task.add_done_callback(partial(self._asked, conn, session))
        elif work.meter is None and session.work is work:
            session.work = None

    async def _ask_hooks(self, conn: Connection, session: Session) -> None:
        if await self._hooks.connect(conn):
            self._welcome(conn, session)

    def _asked(self, conn: Connection, session: Session, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            conn.close(*closes.GOING_AWAY)
        elif (error := task.exception()) is not None:
            self.on_error(conn, error, "connect")
            conn.close(*closes.INTERNAL)
        self._execution.go_on(conn, session)

    def _welcome(self, conn: Connection, session: Session) -> None:
        """It is ready: tell it what it is called, and hear it."""
        if session.details is not None and not session.details.forget_request(self._keep_headers):
            session.details = None
        session.phase = READY
        self._hub.enter(conn)
        interval = self._settings.ping_interval
        content = {
            "conn": conn.id,
            "user": session.user,
            "tenant": session.tenant,
            "device": session.device,
            "node": self._settings.node_name,
            "ping": int(interval) if interval == int(interval) else interval,
            "server": f"fastws/{__version__}",
        }
        push(conn, "welcome", content)
        if session.work is not None:
            for frame in session.work.early:
                conn.send_frame(frame)
            session.work.early.clear()

    def _run(self, coroutine: Any) -> asyncio.Task[None] | None:
        """Step a coroutine that raises nothing; the task if it has to wait."""
        _, task = step(coroutine, self._loop)
        if task is not None:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return task


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
