"""HTTP answers as bytes, and requests as applications see them."""

from __future__ import annotations

import email.utils
import time
from typing import Any

import pytest

from fastws.core.proxies import Client
from fastws.core.request import parse_request
from fastws.errors import UsageError
from fastws.net.http import Headers, HttpRequest, HttpResponse, answer, error_answer, parse_query, result_answer


def parts(data: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, dict(line.split(b": ", 1) for line in lines), body


def test_an_answer() -> None:
    first, headers, body = parts(answer(200, b"hello", headers=[(b"X-A", b"1")]))
    assert first == b"HTTP/1.1 200 OK"
    moment = email.utils.parsedate_to_datetime(headers.pop(b"Date").decode())
    assert abs(moment.timestamp() - time.time()) < 5
    assert headers == {
        b"Content-Type": b"text/plain; charset=utf-8",
        b"Content-Length": b"5",
        b"X-A": b"1",
        b"Connection": b"close",
    }
    assert body == b"hello"


def test_head_has_the_headers_of_get() -> None:
    _, headers, body = parts(answer(200, b"hello", head_only=True))
    assert (headers[b"Content-Length"], body) == (b"5", b"")


def test_204_has_no_length() -> None:
    _, headers, body = parts(result_answer(None))
    assert b"Content-Length" not in headers
    assert body == b""


@pytest.mark.parametrize("status", [400, 426, 451, 499, 599])
def test_errors_have_a_reason_in_json(status: int) -> None:
    first, headers, body = parts(error_answer(status, 'do "this"'))
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert headers[b"Content-Type"] == b"application/json"
    assert b'"message":"do \\"this\\""' in body


@pytest.mark.parametrize(
    ("result", "content_type", "body"),
    [
        ({"a": 1}, b"application/json", b'{"a":1}'),
        ([], b"application/json", b"[]"),
        ("\u00e9", b"text/plain; charset=utf-8", "\u00e9".encode()),
        ("", b"text/plain; charset=utf-8", b""),
        (b"\x00", b"application/octet-stream", b"\x00"),
        (bytearray(b"a"), b"application/octet-stream", b"a"),
    ],
)
def test_results_of_handlers(result: Any, content_type: bytes, body: bytes) -> None:
    first, headers, sent = parts(result_answer(result))
    assert (first, headers[b"Content-Type"], sent) == (b"HTTP/1.1 200 OK", content_type, body)


@pytest.mark.parametrize("result", [1, True, 1.5, object(), (1, 2), {"a": object()}, {1: 2}])
def test_other_results_are_the_applications_mistake(result: Any) -> None:
    with pytest.raises(UsageError):
        result_answer(result)


def test_an_answer_with_its_own_head() -> None:
    page = HttpResponse("<p>é", content_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})
    first, headers, body = parts(result_answer(page))
    assert first == b"HTTP/1.1 200 OK"
    assert headers[b"Content-Type"] == b"text/html; charset=utf-8"
    assert headers[b"Cache-Control"] == b"no-store"
    assert body == "<p>é".encode()
    first, headers, body = parts(result_answer(HttpResponse({"missing": "it"}, status=404)))
    assert first == b"HTTP/1.1 404 Not Found"
    assert headers[b"Content-Type"] == b"application/json"
    assert body == b'{"missing":"it"}'
    assert parts(result_answer(HttpResponse(status=303, headers={"Location": "/there"})))[1][b"Location"] == b"/there"


@pytest.mark.parametrize(
    "head",
    [
        {"status": 101},
        {"status": 600},
        {"content_type": "text/html\r\nX: 1"},
        {"headers": {"X": "1\r\nY: 2"}},
        {"headers": {"X\r\nY": "1"}},
        {"headers": {"": "1"}},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
    ],
)
def test_heads_that_cannot_be_sent(head: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="HttpResponse"):
        HttpResponse("", **head)


def test_headers_in_any_case() -> None:
    headers = Headers([(b"x-a", b"1"), (b"x-b", b"\xe9"), (b"x-a", b"2")])
    assert headers["X-A"] == "1, 2"
    assert headers.get_all("x-a") == ["1", "2"]
    assert headers["x-b"] == "\u00e9"
    assert headers.get("none") is None
    assert "X-B" in headers
    assert "\u20ac" not in headers
    assert dict(headers) == {"x-a": "1, 2", "x-b": "\u00e9"}
    assert len(headers) == 2
    assert repr(headers) == "Headers({'x-a': '1, 2', 'x-b': 'é'})"
    assert Headers() == {}


def test_what_is_printed_of_headers_has_no_secrets() -> None:
    headers = Headers([(b"authorization", b"Bearer s3cret"), (b"cookie", b"s3cret"), (b"x-a", b"1")])
    assert "s3cret" not in repr(headers)
    assert "x-a" in repr(headers)
    assert headers["authorization"] == "Bearer s3cret"


def test_a_token_that_was_judged_is_in_no_query() -> None:
    request = parse_request(b"GET /x?a=1&token=s3cret&b=2 HTTP/1.1\r\nHost: x\r\n\r\n")
    client = Client("192.0.2.1", 1, False)
    assert HttpRequest(request, client, credentials=object()).query == {"a": "1", "b": "2"}
    assert HttpRequest(request, client).query == {"a": "1", "token": "s3cret", "b": "2"}


def test_queries() -> None:
    assert parse_query(b"a=1&a=2&b=%20+x&c&=d") == {"a": "2", "b": "  x", "c": "", "": "d"}
    assert parse_query(b"%ff%zz") == {"\ufffd%zz": ""}
    assert parse_query(b"&" * 8000) == {}
    assert len(parse_query(b"&".join(b"%d" % n for n in range(2000)))) == 2000


def test_a_request_as_handlers_see_it() -> None:
    head = parse_request(b"POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n")
    request = HttpRequest(head, Client("1.2.3.4", 0, True), b'{"a":1}')
    assert (request.method, request.path, request.query) == ("POST", "/a%20b", {"x": "1"})
    assert (request.headers["host"], request.body, request.json()) == ("h", b'{"a":1}', {"a": 1})
    assert (request.remote, request.scheme) == (("1.2.3.4", 0), "https")
    assert HttpRequest(head, Client("", 0, False)).remote is None
    with pytest.raises(ValueError, match=r"JSON|unexpected"):
        HttpRequest(head, Client("", 0, False), b"{").json()
