"""The decorators of an application: handlers and hooks by what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastws.app.handlers import check_signature, name_of, raw_shape
from fastws.app.methods import RpcMethod, check_method_name, rpc_method
from fastws.app.routes import HttpRoute, RawRoute, check_path, checked_methods
from fastws.app.services import not_built
from fastws.core.patterns import PatternTable, compile_pattern
from fastws.errors import UsageError

Handler = Callable[..., Any]
Function = TypeVar("Function", bound=Handler)


class Registering:
    """The decorators. Each returns the function as it is, and raises `UsageError` with a hint for what cannot work.

    Handlers are plain functions or coroutine functions.
    """

    def __init__(self) -> None:
        self.raw_routes: dict[str, RawRoute] = {}
        self.http_routes: dict[str, HttpRoute] = {}
        self.connect_hooks: list[Handler] = []
        self.disconnect_hooks: list[Handler] = []
        self.startup_hooks: list[Handler] = []
        self.shutdown_hooks: list[Handler] = []
        self.upgrade_hooks: list[Handler] = []
        self.middleware: list[Handler] = []
        """The first is outermost."""
        self.subscribe_rules: PatternTable[Handler] = PatternTable()
        self.publish_rules: PatternTable[Handler] = PatternTable()
        self.publish_hooks: PatternTable[Handler] = PatternTable()
        self.subscribe_hooks: PatternTable[Handler] = PatternTable()
        self.unsubscribe_hooks: PatternTable[Handler] = PatternTable()
        self.rpc_methods: dict[str, RpcMethod] = {}

    def _check_open(self, handler: Any) -> None:
        """Raise `UsageError` if it is too late."""
        raise NotImplementedError

    # Paths.

    def raw(self, path: str, auth: bool = False) -> Callable[[Function], Function]:
        """Register a raw endpoint.

        The handler is `handler(conn, message)`, plain or coroutine, called for each message (str or bytes), or a
        coroutine `handler(conn)` that receives by itself: `async for message in conn`. The connection closes 1000 when
        the latter returns. An exception closes 1011.

        :param path: compared exactly, as it stands in the request line.
        :param auth: only for authenticated clients, after `on_connect`.
        """
        check_path("raw", path)

        def register(handler: Function) -> Function:
            shape = raw_shape(handler)
            self._claim(path, handler)
            self.raw_routes[path] = RawRoute(path, handler, bool(auth), shape)
            return handler

        return register

    def http(self, path: str, methods: Iterable[str] = ("GET",), auth: bool = False) -> Callable[[Function], Function]:
        """Register a small HTTP answer: `handler(request)`, plain or coroutine.

        It returns a dict or list (JSON), str (text/plain), bytes (octet-stream), None (204), or an `HttpResponse`. An
        exception answers 500.

        :param path: compared exactly; one handler for all its methods.
        :param methods: HTTP methods in capital letters; GET covers HEAD.
        :param auth: only for authenticated clients, whose `user` and `claims` the request has; others get 401.
        """
        check_path("http", path)
        accepted = checked_methods(methods)

        def register(handler: Function) -> Function:
            check_signature(handler, "@app.http", "request")
            self._claim(path, handler)
            self.http_routes[path] = HttpRoute(path, handler, accepted, bool(auth))
            return handler

        return register

    # The server, and its connections.

    def on_startup(self, hook: Function) -> Function:
        """Register `hook()`, run before the server listens; an exception ends the process with code 3."""
        return self._add(self.startup_hooks, hook, "@app.on_startup")

    def on_shutdown(self, hook: Function) -> Function:
        """Register `hook()`, run after the last connection is gone, in the same task as those of `on_startup`.

        All of them together have what moving connections away has left of `--drain-timeout`, and 10 s; then they are
        cancelled. A second signal leaves them one second more.
        """
        return self._add(self.shutdown_hooks, hook, "@app.on_shutdown")

    def on_upgrade(self, hook: Function) -> Function:
        """Register `hook(request)`, asked before an upgrade is answered; `Reject(400..599)` refuses it."""
        return self._add(self.upgrade_hooks, hook, "@app.on_upgrade", "request")

    def on_connect(self, hook: Function) -> Function:
        """Register `hook(conn)`, asked before a connection is welcomed; `Reject(1000..4999)` closes it."""
        return self._add(self.connect_hooks, hook, "@app.on_connect", "conn")

    def on_disconnect(self, hook: Function) -> Function:
        """Register `hook(info, close)`, told when a connection has ended whose `on_connect` succeeded.

        `info` is a `ConnectionInfo`, `close` a `CloseInfo`.
        """
        return self._add(self.disconnect_hooks, hook, "@app.on_disconnect", "info", "close")

    def use(self, middleware: Function) -> Function:
        """Register middleware: `middleware(ctx, call_next)`, around connecting and around every command.

        It returns what `await call_next(ctx)` returns, the result of the command, or one of its own; what was
        registered later is further inside. `TopicError` refuses a command, `Reject` a connection; any other exception
        answers 100, while connecting it closes 1011. `ctx` is a `Context`.
        """
        return self._add(self.middleware, middleware, "@app.use", "ctx", "call_next")

    # Topics.

    def can_subscribe(self, pattern: str) -> Callable[[Function], Function]:
        """Register a rule: `rule(conn, **parameters)` says whether a client may subscribe to topics like `pattern`.

        It takes the place of the namespace's option `subscribe`, and is asked for `history` and `presence` too. The
        most specific pattern counts. An exception answers 100, `TopicError` its own code.

        :param pattern: such as `chat:{room}`: a parameter is one or more characters except a colon.
        """
        return self._add_only("can_subscribe", self.subscribe_rules, pattern)

    def can_publish(self, pattern: str) -> Callable[[Function], Function]:
        """Register a rule: the same about publishing."""
        return self._add_only("can_publish", self.publish_rules, pattern)

    def on_publish(self, pattern: str) -> Callable[[Function], Function]:
        """Register `hook(conn, data, **parameters)`: returns the data to store in place of what a client publishes.

        It is asked after the rules and before the namespace's schema, for publications of clients alone; `TopicError`
        refuses. The most specific pattern counts.
        """
        return self._add_only("on_publish", self.publish_hooks, pattern, "data")

    def on_subscribe(self, pattern: str) -> Callable[[Function], Function]:
        """Register `hook(conn, **parameters)`, told when a connection is subscribed, by itself or by the server.

        Every hook whose pattern matches is told, in the order of registration; those of one connection run one after
        the other. Nobody waits for them.
        """
        return self._add_one_of_many("on_subscribe", self.subscribe_hooks, pattern)

    def on_unsubscribe(self, pattern: str) -> Callable[[Function], Function]:
        """Register `hook(conn, **parameters)`, told when a subscription has ended, or the connection that had it."""
        return self._add_one_of_many("on_unsubscribe", self.unsubscribe_hooks, pattern)

    def rpc(self, name: str) -> Callable[[Function], Function]:
        """Register a method that clients call: `method(conn, data)` returns what JSON can hold.

        `TopicError` answers its own code, any other exception 100. If `data` is annotated with a type of msgspec or
        pydantic, the client's data is converted to it, and 107 answers what does not fit.
        """
        check_method_name(name)

        def register(handler: Function) -> Function:
            method = rpc_method(name, handler)
            self._check_open(handler)
            other = self.rpc_methods.get(name)
            if other is not None:
                raise UsageError(
                    f"the method {name!r} has a handler already, {name_of(other.handler)}",
                    f"give {name_of(handler)} another name",
                )
            self.rpc_methods[name] = method
            return handler

        return register

    def on_send(self, *_arguments: Any) -> Any:
        """Direct messages are not in this version: raises `UsageError`."""
        raise not_built("@app.on_send")

    def _claim(self, path: str, handler: Handler) -> None:
        self._check_open(handler)
        other = self.raw_routes.get(path) or self.http_routes.get(path)
        if other is not None:
            raise UsageError(
                f"{path} has a handler already, {name_of(other.handler)}",
                f"give {name_of(handler)} another path: raw and http handlers share them",
            )

    def _add(self, hooks: list[Handler], hook: Function, where: str, *wanted: str) -> Function:
        self._check_open(hook)
        check_signature(hook, where, *wanted)
        hooks.append(hook)
        return hook

    def _add_only(
        self, decorator: str, table: PatternTable[Handler], text: Any, *more: str
    ) -> Callable[[Function], Function]:
        """For what has one handler per pattern."""
        pattern = compile_pattern(text)

        def register(handler: Function) -> Function:
            check_signature(handler, f'@app.{decorator}("{text}")', "conn", *more, by_name=pattern.names)
            self._check_open(handler)
            other = table.same(pattern)
            if other is not None:
                raise UsageError(
                    f"@app.{decorator} has a handler for the topics of {text!r} already, {name_of(other)}",
                    "decide both in one function, or make one of the patterns more specific",
                )
            table.add(pattern, handler)
            return handler

        return register

    def _add_one_of_many(
        self, decorator: str, table: PatternTable[Handler], text: Any
    ) -> Callable[[Function], Function]:
        pattern = compile_pattern(text)

        def register(handler: Function) -> Function:
            check_signature(handler, f'@app.{decorator}("{text}")', "conn", by_name=pattern.names)
            self._check_open(handler)
            table.add(pattern, handler)
            return handler

        return register
