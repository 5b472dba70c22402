"""The request-head parser takes what RFC 9112 allows, and nothing that two programs could read differently."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.core.request import MAX_HEAD, MAX_HEADERS, MAX_REQUEST_LINE, RequestError, parse_request

GOOD = b"GET /ws?a=1 HTTP/1.1\r\nHost: example.com\r\n\r\n"


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: a", *lines, b"", b""])


def status_of(data: bytes) -> int:
    with pytest.raises(RequestError) as caught:
        parse_request(data)
    assert str(caught.value).isascii()
    return caught.value.status


def outcome_of(data: bytes) -> int:
    """The status of the refusal, or the negative size of the head."""
    try:
        return -parse_request(data).head_size
    except RequestError as error:
        return error.status


def test_the_parts_of_a_request() -> None:
    request = parse_request(b"POST /a/b?c=%20&d?e HTTP/1.0\r\nHost: h:80\r\nX-A:  1 2\t \r\nX-Empty:\r\n\r\nbody")
    assert (request.method, request.path, request.query, request.version) == ("POST", b"/a/b", b"c=%20&d?e", 10)
    assert request.headers == ((b"host", b"h:80"), (b"x-a", b"1 2"), (b"x-empty", b""))
    assert request.content_length == 0
    assert request.head_size == len(b"POST /a/b?c=%20&d?e HTTP/1.0\r\nHost: h:80\r\nX-A:  1 2\t \r\nX-Empty:\r\n\r\n")


def test_access_to_headers() -> None:
    request = parse_request(head(b"Accept: a, b", b"accept: ,c ,, d"))
    assert request.get(b"accept") == b"a, b"
    assert request.get(b"none") is None
    assert request.get_all(b"accept") == [b"a, b", b",c ,, d"]
    assert request.items(b"accept") == [b"a", b"b", b"c", b"d"]


def test_values_may_have_tabs_and_bytes_above_ascii() -> None:
    assert parse_request(head(b"X: \x80\xff\ta")).get(b"x") == b"\x80\xff\ta"


@pytest.mark.parametrize(
    "first",
    [
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET /",
        b"GET",
        b"",
        b"GET\t/ HTTP/1.1",
        b"G\xc3\xa9T / HTTP/1.1",
        b"GET(x) / HTTP/1.1",
        b"GET http://example.com/ HTTP/1.1",
        b"GET example.com:80 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /\x80 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET / HTTP/2.0",
        b"GET / HTTP/1.2",
        b"GET / HTTP/1.10",
        b"GET / http/1.1",
        b"GET / HTTP/0.9",
        b"GET /a\rb HTTP/1.1",
        b"GET /a\nb HTTP/1.1",
    ],
)
def test_bad_request_lines(first: bytes) -> None:
    assert status_of(head(first=first)) == 400


@pytest.mark.parametrize(
    "line",
    [
        b"X : 1",
        b"X\t: 1",
        b": 1",
        b"X",
        b"X Y: 1",
        b" X: 1",
        b"\tX: 1",
        b"A: 1\r\n folded",
        b"X\x80: 1",
        b"X\xff: 1",
        b"X\x00: 1",
        b"X: \x00",
        b"X: a\x01b",
        b"X: a\x7fb",
        b"X: a\nY: b",
        b"X: a\rb",
        b"X: a\r\r",
        b"X: \x0b",
        b"X: \x0c",
        b"X(: 1",
        b'X": 1',
    ],
)
def test_bad_header_lines(line: bytes) -> None:
    assert status_of(head(line)) == 400


@pytest.mark.parametrize(
    "lines",
    [
        (b"Host: b",),
        (b"Content-Length: 1", b"Content-Length: 1"),
        (b"Content-Length: 1, 1",),
        (b"Content-Length: +1",),
        (b"Content-Length: -1",),
        (b"Content-Length: 0x1",),
        (b"Content-Length: 1_0",),
        (b"Content-Length:",),
        (b"Content-Length: \xb2",),
        (b"Content-Length: " + b"9" * 19,),
        (b"Transfer-Encoding: chunked",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding:",),
        (b"Authorization: a", b"Authorization: b"),
    ],
)
def test_headers_that_decide_the_framing(lines: tuple[bytes, ...]) -> None:
    assert status_of(head(*lines)) == 400


def test_the_length_of_a_body() -> None:
    assert parse_request(head(b"Content-Length: 007")).content_length == 7


@pytest.mark.parametrize("host", [b"a", b"a.b:80", b"127.0.0.1:8000", b"[::1]:80", b"[::1]", b"a_b-c", b""])
def test_hosts(host: bytes) -> None:
    assert parse_request(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").get(b"host") == host


@pytest.mark.parametrize("host", [b"a b", b"a/b", b"a@b", b"a,b", b"a:b", b"[::1", b"::1", b"a:80:80", b"a\x80", b"[]"])
def test_bad_hosts(host: bytes) -> None:
    assert status_of(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n") == 400


def test_only_http_1_1_needs_a_host() -> None:
    assert status_of(b"GET / HTTP/1.1\r\n\r\n") == 400
    assert parse_request(b"GET / HTTP/1.0\r\n\r\n").version == 10


@pytest.mark.parametrize(
    "data", [b"\n" + GOOD, b"\r\n" + GOOD, GOOD.replace(b"\r\n", b"\n"), GOOD.replace(b"\r\n", b"\r")]
)
def test_line_ends_are_cr_lf_and_nothing_else(data: bytes) -> None:
    assert status_of(data) == 400


@pytest.mark.parametrize("separator", [b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xe2\x80\xa8"])
def test_no_other_byte_ends_a_line(separator: bytes) -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX: a" + separator + b"Y: b\r\n\r\n"
    if separator >= b"\x80":
        assert [name for name, _ in parse_request(data).headers] == [b"host", b"x"]
    else:
        assert status_of(data) == 400


def test_the_longest_request_line() -> None:
    def request(size: int) -> bytes:
        return b"GET /" + b"a" * (size - len(b"GET / HTTP/1.1")) + b" HTTP/1.1\r\nHost: a\r\n\r\n"

    assert len(parse_request(request(MAX_REQUEST_LINE)).path) == MAX_REQUEST_LINE - 13
    assert status_of(request(MAX_REQUEST_LINE + 1)) == 414
    assert status_of(b"a" * (MAX_REQUEST_LINE + 2)) == 414
    assert status_of(b"a" * MAX_REQUEST_LINE) == 400


def test_the_most_headers() -> None:
    assert len(parse_request(head(*[b"X: 1"] * (MAX_HEADERS - 1))).headers) == MAX_HEADERS
    assert status_of(head(*[b"X: 1"] * MAX_HEADERS)) == 431


def test_the_largest_head() -> None:
    def request(size: int) -> bytes:
        empty = head(b"X: ")
        return head(b"X: " + b"a" * (size - len(empty)))

    assert parse_request(request(MAX_HEAD)).head_size == MAX_HEAD
    assert status_of(request(MAX_HEAD + 1)) == 431
    assert status_of(request(MAX_HEAD + 2)) == 431
    assert status_of(request(2 * MAX_HEAD)) == 431
    assert status_of(request(2 * MAX_HEAD)[: MAX_HEAD + 1]) == 431
    assert status_of(head(*[b"X: " + b"a" * 200] * 90)) == 431


def test_bytes_behind_the_head_are_left_alone() -> None:
    assert parse_request(GOOD + b"\x00" * 20000).head_size == len(GOOD)


def test_the_time_is_linear() -> None:
    spaces = head(b"X: a" + b" " * 15000 + b"b")
    begun = time.thread_time()
    for _ in range(20):
        parse_request(spaces)
        status_of(head(b"X: a" + b" " * 15000 + b"\x01"))
    assert time.thread_time() - begun < 1


@given(st.binary(max_size=200))
def test_odd_bytes_are_refused_and_never_crash(data: bytes) -> None:
    for candidate in (data, b"GET / HTTP/1.1\r\n" + data, GOOD[:-2] + data + b"\r\n\r\n"):
        outcome = outcome_of(candidate)
        assert outcome in (400, 414, 431) or b"\r\n\r\n" in candidate[:-outcome]


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_wrong_byte(position: int, byte: int) -> None:
    changed = GOOD[:position] + bytes([byte]) + GOOD[position + 1 :]
    assert outcome_of(changed) in (400, -len(GOOD))
