"""What tests of applications, and applications inside others, may rely on. A change here is a change for users."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import fastws.asgi
import fastws.testing
from fastws import FastWS
from fastws.asgi import Mounted, mount
from fastws.testing import Client, CommandError, ConnectionClosed, RefusedError, Response, TestServer

TIMEOUT = "timeout=5.0"
OF_SERVERS = {
    "start": "()",
    "stop": "()",
    "drain": "()",
    "token": "(user, *, tenant=None, device=None, claims=None, ttl=3600)",
    "connect": "(path=None, *, user=None, tenant=None, device=None, claims=None, token=None, headers=(), origin=None, "
    f"query=None, subprotocol=None, codec='json', {TIMEOUT})",
    "url_of": "(path)",
    "http_get": "(path, headers=None, *, timeout=5.0)",
    "http": "(method, path, headers=None, body=b'', *, timeout=5.0)",
    "api": "(method, /, **fields)",
}
VALUES_OF_SERVERS = {"app", "settings", "url", "http_url", "admin_url"}
OF_CLIENTS = {
    "open": "(target, *, codec='json', token=None)",
    "send": "(cmd, /, **fields)",
    "send_object": "(value)",
    "send_text": "(text)",
    "send_bytes": "(data)",
    "request": f"(cmd, /, *, {TIMEOUT}, **fields)",
    "authenticate": "(token)",
    "take_welcome": f"({TIMEOUT})",
    "subscribe": "(topic, *, recover=None, token=None, presence=False)",
    "unsubscribe": "(topic)",
    "publish": "(topic, data, **options)",
    "rpc": "(method, data=None)",
    "receive": f"({TIMEOUT})",
    "next_event": f"(event=None, {TIMEOUT})",
    "expect": f"(event, /, *, {TIMEOUT}, **fields)",
    "nothing_arrives": f"({TIMEOUT})",
    "pause_reading": "()",
    "resume_reading": "()",
    "close": "(code=1000, reason='')",
    "wait_closed": f"({TIMEOUT})",
    "abort": "()",
}
VALUES_OF_CLIENTS = {"id", "arrived", "welcome", "closed", "subprotocol"}


def signature(function: Any) -> str:
    """Parameters and defaults, without types."""
    parameters = [value for name, value in inspect.signature(function).parameters.items() if name != "self"]
    return str(inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in parameters]))


def public(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("cls", "methods", "values"),
    [
        (TestServer, OF_SERVERS, VALUES_OF_SERVERS - {"app", "settings"}),
        (Client, OF_CLIENTS, VALUES_OF_CLIENTS - {"welcome", "closed", "subprotocol"}),
        (Mounted, {"lifespan": "(_parent=None)"}, set()),
    ],
    ids=lambda thing: getattr(thing, "__name__", ""),
)
def test_methods(cls: Any, methods: dict[str, str], values: set[str]) -> None:
    assert public(cls) == methods.keys() | values
    for name, wanted in methods.items():
        assert signature(getattr(cls, name)) == wanted, name
    for name in methods.keys() | values:
        assert getattr(cls, name).__doc__, name


def test_what_is_made() -> None:
    assert signature(TestServer.__init__) == "(app, **settings)"
    assert signature(mount) == "(app, **settings)"
    assert vars(TestServer(FastWS())).keys() >= {"app", "settings"}
    assert vars(mount(FastWS())).keys() >= {"app", "settings"}


def test_names() -> None:
    assert set(fastws.asgi.__all__) == {"Mounted", "mount"}
    exported = {"Client", "CommandError", "ConnectError", "ConnectionClosed", "RefusedError", "Response", "TestServer"}
    assert set(fastws.testing.__all__) == exported
    for module in (fastws.asgi, fastws.testing):
        assert module.__doc__
        assert all(getattr(module, name).__doc__ for name in module.__all__)


def test_what_errors_and_answers_carry() -> None:
    error = CommandError("sub", {"code": 111, "reason": "too_many_requests", "temporary": True})
    assert (error.cmd, error.code, error.reason, error.message, error.temporary) == (
        "sub",
        111,
        "too_many_requests",
        "",
        True,
    )
    assert str(error) == "sub: 111 too_many_requests"
    closed = ConnectionClosed(4000, "because", "text")
    assert (closed.code, closed.reason, str(closed)) == (4000, "because", "text")
    assert {"status", "headers", "body"} <= set(inspect.signature(RefusedError).parameters)
    assert public(Response) >= {"text", "json"}
