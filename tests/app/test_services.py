"""The services as applications call them: what reaches the server, and for whom."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from fastws import FastWS, UsageError
from fastws.services import Services

pytestmark = pytest.mark.asyncio

CONN = "0123456789-1f"


class RecordingServices:
    """Services that keep what they were asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        assert hasattr(Services, name), name

        async def service(*arguments: Any, **options: Any) -> int:
            self.asked.append((name, *arguments, options))
            return 5

        return service


@pytest_asyncio.fixture
async def asked() -> tuple[FastWS, list[Any]]:
    app, services = FastWS(), RecordingServices()
    app.bind(services)  # type: ignore[arg-type]
    return app, services.asked


CALLS: list[tuple[Callable[[Any], Any], tuple[Any, ...]]] = [
    (lambda a: a.publish("t", 1, key="k"), ("publish", "t", 1, {"key": "k", "exclude": None, "tenant": ""})),
    (lambda a: a.broadcast(2), ("broadcast", 2, {"tenant": None})),
    (lambda a: a.push("42", 3), ("push", 3, {"user": "42", "tenant": ""})),
    (lambda a: a.push(CONN, 3), ("push", 3, {"conn": CONN, "tenant": ""})),
    (
        lambda a: a.disconnect(user="42", code=4006),
        ("disconnect", {"user": "42", "conn": None, "tenant": "", "code": 4006, "reason": ""}),
    ),
    (
        lambda a: a.disconnect(tenant="acme", reason="bye"),
        ("disconnect", {"user": None, "conn": None, "tenant": "acme", "code": 4503, "reason": "bye"}),
    ),
    (lambda a: a.subscribe("42", "t"), ("subscribe", "42", "t", {"tenant": ""})),
    (lambda a: a.unsubscribe("42", "t"), ("unsubscribe", "42", "t", {"tenant": ""})),
    (lambda a: a.presence("t"), ("presence", "t", {"tenant": ""})),
    (lambda a: a.presence_stats("t"), ("presence_stats", "t", {"tenant": ""})),
    (
        lambda a: a.history("t", since=("e", 5), limit=3, reverse=True),
        ("history", "t", {"since": ("e", 5), "limit": 3, "reverse": True, "tenant": ""}),
    ),
    (lambda a: a.status(["1", "2"]), ("status", ["1", "2"], {"tenant": ""})),
    (lambda a: a.sessions("42"), ("sessions", "42", {"limit": 1000, "tenant": ""})),
    (lambda a: a.online("device", "web"), ("online", "device", "web", {"tenant": None})),
    (lambda a: a.topics(), ("topics", "*", {"tenant": ""})),
]


@pytest.mark.parametrize(("call", "expected"), CALLS)
async def test_they_reach_the_server(
    call: Callable[[Any], Any], expected: tuple[Any, ...], asked: tuple[FastWS, list[Any]]
) -> None:
    app, heard = asked
    answer = await call(app)
    assert answer == (None if expected[0] == "broadcast" else 5)
    acme = app.tenant("acme")
    assert await call(acme) == answer
    assert heard == [expected, (*expected[:-1], {**expected[-1], "tenant": "acme"})]
    assert (acme.name, repr(acme)) == ("acme", "<tenant 'acme'>")


@pytest.mark.parametrize(("call", "expected"), CALLS)
async def test_they_need_a_running_server(call: Callable[[Any], Any], expected: tuple[Any, ...]) -> None:
    app = FastWS()
    for services in (app, app.tenant("acme")):
        with pytest.raises(UsageError, match=rf"app\.{expected[0]}\(\) needs a running server") as raised:
            await call(services)
        assert "background" in raised.value.hint


async def test_whom_a_push_is_for(asked: tuple[FastWS, list[Any]]) -> None:
    app, heard = asked
    connection = SimpleNamespace(id=CONN)
    users = ["", "42", "0123456789", "0123456789-", "0123456789-0f", "0123456789-1F", "g123456789-1", CONN + "\n"]
    for user in users:
        await app.push(user, 1)
    await app.push(connection, 2)
    assert heard == [
        *(("push", 1, {"user": user, "tenant": ""}) for user in users),
        ("push", 2, {"conn": connection, "tenant": ""}),
    ]
    for wrong in (None, 42, object(), SimpleNamespace(id=5)):
        with pytest.raises(UsageError, match="neither a user nor a connection"):
            await app.push(wrong, 1)


async def test_whom_to_disconnect_has_to_be_said(asked: tuple[FastWS, list[Any]]) -> None:
    app, heard = asked
    for options in ({}, {"user": "1", "conn": CONN}, {"user": "1", "conn": CONN, "tenant": "t"}):
        with pytest.raises(UsageError, match="whom"):
            await app.disconnect(**options)
    acme = app.tenant("acme")
    with pytest.raises(UsageError, match="whom"):
        await acme.disconnect()
    with pytest.raises(UsageError, match="the tenant 'acme', not 'other'"):
        await acme.disconnect(tenant="other")
    assert heard == []
    await acme.disconnect(conn=CONN)
    await app.disconnect(conn=CONN)
    await app.disconnect(user="1", tenant="acme")
    assert [(options["user"], options["conn"], options["tenant"]) for _, options in heard] == [
        (None, CONN, "acme"),
        (None, CONN, None),
        ("1", None, "acme"),
    ]


WRONG: list[Callable[[Any], Any]] = [
    lambda a: a.publish(5, 1),
    lambda a: a.publish("t", 1, key=5),
    lambda a: a.disconnect(user=5),
    lambda a: a.subscribe(5, "t"),
    lambda a: a.subscribe("5", None),
    lambda a: a.unsubscribe(5, "t"),
    lambda a: a.presence(5),
    lambda a: a.presence_stats(5),
    lambda a: a.history(5),
    lambda a: a.status(["1", 5]),
    lambda a: a.sessions(b"5"),
    lambda a: a.topics(5),
]


@pytest.mark.parametrize("call", WRONG)
async def test_names_are_text(call: Callable[[Any], Any], asked: tuple[FastWS, list[Any]]) -> None:
    app, heard = asked
    for services in (app, app.tenant("acme")):
        with pytest.raises(UsageError, match="which is no text") as raised:
            await call(services)
        assert '"42"' in raised.value.hint
    assert heard == []


async def test_status_of_what_can_be_read_once(asked: tuple[FastWS, list[Any]]) -> None:
    app, heard = asked
    await app.status(str(number) for number in range(2))
    assert heard == [("status", ["0", "1"], {"tenant": ""})]


async def test_status_is_about_several(asked: tuple[FastWS, list[Any]]) -> None:
    with pytest.raises(UsageError, match="several"):
        await asked[0].status("42")


async def test_what_this_version_does_not_have_says_so() -> None:
    app = FastWS()
    uses: list[Callable[[], Any]] = [
        lambda: app.on_send(print),
        lambda: app.on_send("chat"),
        lambda: app.groups.create("g"),
        lambda: app.dead_letters.list,
        lambda: app.dead_letters.requeue,
    ]
    for use in uses:
        with pytest.raises(UsageError, match="this version of fastws does not have"):
            use()
    with pytest.raises(UsageError, match="direct messages"):
        await app.send("42", {"text": "hello"}, type=1)
    assert not hasattr(app.groups, "__len__")
