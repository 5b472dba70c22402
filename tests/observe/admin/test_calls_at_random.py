"""Whatever callers say, with a real gateway behind it: an answer by the table, never a failure of the server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.observe.admin.calls import BATCH, call
from fastws.observe.admin.floor import Floor
from fastws.observe.admin.methods import METHODS, Context
from fastws.observe.admin.openapi import description
from tests.gateway.stage import staged
from tests.observe.admin.doubles import only_node

DESCRIPTION = json.loads(msgspec.json.encode(description()))

NAMES = st.sampled_from(
    ["a", "chat:1", "chat:2", "é:1", "", "*", "chat:*", "a*b", "42", "acme", "\0", "a\nb", "x" * 300]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), NAMES)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=5
)
FIELDS = {
    "topic": NAMES,
    "topics": st.lists(NAMES, max_size=3),
    "user": NAMES,
    "users": st.lists(NAMES, max_size=3),
    "conn": NAMES,
    "tenant": NAMES,
    "data": VALUES,
    "key": NAMES,
    "code": st.integers(-1, 5001),
    "reason": st.text(max_size=130),
    "since": st.fixed_dictionaries({"epoch": NAMES, "offset": st.integers(-1, 2**64)}),
    "limit": st.integers(-1, 10_001),
    "reverse": st.booleans(),
    "pattern": NAMES,
    "attribute": st.sampled_from(["user", "device", "tenant", "codec", "role", "name", "", "__class__"]),
    "value": VALUES,
    "method": st.sampled_from([*METHODS, BATCH, "send", "nonsense"]),
}
BODIES = st.fixed_dictionaries({}, optional={name: strategy | VALUES for name, strategy in FIELDS.items()})
# Mostly a whole call with something wrong in it: what is wrong everywhere is refused at the door.
CALLS = st.sampled_from(list(METHODS.values())).flatmap(
    lambda method: st.tuples(st.just(method.name), BODIES.map(lambda body: method.example | body))
)
BATCHES = st.lists(CALLS.map(lambda one: {**one[1], "method": one[0]}) | BODIES, max_size=4)


async def answered(calls: list[tuple[str, bytes]]) -> list[tuple[str, int, Any]]:
    """Have them carried out one after the other, while somebody is here."""
    async with staged(dev=True) as stage:
        context = Context(stage.gateway.services, only_node, Floor())
        player = stage.connect()
        player.ask("sub", topic="chat:1", presence=True)
        answers = [(name, await call(context, name, body)) for name, body in calls]
        return [(name, answer.status, json.loads(answer.body)) for name, answer in answers]


def check(name: str, status: int, content: Any) -> None:
    """Raise unless the answer is one that the description promises."""
    if name not in (*METHODS, BATCH):
        assert status == 404
        return
    responses = DESCRIPTION["paths"][f"/api/{name}"]["post"]["responses"]
    response = responses["200"] if status == 200 else DESCRIPTION["components"]["responses"][str(status)]
    schema = {**response["content"]["application/json"]["schema"], "components": DESCRIPTION["components"]}
    jsonschema.Draft202012Validator(schema).validate(content)


def run(calls: list[tuple[str, Any]]) -> None:
    for name, status, content in asyncio.run(answered([(name, json.dumps(body).encode()) for name, body in calls])):
        check(name, status, content)
        assert status != 500
        for reply in content.get("result", {}).get("replies", []):
            assert reply.get("error", {}).get("code") != 100


@given(st.lists(CALLS, max_size=8))
@settings(max_examples=60, deadline=None)
def test_calls(calls: list[tuple[str, Any]]) -> None:
    run(calls)


@given(BATCHES)
@settings(max_examples=50, deadline=None)
def test_batches(commands: list[Any]) -> None:
    run([(BATCH, {"commands": commands})])


@given(
    st.sampled_from([*METHODS, BATCH]), st.binary(max_size=50) | VALUES.map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=100, deadline=None)
def test_bytes(name: str, body: bytes) -> None:
    for found, status, content in asyncio.run(answered([(name, body)])):
        check(found, status, content)
        assert status != 500
