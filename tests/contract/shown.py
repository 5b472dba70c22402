"""What the tests of the contract show, so that another test can find what none of them shows.

`@shows("error 103", "cmd sub")` stands on a test that proves, through a real socket, that the server says or takes this
as the contract has it. Words: `cmd`, `push`, `error`, `close` and `unsubscribed`, each with the name or the code.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.contract.talking import JSON, MSGPACK

F = TypeVar("F", bound=Callable[..., Any])

KINDS = ("cmd", "push", "error", "close", "unsubscribed")

CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK])
"""For tests that are about one client, in each codec."""


def shows(*claims: str) -> Callable[[F], F]:
    """Say what a test shows."""
    assert claims
    for claim in claims:
        kind, _, name = claim.partition(" ")
        assert kind in KINDS, claim
        assert name, claim

    def mark(test: F) -> F:
        test.shown = claims  # type: ignore[attr-defined]
        return test

    return mark


def everything_shown() -> dict[str, set[str]]:
    """What is shown, and in which codecs."""
    found: dict[str, set[str]] = {}
    for test in _tests():
        for claim in getattr(test, "shown", ()):
            found.setdefault(claim, set()).update(_codecs(test))
    return found


def _tests() -> Iterator[Any]:
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.contract.{path.stem}")
        for name, member in vars(module).items():
            if name.startswith("test_") and inspect.isfunction(member) and member.__module__ == module.__name__:
                yield member


def _codecs(test: Any) -> Iterator[str]:
    """The codecs that it is run with; a test without the parameter speaks JSON."""
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize" and mark.args[0] == "codec":
            yield from mark.args[1]
            return
    yield JSON
