"""A whole server for the time of a test, in the event loop of the test."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from time import time
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from fastws.app import FastWS
from fastws.config import Settings
from fastws.config.embedded import embedded
from fastws.core.codecs import CODECS
from fastws.errors import UsageError
from fastws.gateway.auth.tokens import sign
from fastws.net.http import Headers
from fastws.server import engines
from fastws.server.console.link import ConnectError, Target, open_streams
from fastws.server.serving import Serving
from fastws.testing.client import TIMEOUT_S, Client, CommandError

_DEFAULTS: Final[Mapping[str, object]] = {
    "host": "127.0.0.1",
    "port": 0,
    "anonymous": True,
    "admin_port": -1,
    "backlog": 100,
    "drain_timeout": 5.0,
    "drain_rate": 1_000_000,
    "node_name": "test",
}
"""Where a test differs from production unless it says otherwise: anyone may connect, as in production with `anonymous`
they may do what is open to `all`; the end comes soon.
"""

_GRACE_S: Final = 0.5
_ONE_HOUR_S: Final = 3600


@dataclass(frozen=True)
class Response:
    """An HTTP answer."""

    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` if it is none."""
        return json.loads(self.body)


class TestServer:
    """Serves an application on a free port of 127.0.0.1, for the time of an `async with` block.

    ::

        async with TestServer(app) as server:
            ws = await server.connect(user="42")

    It is the server that `fastws-server` runs, without the process around it: handlers, limits, tokens and namespaces
    are those of production, `on_startup` and `on_shutdown` run, and leaving the block closes every connection. Nothing
    is left then, and the application can be served again. It works in any event loop of asyncio.

    Tokens are made with a secret of its own unless `jwt_secret` is given, and clients without one are anonymous;
    `anonymous=False` has them authenticate first. Neither variables of the environment nor `./fastws.toml` are read;
    `config="fastws.toml"` names a file.

    Several servers with one `redis` are a cluster: what is published at one is heard at all, as in production. Give
    each a `node_name`, and each test a `prefix` of its own, so that it finds nothing of others. `redis="embedded"`
    starts a private Redis; its URL is `server.settings.redis` while it runs, for other servers to share.
    """

    __test__ = False  # pytest: the name does not make it a class of tests

    def __init__(self, app: FastWS, **settings: Any) -> None:
        """`settings`: options by their names in Python, such as `max_topics=3` or `ping_interval="200ms"`.

        Raises `ConfigError` for unknown ones, and for values that cannot be.
        """
        if not isinstance(app, FastWS):
            raise UsageError(f"a FastWS is served here, not {app!r}", "TestServer(app), with app = FastWS()")
        self.app = app
        self.settings = self._given = _settings(settings)
        self._serving: Serving | None = None
        self._redis = ExitStack()
        self._clients: list[Client] = []

    async def start(self) -> Self:
        """Serve; entering the block does it. Raises `StartError` if `on_startup` fails."""
        if self._serving is not None:
            raise UsageError("this server runs already")
        provided = self._redis.enter_context(engines.provided(engines.chosen(self._given)))
        serving = Serving(provided, self.app)
        try:
            self.settings = provided
            serving.build()
            self._serving = serving
            self._address = serving.bind()
            self._admin_address = serving.bind_admin()
            await serving.open()
            await serving.run_startup_hooks()
            await serving.listen()
            await serving.serve_admin()
        except BaseException:
            try:
                if self._serving is not None:
                    self._serving = None
                    await serving.shutdown(0)
            finally:
                self._forget_redis()
            raise
        return self

    async def stop(self) -> None:
        """Close every connection and give everything back; leaving the block does it."""
        serving, self._serving = self._serving, None
        if serving is None:
            return
        clients, self._clients = self._clients, []
        grace_s = 0.0
        try:
            await asyncio.gather(*(_leave(client) for client in clients))
            await serving.empty()
            grace_s = _GRACE_S
        finally:
            try:
                await serving.shutdown(grace_s)
            finally:
                self._forget_redis()
            await asyncio.gather(*(client.wait_closed() for client in clients), return_exceptions=True)

    def _forget_redis(self) -> None:
        self._redis.close()
        self.settings = self._given

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def drain(self) -> None:
        """Do what a server does that is told to end: refuse newcomers, close connections 1012; until all are gone."""
        await self._running.empty()

    @property
    def http_url(self) -> str:
        """Where it answers HTTP: `http://127.0.0.1:PORT`."""
        return self._address if self._running.settings.uds is None else "http://localhost"

    @property
    def url(self) -> str:
        """Where the client protocol is: `ws://127.0.0.1:PORT/ws`."""
        return self.url_of(self.settings.path)

    def url_of(self, path: str) -> str:
        """Where a WebSocket path is. Raises `UsageError` if it is none: they begin with a slash."""
        if not path.startswith("/"):
            raise UsageError(f"{path!r} is no path", f"write {'/' + path!r}")
        return f"ws{self.http_url.removeprefix('http')}{path}"

    @property
    def admin_url(self) -> str:
        """Where the control API is; empty unless `admin_port=0` turns it on."""
        return self._admin_address if self._running.settings.admin_port >= 0 else ""

    def token(
        self,
        user: str | None,
        *,
        tenant: str | None = None,
        device: str | None = None,
        claims: Mapping[str, Any] | None = None,
        ttl: float = _ONE_HOUR_S,
    ) -> str:
        """Make a token that this server accepts.

        :param ttl: seconds until it expires; less than 0 makes an expired one.
        :param claims: more claims, such as `permissions`, `info`, `topics`; those with None are left out.
        """
        now = int(time())
        named = {"sub": user, "tenant": tenant, "device": device, "iss": self.settings.jwt_issuer}
        standard = {**named, "aud": self.settings.jwt_audience, "iat": now, "exp": now + int(ttl)}
        content = {name: value for name, value in {**standard, **(claims or {})}.items() if value is not None}
        if self.settings.jwt_secret is None:
            raise UsageError("this server has no secret to make tokens with", "give jwt_secret")
        return sign(content, self.settings.jwt_secret)

    def connect(
        self,
        path: str | None = None,
        *,
        user: str | None = None,
        tenant: str | None = None,
        device: str | None = None,
        claims: Mapping[str, Any] | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        origin: str | None = None,
        query: Mapping[str, str] | None = None,
        subprotocol: str | Iterable[str] | None = None,
        codec: str = "json",
        timeout: float = TIMEOUT_S,
    ) -> Connecting:
        """Open a WebSocket: `ws = await server.connect(user="42")`, or `async with server.connect() as ws:`.

        :param path: by default that of the client protocol, whose welcome is awaited; others are raw endpoints.
        :param user: who it is; a token is made that says so. `tenant`, `device` and `claims` are in it too.
        :param token: one of your own, in place of all that.
        :param origin: the header `Origin` that a browser would send.
        :param subprotocol: the ones to offer; by default the client protocol's for `codec`, none on raw endpoints.
        :param codec: `json` or `msgpack`.
        :param timeout: seconds that the upgrade, and then the welcome, may take.
        :raises RefusedError: the upgrade is answered with another status.
        :raises ConnectionClosed: the server closes instead of a welcome, as for `Reject(4507)` in `on_connect`.
        """
        where, _, asked = (self.settings.path if path is None else path).partition("?")
        speaks = where == self.settings.path
        known = {form.name: form.subprotocol for form in CODECS}
        if codec not in known:
            raise UsageError(f"there is no codec {codec!r}", f"it is one of {', '.join(known)}")
        if subprotocol is None:
            subprotocol = known[codec] if speaks else ()
        made_of = (user, tenant, device, claims)
        if token is None and any(part is not None for part in made_of):
            token = self.token(user, tenant=tenant, device=device, claims=claims)
        pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers)
        query_string = "&".join(part for part in (asked, urlencode(query or {})) if part)
        target = Target(
            self.url_of(where + (f"?{query_string}" if query_string else "")),
            subprotocols=(subprotocol,) if isinstance(subprotocol, str) else tuple(subprotocol),
            headers=pairs if origin is None else (*pairs, ("Origin", origin)),
            token=token,
            uds=self.settings.uds,
            insecure=True,
        )
        welcomed = _offers_token(target) or self.settings.anonymous or not self.settings.auth_configured
        return Connecting(self, target, codec if speaks else None, speaks and welcomed, timeout)

    async def _open(self, target: Target, codec: str | None, welcomed: bool, timeout: float) -> Client:
        try:
            async with asyncio.timeout(timeout):
                client = await Client.open(target, codec=codec)
        except TimeoutError:
            raise AssertionError(f"the upgrade was not answered within {timeout:g} s") from None
        self._clients = [other for other in self._clients if other.closed is None]
        self._clients.append(client)
        if welcomed:
            await client.take_welcome(timeout)
        return client

    async def http_get(
        self, path: str, headers: Mapping[str, str] | None = None, *, timeout: float = TIMEOUT_S
    ) -> Response:
        """GET a path of the same port."""
        return await self.http("GET", path, headers, timeout=timeout)

    async def http(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout: float = TIMEOUT_S,
    ) -> Response:
        """Send any HTTP request; the answer, whatever its status.

        :raises AssertionError: it is not there after `timeout` seconds.
        """
        target = Target(self.http_url, uds=self.settings.uds, insecure=True)
        try:
            async with asyncio.timeout(timeout):
                return await _fetch(target, method, path, headers, body)
        except TimeoutError:
            raise AssertionError(f"{method} {path} was not answered within {timeout:g} s") from None

    async def api(self, method: str, /, **fields: Any) -> Any:
        """Call a method of the control API, as a back end does, and return its result; it takes `admin_port=0`.

        :raises CommandError: the answer is an error.
        """
        if not self.admin_url:
            raise UsageError("the control API is off in tests", "write TestServer(app, admin_port=0)")
        key = self.settings.admin_key
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        body = json.dumps(fields).encode()
        async with asyncio.timeout(TIMEOUT_S):
            answer = (await _fetch(Target(self.admin_url), "POST", f"/api/{method}", headers, body)).json()
        if "error" in answer:
            raise CommandError(method, answer["error"])
        return answer["result"]

    @property
    def _running(self) -> Serving:
        if self._serving is None:
            raise UsageError("the server does not run", "write: async with TestServer(app) as server")
        return self._serving


class Connecting:
    """What `TestServer.connect` returns: await it, or use it in `async with`, which closes the client."""

    __test__ = False

    def __init__(self, server: TestServer, target: Target, codec: str | None, welcomed: bool, timeout: float) -> None:
        self._arguments = (target, codec, welcomed, timeout)
        self._server = server
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._server._open(*self._arguments).__await__()

    async def __aenter__(self) -> Client:
        self._client = await self
        return self._client

    async def __aexit__(self, *error: object) -> None:
        if self._client is not None and self._client.closed is None:
            await self._client.close()


def _offers_token(target: Target) -> bool:
    """Whether a client says in its upgrade who it is, in one of the ways there are."""
    return (
        target.token is not None
        or any(name.lower() == "authorization" for name, _ in target.headers)
        or any(name.startswith("fastws.token.") for name in target.subprotocols)
        or "token" in parse_qs(urlsplit(target.url).query)
    )


async def _leave(client: Client) -> None:
    """Close, unless the server is busy with something: then it is left to the drain."""
    if client.closed is None:
        try:
            await client.close(1001, "the test is over")
        except AssertionError:
            return


def _settings(given: Mapping[str, object]) -> Settings:
    raw = {**_DEFAULTS, "jwt_secret": secrets.token_hex(32), **given}
    return embedded(raw, name="tests:app", environ={}, look_for_file=False)


async def _fetch(target: Target, method: str, path: str, headers: Mapping[str, str] | None, body: bytes) -> Response:
    host = target.url.partition("://")[2]
    own = {"Host": host, "Connection": "close", "Content-Length": str(len(body))}
    given = {name.lower() for name in headers or {}}
    pairs = [(name, value) for name, value in own.items() if name.lower() not in given] + [*(headers or {}).items()]
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs)]
    reader, writer = await open_streams(target)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        head, _, rest = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    if not head:
        raise ConnectError("the server closed the connection before it answered")
    first, *others = head.split(b"\r\n")
    answered = (line.partition(b": ") for line in others)
    return Response(int(first.split(b" ")[1]), Headers((name.lower(), value) for name, _, value in answered), rest)
