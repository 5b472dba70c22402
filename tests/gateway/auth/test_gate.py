"""Terms for strangers, and where tokens are looked for."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.config import Settings
from fastws.gateway.auth.gate import Terms, offered, terms


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Terms(welcome=True, trusted=True)),
        ({"uds": "/tmp/x"}, Terms(welcome=True, trusted=True)),
        ({"host": "0.0.0.0", "anonymous": True}, Terms(welcome=True, trusted=False)),
        ({"host": "0.0.0.0", "anonymous": True, "dev": True}, Terms(welcome=True, trusted=True)),
        ({"app": "chat:app"}, Terms(welcome=True, trusted=False)),
        ({"app": "chat:app", "dev": True}, Terms(welcome=True, trusted=True)),
        ({"jwt_secret": "x"}, Terms(welcome=False, trusted=False)),
        ({"jwt_secret": "x", "dev": True}, Terms(welcome=False, trusted=False)),
        ({"jwt_secret": "x", "anonymous": True}, Terms(welcome=True, trusted=False)),
        ({"ssl_require_client_cert": True}, Terms(welcome=False, trusted=False)),
    ],
)
def test_terms(settings: dict[str, Any], expected: Terms) -> None:
    assert terms(Settings(**settings)) == expected


BEARER = (b"authorization", b"Bearer abc")
ENTRY = (b"sec-websocket-protocol", b"fastws.json.v1 , fastws.token.ghi")


@pytest.mark.parametrize(
    ("headers", "query", "token"),
    [
        ([], b"", None),
        ([BEARER, ENTRY], b"token=def", "abc"),
        ([(b"authorization", b"bEARER  abc ")], b"", "abc"),
        ([(b"authorization", b"Basic abc"), ENTRY], b"a=1&token=def", "def"),
        ([ENTRY], b"a=1", "ghi"),
        ([ENTRY], b"xtoken=5", "ghi"),
        ([(b"sec-websocket-protocol", b"a"), ENTRY], b"", "ghi"),
        ([], b"token=", ""),
        ([], b"token=%61b&token=c", "ab"),
        ([(b"sec-websocket-protocol", b"fastws.json.v1")], b"", None),
    ],
)
def test_the_first_place_that_has_a_token_counts(
    headers: list[tuple[bytes, bytes]], query: bytes, token: str | None
) -> None:
    found = offered(headers, query)
    assert (found.token if found is not None else None) == token
    assert found is None or found.in_header is (token == "abc")
