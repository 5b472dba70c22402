"""Paths, and the methods of HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from fastws import FastWS, UsageError
from fastws.app import HttpRoute


def handler(*_arguments: Any) -> None: ...


@pytest.mark.parametrize("path", ["x", "", "/a b", "/a?b", "/ä", "/a#b", "/healthz", "/readyz", None, handler])
def test_paths_that_cannot_be(path: Any) -> None:
    with pytest.raises(UsageError):
        FastWS().raw(path)
    with pytest.raises(UsageError):
        FastWS().http(path)


def test_a_path_has_one_handler() -> None:
    app = FastWS()
    app.raw("/x")(handler)
    for decorator in (app.raw, app.http):
        with pytest.raises(UsageError, match="/x has a handler already, handler"):
            decorator("/x")(lambda *arguments: None)
    app.http("/y")(lambda request: None)
    with pytest.raises(UsageError, match="/y has a handler already"):
        app.raw("/y")(handler)


def test_http() -> None:
    async def hello(request: Any) -> None: ...

    app = FastWS()
    assert app.http("/hello")(hello) is hello
    app.http("/form", methods=("GET", "POST", "GET"))(hello)
    assert app.http_routes["/hello"] == HttpRoute("/hello", hello, ("GET",))
    assert app.http_routes["/form"].methods == ("GET", "POST")


@pytest.mark.parametrize("methods", [5, None, "GET", (), ("get",), (5,), ("GET POST",)])
def test_methods_that_are_none(methods: Any) -> None:
    with pytest.raises(UsageError):
        FastWS().http("/x", methods=methods)


def test_a_wrong_signature() -> None:
    with pytest.raises(UsageError, match=r"cannot be called with \(request\)"):
        FastWS().http("/x")(lambda: None)
