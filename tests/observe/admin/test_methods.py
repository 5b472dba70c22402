"""What each method asks of the services, and what it makes of the answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastws.errors import EngineError, TopicError
from fastws.observe.admin.methods import MAX_TOPICS, MAX_USERS, METHODS, MISSING, READING, failure
from tests.observe.admin.doubles import canned


async def done(name: str, **fields: Any) -> tuple[Any, list[tuple[str, dict[str, Any]]]]:
    """The result as JSON, and what the services were asked."""
    services, context = canned()
    method = METHODS[name]
    result = await method.run(context, msgspec.convert(fields, method.body))
    assert isinstance(result, method.result)
    return msgspec.json.decode(msgspec.json.encode(result)), services.calls


@pytest.mark.asyncio
@pytest.mark.parametrize("name", METHODS)
async def test_every_example_works(name: str) -> None:
    await done(name, **METHODS[name].example)


@pytest.mark.asyncio
async def test_publish() -> None:
    result, calls = await done("publish", topic="news", data=[1], key="k", tenant="acme")
    assert result == {"duplicate": False, "nodes": 1}
    assert calls == [("publish", {"topic": "news", "data": [1], "key": "k", "exclude": None, "tenant": "acme"})]
    result, _ = await done("publish", topic="past:1", data=None, key="k")
    assert result == {"offset": 7, "epoch": "e1", "duplicate": True, "nodes": 1}


@pytest.mark.asyncio
async def test_broadcast_publishes_to_each_topic_once() -> None:
    result, calls = await done("broadcast", topics=["news", "past:1", "news"], data=1)
    assert result == {
        "topics": {
            "news": {"duplicate": False, "nodes": 1},
            "past:1": {"offset": 7, "epoch": "e1", "duplicate": False, "nodes": 1},
        }
    }
    assert [arguments["topic"] for _, arguments in calls] == ["news", "past:1"]


@pytest.mark.asyncio
async def test_broadcast_says_where_it_came_to_nothing() -> None:
    result, _ = await done("broadcast", topics=["none:1", "news", "away:1"], data=1)
    assert result["topics"].keys() == {"news"}
    assert {topic: why["code"] for topic, why in result["failed"].items()} == {"none:1": 102, "away:1": 113}
    with pytest.raises(TopicError) as refused:
        await done("broadcast", topics=["none:1", "none:2"], data=1)
    assert refused.value.code == 102
    with pytest.raises(TopicError) as refused:
        await done("broadcast", topics=["news"] * (MAX_TOPICS + 1), data=1)
    assert refused.value.code == 106


@pytest.mark.asyncio
async def test_announce() -> None:
    assert await done("announce", data=1) == ({}, [("broadcast", {"data": 1, "tenant": None})])
    _, calls = await done("announce", data=1, tenant="acme")
    assert calls == [("broadcast", {"data": 1, "tenant": "acme"})]


@pytest.mark.asyncio
async def test_push() -> None:
    result, calls = await done("push", user="42", data=1, tenant="acme")
    assert result == {"connections": 2}
    assert calls == [("push", {"data": 1, "user": "42", "conn": None, "tenant": "acme"})]
    for wrong in ({}, {"user": "42", "conn": "c1"}):
        with pytest.raises(TopicError) as refused:
            await done("push", data=1, **wrong)
        assert refused.value.code == 107
        assert "user and conn" in refused.value.message


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["subscribe", "unsubscribe"])
async def test_subscriptions(name: str) -> None:
    result, calls = await done(name, user="42", topic="news", tenant="acme")
    assert result == {"connections": 1}
    assert calls == [(name, {"user": "42", "topic": "news", "tenant": "acme"})]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"user": "42"}, {"user": "42", "conn": None, "tenant": ""}),
        ({"user": "42", "tenant": "acme"}, {"user": "42", "conn": None, "tenant": "acme"}),
        ({"conn": "c1"}, {"user": None, "conn": "c1", "tenant": None}),
        ({"conn": "c1", "tenant": "acme"}, {"user": None, "conn": "c1", "tenant": "acme"}),
        ({"tenant": "acme"}, {"user": None, "conn": None, "tenant": "acme"}),
    ],
)
async def test_disconnect(given: dict[str, str], asked: dict[str, str | None]) -> None:
    result, calls = await done("disconnect", **given, code=4000, reason="enough")
    assert result == {"connections": 1}
    assert calls == [("disconnect", {**asked, "code": 4000, "reason": "enough"})]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"tenant": ""},
        {"user": "42", "conn": "c1"},
        {"user": "42", "code": 1005},
        {"user": "42", "code": 1006},
        {"user": "42", "reason": "é" * 62},
    ],
)
async def test_disconnect_closes_nobody_by_mistake(wrong: dict[str, Any]) -> None:
    services, context = canned()
    method = METHODS["disconnect"]
    with pytest.raises(TopicError) as refused:
        await method.run(context, msgspec.convert(wrong, method.body))
    assert refused.value.code == 107
    assert not services.calls


@pytest.mark.asyncio
async def test_presence() -> None:
    result, calls = await done("presence", topic="chat:1", tenant="acme")
    members = {
        "c1": {"user": "42", "device": "web", "info": {"name": "Ann"}},
        "c2": {"user": "", "device": "default"},
    }
    assert result == {"members": members, "connections": 2, "users": 1}
    assert calls == [("presence", {"topic": "chat:1", "tenant": "acme"})]
    result, _ = await done("presence", topic="chat:full")
    assert result["truncated"] is True
    assert (await done("presence_stats", topic="chat:1"))[0] == {"connections": 2, "users": 1}


@pytest.mark.asyncio
async def test_history() -> None:
    since = {"epoch": "e1", "offset": 0}
    result, calls = await done("history", topic="chat:1", since=since, limit=2, reverse=True)
    assert result == {
        "publications": [
            {"data": {"a": 1}, "offset": 1, "ts": 1000, "from": {"user": "42", "conn": "c1"}},
            {"data": None, "offset": 2, "ts": 1001},
        ],
        "epoch": "e1",
        "offset": 2,
    }
    assert calls == [("history", {"topic": "chat:1", "since": ("e1", 0), "limit": 2, "reverse": True, "tenant": ""})]
    _, calls = await done("history", topic="chat:1")
    assert calls[0][1] == {"topic": "chat:1", "since": None, "limit": 100, "reverse": False, "tenant": ""}


@pytest.mark.asyncio
async def test_topics() -> None:
    result, calls = await done("topics", pattern="a*")
    assert result == {"topics": [{"topic": "a", "subscribers": 1}, {"topic": "b", "subscribers": 2}]}
    assert calls == [("topics", {"pattern": "a*", "tenant": ""})]
    result, calls = await done("topics", limit=1)
    assert result == {"topics": [{"topic": "a", "subscribers": 1}], "truncated": True}
    assert calls[0][1]["pattern"] == "*"


@pytest.mark.asyncio
async def test_users() -> None:
    result, _ = await done("sessions", user="42", tenant="acme")
    session = {"conn": "c1", "user": "42", "tenant": "acme", "device": "web", "node": "n1", "since": 1000}
    assert result == {"sessions": [session, {**session, "conn": "c2"}]}
    result, _ = await done("sessions", user="42", tenant="acme", limit=1)
    assert result == {"sessions": [session], "truncated": True}
    result, _ = await done("sessions", user="42", limit=2)
    assert "truncated" not in result
    result, _ = await done("status", users=["42", "43"])
    assert result == {"users": {"42": {"online": True, "devices": ["web"]}, "43": {"online": False, "devices": []}}}
    with pytest.raises(TopicError) as refused:
        await done("status", users=["42"] * (MAX_USERS + 1))
    assert refused.value.code == 106
    result, calls = await done("online", attribute="device", value="web")
    assert result == {"connections": 5}
    assert calls == [("online", {"attribute": "device", "value": "web", "tenant": None})]


@pytest.mark.asyncio
async def test_nodes() -> None:
    result, calls = await done("nodes")
    assert result["nodes"][0]["id"] == "n1"
    assert not calls


def test_failures_have_the_codes_of_the_protocol() -> None:
    assert failure(EngineError("")).message == "engine_unavailable"
    why = failure(TopicError(110))
    assert (why.code, why.reason, why.message) == (110, "payload_too_large", "payload_too_large")


def test_what_only_looks_is_known() -> None:
    assert METHODS.keys() > READING
    assert METHODS.keys() - READING == {
        *("publish", "broadcast", "announce", "push", "subscribe", "unsubscribe", "disconnect"),
    }


def test_nothing_is_both_there_and_missing() -> None:
    assert not METHODS.keys() & MISSING.keys()
