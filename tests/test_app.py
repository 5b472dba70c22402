"""The application object: what registers, what does not, and what it says about it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from fastws import FastWS, UsageError
from fastws.app import HttpRoute, RawRoute


def message_handler(conn: Any, message: Any) -> None: ...


async def stream_handler(conn: Any) -> None: ...


class Handlers:
    def bound(self, conn: Any, message: Any) -> None: ...

    async def stream(self, conn: Any) -> None: ...

    async def __call__(self, conn: Any) -> None: ...

    @staticmethod
    def static(conn: Any, message: Any) -> None: ...


class TestRaw:
    """`@app.raw`."""

    @pytest.mark.parametrize(
        "handler",
        [
            message_handler,
            Handlers().bound,
            Handlers.static,
            lambda conn, message: None,
            lambda *arguments: None,
            lambda conn, message=None: None,
            functools.partial(lambda extra, conn, message: None, 1),
        ],
    )
    def test_handlers_of_messages(self, handler: Callable[..., Any]) -> None:
        app = FastWS()
        assert app.raw("/echo")(handler) is handler
        assert app.raw_routes == {"/echo": RawRoute("/echo", handler, auth=False, shape="message")}

    @pytest.mark.parametrize(
        "handler",
        [stream_handler, Handlers().stream, Handlers(), functools.partial(Handlers.stream, Handlers())],
    )
    def test_handlers_that_receive_by_themselves(self, handler: Callable[..., Any]) -> None:
        app = FastWS()
        app.raw("/s", auth=True)(handler)
        assert app.raw_routes["/s"] == RawRoute("/s", handler, auth=True, shape="stream")

    @pytest.mark.parametrize(
        ("handler", "says"),
        [
            (lambda: None, "neither with (conn, message) nor with (conn)"),
            (lambda a, b, c: None, "neither"),
            (lambda conn: None, "no coroutine function"),
            (5, "cannot be called"),
            (Handlers, "class"),
        ],
    )
    def test_what_cannot_work(self, handler: Any, says: str) -> None:
        with pytest.raises(UsageError) as raised:
            FastWS().raw("/x")(handler)
        assert says in raised.value.message
        assert raised.value.hint

    def test_generators_are_a_misunderstanding(self) -> None:
        async def generator(conn: Any) -> AsyncIterator[str]:
            yield ""

        with pytest.raises(UsageError, match="yield"):
            FastWS().raw("/x")(generator)

    @pytest.mark.parametrize(
        "path", ["x", "", "/a b", "/a?b", "/ä", "/a#b", "/healthz", "/readyz", None, message_handler]
    )
    def test_paths_that_cannot_be(self, path: Any) -> None:
        with pytest.raises(UsageError):
            FastWS().raw(path)
        with pytest.raises(UsageError):
            FastWS().http(path)

    def test_a_path_has_one_handler(self) -> None:
        app = FastWS()
        app.raw("/x")(message_handler)
        for decorator in (app.raw, app.http):
            with pytest.raises(UsageError, match="message_handler"):
                decorator("/x")(lambda *arguments: None)
        app.http("/y")(lambda request: None)
        with pytest.raises(UsageError, match="/y has a handler already"):
            app.raw("/y")(message_handler)


class TestHttp:
    """`@app.http`."""

    def test_registering(self) -> None:
        async def hello(request: Any) -> None: ...

        app = FastWS()
        assert app.http("/hello")(hello) is hello
        app.http("/form", methods=("GET", "POST", "GET"))(hello)
        assert app.http_routes["/hello"] == HttpRoute("/hello", hello, ("GET",))
        assert app.http_routes["/form"].methods == ("GET", "POST")

    @pytest.mark.parametrize("methods", ["GET", (), ("get",), (5,), ("GET POST",)])
    def test_methods_that_are_none(self, methods: Any) -> None:
        with pytest.raises(UsageError):
            FastWS().http("/x", methods=methods)

    def test_a_wrong_signature(self) -> None:
        with pytest.raises(UsageError, match=r"cannot be called with \(request\)"):
            FastWS().http("/x")(lambda: None)


class TestHooks:
    """The decorators without a path."""

    def test_hooks_are_kept_in_order(self) -> None:
        app = FastWS()
        hooks = [lambda conn: None, lambda conn: 1]
        for hook in hooks:
            assert app.on_connect(hook) is hook
        assert app.connect_hooks == hooks
        assert app.on_upgrade(hooks[0]) in app.upgrade_hooks
        assert app.on_disconnect(message_handler) in app.disconnect_hooks
        nothing = app.on_startup(lambda: None)
        assert app.on_shutdown(nothing) in app.shutdown_hooks
        assert app.startup_hooks == [nothing]

    @pytest.mark.parametrize("name", ["on_connect", "on_disconnect", "on_startup", "on_shutdown", "on_upgrade"])
    def test_wrong_signatures_say_how(self, name: str) -> None:
        def handler(a: Any, b: Any, c: Any) -> None: ...

        with pytest.raises(UsageError) as raised:
            getattr(FastWS(), name)(handler)
        assert "handler(a: 'Any', b: 'Any', c: 'Any')" in raised.value.message
        assert f"@app.{name}" in raised.value.hint
        with pytest.raises(UsageError, match="cannot be called"):
            getattr(FastWS(), name)("text")


class TestSettings:
    """What the constructor takes."""

    def test_namespaces_are_checked_like_those_of_the_file(self) -> None:
        app = FastWS(namespaces={"chat": {"subscribe": "all", "history_size": 5, "history_ttl": "10m"}, "x": {}})
        assert app.namespaces == {"chat": {"subscribe": "all", "history_size": 5, "history_ttl": 600.0}, "x": {}}
        assert FastWS().namespaces == {}

    @pytest.mark.parametrize(
        "namespaces",
        [
            {"chat": {"subscribe": "everyone"}},
            {"chat": {"histroy_size": 5}},
            {"a:b": {}},
            {"chat": {"recover": True}},
            {"chat": 5},
            [("chat", {})],
            {"chat": {"schema": object()}},
            {"chat": {"schema": int, "oops": 1}},
        ],
    )
    def test_namespaces_that_cannot_be(self, namespaces: Any) -> None:
        with pytest.raises(UsageError):
            FastWS(namespaces=namespaces)

    def test_a_schema_is_a_type(self) -> None:
        class Price(msgspec.Struct):
            value: float

        app = FastWS(namespaces={"price": {"schema": Price, "echo": False}})
        assert app.namespaces == {"price": {"schema": Price, "echo": False}}

    def test_headers_to_keep(self) -> None:
        assert FastWS(keep_headers=["User-Agent", "x-id"]).keep_headers == ("User-Agent", "x-id")
        for wrong in ("user-agent", ("a b",), (5,), ("ä",)):
            with pytest.raises(UsageError):
                FastWS(keep_headers=wrong)  # type: ignore[arg-type]


class RecordingServices:
    """Services that keep what they were asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def publish(self, topic: str, data: Any, *, key: str | None, exclude: Any) -> Any:
        self.asked.append(("publish", topic, data, key, exclude))

    async def broadcast(self, data: Any) -> None:
        self.asked.append(("broadcast", data))

    async def disconnect(self, conn: Any, code: int, reason: str) -> bool:
        self.asked.append(("disconnect", conn, code, reason))
        return True


@pytest.mark.asyncio
async def test_services_need_a_running_server() -> None:
    app = FastWS()
    calls: list[Callable[[], Any]] = [
        lambda: app.publish("t", 1, key="k"),
        lambda: app.broadcast(2),
        lambda: app.disconnect(conn="c"),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="needs a running server"):
            await call()
    services = RecordingServices()
    app.bind(services)
    for call in calls:
        await call()
    assert services.asked == [("publish", "t", 1, "k", None), ("broadcast", 2), ("disconnect", "c", 4503, "")]
    with pytest.raises(UsageError, match="too late"):
        app.on_connect(lambda conn: None)
    app.unbind()
    with pytest.raises(UsageError):
        await app.broadcast(1)
