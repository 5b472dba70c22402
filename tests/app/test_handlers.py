"""What handlers have to look like, and what is said about those that do not."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fastws import FastWS, UsageError
from fastws.app import RawRoute
from fastws.app.handlers import check_signature, name_of


def message_handler(conn: Any, message: Any) -> None: ...


async def stream_handler(conn: Any) -> None: ...


class Handlers:
    def bound(self, conn: Any, message: Any) -> None: ...

    async def stream(self, conn: Any) -> None: ...

    async def __call__(self, conn: Any) -> None: ...

    @staticmethod
    def static(conn: Any, message: Any) -> None: ...


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
def test_handlers_of_messages(handler: Callable[..., Any]) -> None:
    app = FastWS()
    assert app.raw("/echo")(handler) is handler
    assert app.raw_routes == {"/echo": RawRoute("/echo", handler, auth=False, shape="message")}


@pytest.mark.parametrize(
    "handler",
    [stream_handler, Handlers().stream, Handlers(), functools.partial(Handlers.stream, Handlers())],
)
def test_handlers_that_receive_by_themselves(handler: Callable[..., Any]) -> None:
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
def test_what_cannot_work(handler: Any, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        FastWS().raw("/x")(handler)
    assert says in raised.value.message
    assert raised.value.hint


def test_generators_are_a_misunderstanding() -> None:
    async def generator(conn: Any) -> AsyncIterator[str]:
        yield ""

    with pytest.raises(UsageError, match="yield"):
        FastWS().raw("/x")(generator)


def test_what_compiled_functions_take_is_not_known() -> None:
    check_signature(print, "@app.on_connect", "conn")
    check_signature(dict.update, "@app.on_connect", "conn", by_name=("room",))
    assert name_of(functools.partial(print)) == "functools.partial(<built-in function print>)"


async def may_join(conn: Any, rom: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("handler", "written"),
    [
        (may_join, "async def may_join(conn, room): ..."),
        (lambda conn: True, "def handler(conn, room): ..."),
        (functools.partial(may_join), "async def handler(conn, room): ..."),
    ],
)
def test_a_wrong_signature_says_how_to_write_it(handler: Any, written: str) -> None:
    with pytest.raises(UsageError) as raised:
        FastWS().can_subscribe("chat:{room}")(handler)
    assert "cannot be called with (conn, room)" in raised.value.message
    assert raised.value.hint == f'write: @app.can_subscribe("chat:{{room}}")\n      {written}'
