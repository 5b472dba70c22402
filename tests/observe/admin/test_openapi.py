"""The description, against the standard and against what it describes."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from fastws.observe.admin.calls import BATCH, call
from fastws.observe.admin.methods import METHODS
from fastws.observe.admin.openapi import description
from tests.observe.admin.doubles import canned

DESCRIPTION = json.loads(msgspec.json.encode(description()))


def operation(name: str) -> Any:
    return DESCRIPTION["paths"][f"/api/{name}"]["post"]


def check(content: Any, schema: dict[str, Any]) -> None:
    """Raise unless the content fits a schema of the description."""
    jsonschema.Draft202012Validator({**schema, "components": DESCRIPTION["components"]}).validate(content)


def test_it_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DESCRIPTION).validate()


def test_it_has_every_method() -> None:
    assert {path for path in DESCRIPTION["paths"] if path.startswith("/api/")} == {
        f"/api/{name}" for name in (*METHODS, BATCH)
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("name", [*METHODS, BATCH])
async def test_examples_and_answers_fit_their_schemas(name: str) -> None:
    _, context = canned()
    described = operation(name)
    content = described["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        check(example["value"], content["schema"])
        answer = await call(context, name, json.dumps(example["value"]).encode())
        assert answer.status == 200, answer.body
        check(json.loads(answer.body), described["responses"]["200"]["content"]["application/json"]["schema"])
    assert described["summary"].endswith(".")


@pytest.mark.asyncio
async def test_errors_fit_theirs() -> None:
    _, context = canned()
    for topic in ("none:1", "away:1", "broken:1", ""):
        answer = await call(context, "publish", json.dumps({"topic": topic, "data": 1}).encode())
        described = DESCRIPTION["components"]["responses"][str(answer.status)]
        check(json.loads(answer.body), described["content"]["application/json"]["schema"])


def test_a_wrong_answer_would_be_noticed() -> None:
    schema = operation("push")["responses"]["200"]["content"]["application/json"]["schema"]
    with pytest.raises(jsonschema.ValidationError):
        check({"result": {"connections": "2"}}, schema)
