"""The description of the control API as OpenAPI 3.1, made from the types that decode and encode its calls."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

from fastws import __version__
from fastws.observe.admin import bodies, results
from fastws.observe.admin.calls import BATCH
from fastws.observe.admin.methods import METHODS, READING

_REF: Final = "#/components/schemas/{name}"
_ABOUT: Final = (
    "Publish, look and act from outside. Permissions of clients do not apply here; namespaces, sizes and schemas do. "
    "Errors have the codes of the client protocol."
)
_ERRORS: Final = {
    400: "The call cannot be carried out: 107 for a wrong field, 106 over a limit, 108 where something is off.",
    401: "101: the admin key is missing or wrong.",
    404: "102: the namespace is not declared; 104: there is no such method.",
    409: "The Idempotency-Key came with another method or body before; 111: another process is at this call.",
    413: "110: too much data.",
    500: "100: the server failed; its log says why.",
    503: "113: what carries messages is away; the same call may succeed later.",
}
_BATCH_EXAMPLE: Final = {
    "commands": [
        {"method": "publish", "topic": "news", "data": {"text": "hi"}},
        {"method": "presence_stats", "topic": "chat:lobby"},
    ]
}


def description() -> dict[str, Any]:
    """The whole document."""
    methods = [(method.name, method.body, method.result, method.example) for method in METHODS.values()]
    methods.append((BATCH, bodies.Batch, results.BatchResult, _BATCH_EXAMPLE))
    types = list(dict.fromkeys([*(kind for method in methods for kind in method[1:3]), results.Failure]))
    references, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    reference_of = dict(zip(types, references, strict=True))
    paths: dict[str, Any] = {
        f"/api/{name}": {"post": _operation(name, body, reference_of[body], reference_of[result], example)}
        for name, body, result, example in methods
    }
    paths["/healthz"] = {"get": _check("healthz", "Whether the process lives.", {200: "It does."})}
    ready = {200: "It is.", 503: "It is not; `checks` says why."}
    paths["/readyz"] = {"get": _check("readyz", "Whether the node lets clients in and carries messages.", ready)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "fastws control API", "version": __version__, "description": _ABOUT},
        "security": [{"adminKey": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {str(status): _error(about) for status, about in _ERRORS.items()},
            "parameters": {"IdempotencyKey": _IDEMPOTENCY_KEY},
            "securitySchemes": {
                "adminKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The option --admin-key. Without one only programs on the same machine may call.",
                }
            },
        },
    }


_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A call that is repeated with it within 5 minutes has one effect and the same answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def _operation(
    name: str, body: type[bodies.Body], takes: dict[str, Any], gives: dict[str, Any], example: dict[str, Any]
) -> dict[str, Any]:
    about = " ".join((body.__doc__ or "").split())
    result = {"type": "object", "properties": {"result": gives}, "required": ["result"]}
    return {
        "operationId": name,
        "summary": about.partition(".")[0] + ".",
        "description": about,
        **({} if name in READING else {"parameters": [{"$ref": "#/components/parameters/IdempotencyKey"}]}),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": takes, "examples": {"usual": {"value": example}}}},
        },
        "responses": {
            "200": {"description": HTTPStatus.OK.phrase, "content": {"application/json": {"schema": result}}},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in _ERRORS},
        },
    }


def _error(about: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"error": {"$ref": _REF.format(name="Failure")}},
        "required": ["error"],
    }
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _check(name: str, about: str, answers: dict[int, str]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"status": {"type": "string"}, "checks": {"type": "object"}},
        "required": ["status"],
    }
    content = {"application/json": {"schema": schema}}
    return {
        "operationId": name,
        "summary": about,
        "security": [],
        "responses": {str(status): {"description": meaning, "content": content} for status, meaning in answers.items()},
    }
