"""One call: its body, its answer, and what becomes of what is wrong."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from fastws.observe.admin.calls import MAX_COMMANDS, call
from fastws.observe.admin.methods import MISSING
from tests.observe.admin.doubles import canned


async def keys_of(name: str, body: dict[str, Any], idempotency_key: str) -> list[str | None]:
    """The keys of what is published by a call with an `Idempotency-Key`."""
    services, context = canned()
    assert (await call(context, name, msgspec.json.encode(body), idempotency_key)).status == 200
    return [arguments["key"] for _, arguments in services.calls]


async def asked(name: str, body: bytes | dict[str, Any]) -> tuple[int, Any]:
    """Status and content of the answer."""
    _, context = canned()
    answer = await call(context, name, body if isinstance(body, bytes) else msgspec.json.encode(body))
    return answer.status, msgspec.json.decode(answer.body)


@pytest.mark.asyncio
async def test_a_result() -> None:
    assert await asked("publish", {"topic": "news", "data": 1}) == (200, {"result": {"duplicate": False, "nodes": 1}})
    status, content = await asked("nodes", b"")
    assert (status, content["result"]["nodes"][0]["id"]) == (200, "n1")


@pytest.mark.asyncio
async def test_an_idempotency_key_is_one_of_each_publication() -> None:
    news = {"topic": "news", "data": 1}
    (key,) = await keys_of("publish", news, "k")
    assert key is not None
    assert key.endswith("k")
    assert key != "k"  # a client's key is never the same
    assert await keys_of("publish", news, "k") == [key]
    assert await keys_of("publish", news, "other") != [key]
    assert await keys_of("publish", {**news, "key": "own"}, "k") == ["own"]
    assert await keys_of("publish", news, "") == [None]
    assert await keys_of("broadcast", {"topics": ["a", "b"], "data": 1}, "k") == [key, key]
    one = {"method": "publish", **news}
    batched = await keys_of("batch", {"commands": [one, {**one, "key": "own"}, one]}, "k")
    assert batched[1] == "own"
    assert len({key, *batched}) == 4


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "body", "status", "code", "says"),
    [
        ("publish", b'{"topic": 1, "data": 1}', 400, 107, "`topic`"),
        ("publish", b'{"topic": "a"}', 400, 107, "`data`"),
        ("publish", b'{"topic": "", "data": 1}', 400, 107, "`topic`"),
        ("publish", b"", 400, 107, "`topic`"),
        ("publish", b"[]", 400, 107, "got `array`"),
        ("publish", b"{", 400, 107, "no JSON"),
        ("publish", b"\xff", 400, 107, "no JSON"),
        ("publish", b'{"topic":"a","data":NaN}', 400, 107, "no JSON"),
        ("publish", b'{"topic":"a","data":"\\ud800"}', 400, 107, "no JSON"),
        ("publish", b'{"topic":"a","data":' + b"[" * 100_000, 400, 107, "nested"),
        ("publish", b'{"topic":"a","data":1e999}', 400, 107, "range"),
        ("publish", b'{"topic": "none:1", "data": 1}', 404, 102, "none"),
        ("publish", b'{"topic": "away:1", "data": 1}', 503, 113, "away"),
        ("publish", b'{"topic": "broken:1", "data": 1}', 500, 100, "log"),
        ("disconnect", b'{"user": "42", "code": 999}', 400, 107, "`code`"),
        ("status", msgspec.json.encode({"users": ["a"] * 501}), 400, 106, "500"),
        ("nonsense", b"{}", 404, 104, "no such method"),
        ("", b"{}", 404, 104, "no such method"),
        ("publish/", b"{}", 404, 104, "no such method"),
        ("batch", b"{}", 400, 107, "`commands`"),
        ("batch", msgspec.json.encode({"commands": [{}] * (MAX_COMMANDS + 1)}), 400, 106, "1000"),
    ],
)
async def test_errors(name: str, body: bytes, status: int, code: int, says: str) -> None:
    found, content = await asked(name, body)
    assert (found, content["error"]["code"]) == (status, code)
    assert content["error"].keys() == {"code", "reason", "message"}
    assert says in content["error"]["message"]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", MISSING)
async def test_what_is_not_built_says_so(name: str) -> None:
    status, content = await asked(name, b"{}")
    assert (status, content["error"]["code"]) == (400, 108)
    assert MISSING[name] in content["error"]["message"]


@pytest.mark.asyncio
async def test_what_nobody_foresaw_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "fastws.admin"):
        await asked("publish", {"topic": "broken:1", "data": "secret"})
    assert "publish" in caplog.text
    assert "nobody foresaw" in caplog.text


@pytest.mark.asyncio
async def test_a_batch_runs_in_order_and_past_failures() -> None:
    services, context = canned()
    commands = [
        {"method": "publish", "topic": "news", "data": 1},
        {"method": "publish", "topic": "none:1", "data": 2},
        {"method": "publish", "topic": "broken:1", "data": 3},
        {"method": "nonsense"},
        {"method": "send"},
        {"method": "batch", "commands": []},
        {"topic": "news"},
        {"method": "publish", "topic": 1, "data": 4},
        {"method": "presence_stats", "topic": "chat:1"},
    ]
    answer = await call(context, "batch", msgspec.json.encode({"commands": commands}))
    assert answer.status == 200
    replies = msgspec.json.decode(answer.body)["result"]["replies"]
    codes = [reply["error"]["code"] if "error" in reply else 0 for reply in replies]
    assert codes == [0, 102, 100, 104, 108, 104, 107, 107, 0]
    assert replies[-1] == {"result": {"connections": 2, "users": 1}}
    assert [arguments.get("data") for name, arguments in services.calls if name == "publish"] == [1, 2, 3]


@pytest.mark.asyncio
async def test_a_batch_that_has_answered_too_much_looks_at_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.observe.admin.calls.MAX_ANSWER_BYTES", 100)
    services, context = canned()
    looking, doing = {"method": "history", "topic": "chat:1"}, {"method": "publish", "topic": "news", "data": 1}
    answer = await call(context, "batch", msgspec.json.encode({"commands": [looking, looking, doing, looking]}))
    replies = msgspec.json.decode(answer.body)["result"]["replies"]
    assert [reply.get("error", {}).get("code", 0) for reply in replies] == [0, 106, 0, 106]
    assert [name for name, _ in services.calls] == ["history", "publish"]


@pytest.mark.asyncio
async def test_commands_of_a_batch_may_be_written_in_several_ways() -> None:
    services, context = canned()
    fields = {"topic": "news", "data": 1}
    commands = [
        {"method": "publish", **fields},
        {"cmd": "publish", **fields},
        {"method": "publish", "params": fields},
        {"publish": fields},
    ]
    answer = await call(context, "batch", msgspec.json.encode({"commands": commands}))
    assert all("result" in reply for reply in msgspec.json.decode(answer.body)["result"]["replies"])
    assert services.calls == [services.calls[0]] * 4


@pytest.mark.asyncio
async def test_the_tenant_of_a_batch_holds_for_commands_without_one() -> None:
    services, context = canned()
    fields = {"method": "publish", "topic": "news", "data": 1}
    body = {"commands": [fields, {**fields, "tenant": "other"}, {**fields, "tenant": ""}], "tenant": "acme"}
    await call(context, "batch", msgspec.json.encode(body))
    assert [arguments["tenant"] for _, arguments in services.calls] == ["acme", "other", ""]
