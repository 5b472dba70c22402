"""The generated pages are what the code says, and what they add in words fits it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import msgspec.inspect
import pytest

from docs.generate import codes, words
from docs.generate.__main__ import main
from docs.generate.commands import shown
from docs.generate.pages import PAGES
from docs.generate.python_api import REQUEST
from fastws import HttpRequest, closes
from fastws.core.codecs.commands import NAMES
from tests.contract.talking import Talker
from tests.docs.pages import ROOT
from tests.support.server import ServerProcess

SECRET = "known to the server and to this test"


@pytest.mark.parametrize("name", PAGES)
def test_it_is_up_to_date(name: str) -> None:
    assert Path(ROOT, name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


def test_the_command_names_what_is_stale(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--check"]) == 0
    monkeypatch.setitem(PAGES, "docs/reference/codes.md", lambda: "something else")
    assert main(["--check"]) == 1
    assert capsys.readouterr().out == "docs/reference/codes.md\n"


def test_every_generated_page_is_in_the_list() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "reference").iterdir()}
    assert found <= PAGES.keys()


def test_tables_have_as_many_cells_as_their_heads() -> None:
    for name in PAGES:
        width = 0
        for line in PAGES[name]().splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
            assert width in (0, cells) or not cells, f"{name}: {line}"
            width = cells


@pytest.mark.parametrize("name", PAGES)
def test_code_of_docstrings_is_python(name: str) -> None:
    for text in re.findall(r"^```python\n(.*?)^```", PAGES[name](), re.MULTILINE | re.DOTALL):
        compile(text, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_command_and_field_has_its_words() -> None:
    fields = {
        (name, field.name)
        for command, name in NAMES.items()
        for field in msgspec.inspect.type_info(command).fields  # type: ignore[attr-defined]
        if field.name != "id"
    }
    assert words.COMMANDS.keys() == set(NAMES.values())
    assert words.FIELDS.keys() == fields


def test_every_attribute_of_a_request_is_shown() -> None:
    public = {name for name in dir(HttpRequest) if not name.startswith("_")}
    assert {name.removesuffix("()") for name in REQUEST} | {"client"} == public


def test_every_error_has_a_meaning() -> None:
    assert codes.ERROR_MEANINGS.keys() == closes.ERRORS.keys()


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    source = """
from fastws import FastWS

app = FastWS()

@app.rpc("double")
def double(conn, data):
    return data * 2

@app.rpc("tell")
async def tell(conn, data):
    conn.send("something")
    await app.subscribe("ann", "a:e")
    await app.unsubscribe("ann", "a:e")
"""
    with ServerProcess("--dev", "--jwt-secret", SECRET, source=source) as process:
        yield process


ARGUMENTS: dict[str, dict[str, Any]] = {
    "sub": {"topic": "a:b"},
    "unsub": {"topic": "a:c"},
    "pub": {"topic": "a:c", "data": 1},
    "history": {"topic": "a:b"},
    "presence": {"topic": "a:b"},
    "presence_stats": {"topic": "a:b"},
    "status": {"users": ["ann"]},
    "rpc": {"method": "double", "data": 2},
    "heartbeat": {"interval": 30},
    "ping": {},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_results_have_the_fields_that_are_shown(server: ServerProcess, name: str) -> None:
    with welcomed(server) as client:
        result = client.ask(name, **ARGUMENTS[name])
    fits(result, words.COMMANDS[name].result)


def test_every_command_is_looked_at() -> None:
    assert ARGUMENTS.keys() | {"auth", "refresh"} == set(NAMES.values())


def test_pushes_have_the_fields_that_are_shown(server: ServerProcess) -> None:
    with welcomed(server) as client, welcomed(server) as other:
        fits(client.welcome, words.PUSHES["welcome"].fields)
        client.ask("sub", topic="a:d", presence=True)
        client.say("pub", topic="a:d", data=1)
        fits(client.hear(), words.PUSHES["publication"].fields)
        client.say("dance")
        fits(client.hear(), words.PUSHES["error"].fields)
        other.ask("sub", topic="a:d")
        fits(client.hear(), words.PUSHES["join"].fields)
        other.ask("unsub", topic="a:d")
        fits(client.hear(), words.PUSHES["leave"].fields)
        client.say("rpc", method="tell")
        for event in ("message", "subscribed", "unsubscribed"):
            fits(client.hear(), words.PUSHES[event].fields)


def welcomed(server: ServerProcess) -> Talker:
    token = jwt.encode({"sub": "ann", "exp": 4102444800, "info": 1}, SECRET, "HS256")
    return Talker.welcomed(server, path=f"/ws?token={token}")


def fits(said: dict[str, Any], names: tuple[str, ...]) -> None:
    fields = {shown(name): not name.endswith("?") for name in names}
    assert said.keys() - {"event"} <= fields.keys()
    assert {name for name, always in fields.items() if always} <= said.keys()
