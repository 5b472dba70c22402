"""docs/reference/control-api.md: the OpenAPI description, for people."""

from __future__ import annotations

import json
from typing import Any, Final

from docs.generate.markdown import GENERATED, table
from fastws.observe.admin.openapi import description

_HEAD: Final = f"""\
# Control API

{GENERATED}

`POST /api/METHOD` with a JSON body answers `{{"result": {{...}}}}` or `{{"error": {{"code", "reason", "message"}}}}`.
The server describes itself at `/api/openapi.json`; this page is made from that. [The guide](../guide/control-api.md)
shows how it is used.
"""


def render() -> str:
    """The whole page."""
    document = description()
    schemas = document["components"]["schemas"]
    sections = [_HEAD, "\n## Methods\n"]
    for path, methods in document["paths"].items():
        if "post" in methods:
            sections.append(_method(path, methods["post"], schemas))
    sections.append("\n## Errors\n\n")
    responses = document["components"]["responses"]
    sections.append(
        table(("status", "codes"), [(status, response["description"]) for status, response in responses.items()])
    )
    return "".join(sections)


def _method(path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    content = operation["requestBody"]["content"]["application/json"]
    body = _resolved(content["schema"], schemas)
    result = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["result"]
    example = json.dumps(content["examples"]["usual"]["value"])
    parts = [f"\n### `{path.removeprefix('/api/')}`\n\n{operation['description']}\n\n"]
    parts.append(table(("field", "type", "required", "meaning"), _fields(body, schemas)))
    given = _resolved(result, schemas)
    if given.get("properties"):
        parts.append("\nResult:\n\n")
        parts.append(table(("field", "type", "always there", "meaning"), _fields(given, schemas)))
    parts.append(f"\nFor example `{example}`.\n")
    return "".join(parts)


def _fields(schema: dict[str, Any], schemas: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    required = set(schema.get("required", ()))
    fields = sorted(schema["properties"].items(), key=lambda field: field[0] == "tenant")  # it is everywhere: last
    return [
        (f"`{name}`", _kind(kind, schemas), "yes" if name in required else "", _meaning(kind)) for name, kind in fields
    ]


def _meaning(schema: dict[str, Any]) -> str:
    text = str(schema.get("description", ""))
    default = schema.get("default")
    if default not in (None, ""):
        text = f"{text} By default {json.dumps(default)}.".strip()
    if not text:
        options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
        return _meaning(options[0]) if len(options) == 1 else ""
    return text


def _kind(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        named = _resolved(schema, schemas)
        return "`{" + ", ".join(f'"{name}"' for name in named["properties"]) + "}`"
    if "anyOf" in schema:
        return " or ".join(_kind(option, schemas) for option in schema["anyOf"] if option.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'], schemas)}" if schema.get("items") else "list"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"by name: {_kind(values, schemas)}" if isinstance(values, dict) and values else "object"
    names = {"string": "text", "boolean": "true or false", None: "anything"}
    kind = schema.get("type")
    return names.get(kind, str(kind))


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found
