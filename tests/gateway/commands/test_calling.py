"""`rpc`."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import msgspec
import pydantic
import pytest

from fastws import Connection, FastWS, TopicError
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


class Order(msgspec.Struct):
    item: str
    count: int = 1


class User(pydantic.BaseModel):
    age: int


@both_codecs
async def test_a_method_that_nobody_has(codec: str) -> None:
    app = FastWS()
    app.rpc("yes")(lambda conn, data: 1)
    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        for name in ("nope", "", "YES", "__init__"):
            assert player.ask("rpc", method=name) == 108


@both_codecs
@pytest.mark.parametrize("waits", [None, False, True])
@pytest.mark.parametrize("data", [None, 0, "", [1, {"a": None}], {"text": "ä\u2028"}, -(2**63), 2**64 - 1, 0.1])
async def test_what_it_returns_comes_back_as_data(codec: str, waits: bool | None, data: Any) -> None:
    app = FastWS()

    def plain(conn: Connection, data: Any) -> Any:
        return {"id": conn.id, "said": data}

    async def coroutine(conn: Connection, data: Any) -> Any:
        if waits:
            await asyncio.sleep(0)
        return plain(conn, data)

    app.rpc("echo")(plain if waits is None else coroutine)
    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        player.say({"id": 1, "cmd": "rpc", "method": "echo", "data": data})
        await stage.settle()
        assert player.hear_one() == {"id": 1, "result": {"data": {"id": player.conn.id, "said": data}}}


@both_codecs
async def test_results_are_the_same_in_both_codecs(codec: str) -> None:
    app = FastWS()
    app.rpc("order")(lambda conn, data: [Order("tea"), datetime.date(2024, 5, 30), None])
    app.rpc("nothing")(lambda conn, data: None)
    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        assert player.ask("rpc", method="order") == {"data": [{"item": "tea", "count": 1}, "2024-05-30", None]}
        assert player.ask("rpc", method="nothing") == {"data": None}


@both_codecs
async def test_data_becomes_what_it_is_annotated_with(codec: str) -> None:
    app = FastWS()

    @app.rpc("order")
    async def order(conn: Connection, data: Order) -> str:
        assert isinstance(data, Order)
        return f"{data.count} x {data.item}"

    @app.rpc("sum")
    def add(conn: Connection, data: list[int]) -> int:
        return sum(data)

    @app.rpc("users")
    def users(conn: Connection, data: list[User]) -> list[User]:
        return [user for user in data if user.age >= 18]

    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        assert player.ask("rpc", method="users", data=[{"age": 5}, {"age": 50}]) == {"data": [{"age": 50}]}
        assert player.ask("rpc", method="users", data=[{"age": "x"}]) == 107
        assert player.ask("rpc", method="order", data={"item": "tea"}) == {"data": "1 x tea"}
        assert player.ask("rpc", method="sum", data=[1, 2]) == {"data": 3}
        for wrong in (None, [], {"item": 5}, {"count": 1}):
            assert player.ask("rpc", method="order", data=wrong) == 107
        player.say({"id": 1, "cmd": "rpc", "method": "sum", "data": ["1"]})
        message = player.hear_one()["error"]["message"]
        assert "int" in message


@both_codecs
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TopicError(1001, "no tea"), 1001),
        (TopicError(107), 107),
        (KeyError("secret"), 100),
        (asyncio.CancelledError("of what it waited for"), 100),
    ],
)
async def test_errors(
    codec: str, waits: bool, error: BaseException, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastWS()

    @app.rpc("fail")
    async def fail(conn: Connection, data: Any) -> None:
        if waits:
            await asyncio.sleep(0)
        raise error

    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        player.say({"id": 1, "cmd": "rpc", "method": "fail"}, {"id": 2, "cmd": "ping"})
        await stage.settle()
        answer, pong = player.hear()
        assert (answer["error"]["code"], pong["id"]) == (code, 2)
        assert "secret" not in answer["error"]["message"]
    assert [record.conn for record in caplog.records] == [player.conn.id] * (code == 100)  # type: ignore[attr-defined]


async def test_a_plain_method_that_meets_a_cancellation() -> None:
    app = FastWS()

    @app.rpc("fail")
    def fail(conn: Connection, data: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        return future.result()

    async with staged(app) as stage:
        player = stage.connect()
        assert player.ask("rpc", method="fail") == 100
        assert player.ask("ping")


async def test_the_end_of_the_server_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    app = FastWS()
    ended: list[bool] = []

    @app.rpc("wait")
    async def wait(conn: Connection, data: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with staged(app) as stage:
        player = stage.connect()
        player.say({"id": 1, "cmd": "rpc", "method": "wait"})
    assert ended == [True]
    assert player.hear() == []
    assert caplog.records == []


@both_codecs
@pytest.mark.parametrize("result", [{1: 2}, float("nan"), object(), b"x", [2**64]])
async def test_a_result_that_json_cannot_hold(codec: str, result: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = FastWS()
    app.rpc("bad")(lambda conn, data: result)
    async with staged(app) as stage:
        assert stage.connect(subprotocol=codec).ask("rpc", method="bad") == 100
    assert "the method 'bad' returned what cannot be sent" in caplog.text
