"""Every server of the tests on Redis: with `FASTWS_TEST_REDIS` those that would have memory get a Redis instead.

Each start of a server has a prefix of its own, so that it finds nothing of others and nothing of what was before, as in
memory. A server that was given a Redis keeps it. What is marked `memory` is about memory, and says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from fastws.server import assembly
from tests.support.redis import RedisServer

VARIABLE: Final = "FASTWS_TEST_REDIS"
"""`1`: a private Redis for each process of pytest; else the URL of one."""

_CHOOSES: Final = frozenset({"--redis", "--workers", "--data-dir", "--config"})
"""Who gives one of these has a say in the engine."""

_url = ""


def is_wanted() -> bool:
    """Whether servers shall be on Redis."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


def engine_name() -> str:
    """What carries messages in a server that was told nothing of it."""
    return "redis" if is_wanted() else "memory"


@contextmanager
def switched_on() -> Iterator[None]:
    """Servers that are started within the block are on Redis, those in processes and those in loops of tests."""
    given = os.environ[VARIABLE]
    if given == "1":
        with RedisServer() as server, _at(server.url):
            yield
    else:
        with _at(given):
            yield


@contextmanager
def _at(url: str) -> Iterator[None]:
    global _url
    make_engine = assembly.make_engine

    def make(settings: Any) -> Any:
        if settings.redis == "none":
            settings = replace(settings, redis=url, prefix=_prefix())
        return make_engine(settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "make_engine", make)
        _url = url
        try:
            yield
        finally:
            _url = ""


def variables_of(options: Sequence[str], directory: Path) -> dict[str, str]:
    """What the environment of a server's process has for it, that has these options and works there."""
    if not _url or _CHOOSES.intersection(options):
        return {}
    file = directory / "fastws.toml"
    if file.exists() and "redis" in file.read_text(encoding="utf-8"):
        return {}
    return {"FASTWS_REDIS": _url, "FASTWS_PREFIX": _prefix()}


def leave_out(items: Sequence[pytest.Item]) -> None:
    """Skip what is marked `memory`."""
    for item in items:
        mark = item.get_closest_marker("memory")
        if mark is not None:
            item.add_marker(pytest.mark.skip(reason=f"in memory only: {mark.args[0]}"))


def _prefix() -> str:
    return f"t{uuid4().hex[:12]}"
