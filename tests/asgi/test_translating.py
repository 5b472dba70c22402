"""Dictionaries of ASGI as bytes, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.asgi.translating import (
    client_frame,
    close_payload,
    path_of,
    peer_of,
    read_answer,
    request_head,
    server_frames,
    upgrade_head,
)
from fastws.core.request import parse_request
from fastws.core.upgrade import Accept, UpgradeRules, judge_upgrade
from fastws.net.http import error_answer
from fastws_ext.frames import encode_frame, judge
from tests.asgi.calling import scope_of
from tests.support.frames import parse_frame


def test_an_upgrade_is_one_for_the_strict_parser() -> None:
    scope = scope_of(
        path="/a b/ü",
        query_string=b"x=%20&y",
        subprotocols=["a", "fastws.json.v1"],
        headers=[(b"Host", b"h"), (b"Sec-WebSocket-Key", b"x"), (b"Connection", b"close"), (b"X-Own", b"1, 2")],
    )
    request = parse_request(upgrade_head(scope))
    assert (request.method, request.path, request.query) == ("GET", b"/a%20b/%C3%BC", b"x=%20&y")
    assert (request.get(b"host"), request.get(b"x-own")) == (b"h", b"1, 2")
    verdict = judge_upgrade(request, UpgradeRules(subprotocols=("fastws.json.v1",)))
    assert isinstance(verdict, Accept)
    assert verdict.subprotocol == "fastws.json.v1"


def test_a_request_is_one_for_the_strict_parser() -> None:
    headers = [(b"transfer-encoding", b"chunked"), (b"content-length", b"99"), (b"expect", b"100-continue")]
    request = parse_request(request_head(scope_of("http", "/x", method="POST", headers=headers, server=None), 5))
    assert (request.method, request.content_length, request.get(b"host")) == ("POST", 5, b"localhost")
    assert parse_request(request_head(scope_of("http", headers=[]), 0)).get(b"host") == b"127.0.0.1"


@pytest.mark.parametrize("headers", [[(b"a", b"b\r\nc: d")], [(b"a\n", b"b")], [(b"a", b"b\r")]])
def test_nothing_can_be_smuggled_in(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ValueError, match="line end"):
        request_head(scope_of("http", headers=headers), 0)


@pytest.mark.parametrize(
    ("path", "root", "wanted"),
    [
        ("/ws", "", "/ws"),
        ("/a/ws", "/a", "/ws"),
        ("/a", "/a", "/"),
        ("/ab/ws", "/a", "/ab/ws"),
        ("/ws", "/a", "/ws"),
        ("/a/ws", "/a/", "/ws"),
        ("", "", "/"),
    ],
)
def test_paths_below_where_it_is_mounted(path: str, root: str, wanted: str) -> None:
    assert path_of({"path": path, "root_path": root}) == wanted


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        (("10.1.2.3", 5), ("10.1.2.3", 5)),
        (["::1", 5], ("::1", 5)),
        (("10.1.2.3", None), ("10.1.2.3", 0)),
        (("testclient", 5), None),
        ((None, 5), None),
        ((), None),
        (None, None),
    ],
)
def test_who_the_client_is(client: Any, peer: tuple[str, int] | None) -> None:
    assert peer_of({"client": client}) == peer


def test_answers() -> None:
    head, _, _ = error_answer(503, "later", headers=((b"Retry-After", b"7"),)).partition(b"\r\n\r\n")
    answer = read_answer(head)
    assert (answer.status, answer.get(b"retry-after"), answer.get(b"date")) == (503, b"7", None)


@given(st.sampled_from([1, 2]), st.binary(max_size=300) | st.sampled_from([b"x" * n for n in (125, 126, 65535, 65536)]))
def test_frames_of_clients(opcode: int, payload: bytes) -> None:
    frame = client_frame(opcode, payload)
    assert judge(frame)[0] == 1
    parsed = parse_frame(frame)
    assert parsed is not None
    assert (parsed[0].opcode, parsed[0].payload, parsed[1]) == (opcode, payload, len(frame))


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 8, 9, 10]), st.binary(max_size=125)), max_size=5),
    st.lists(st.integers(0, 700), max_size=5),
    st.sampled_from([0, 126, 65536]),
)
def test_frames_of_the_server_in_any_pieces(frames: list[tuple[int, bytes]], cuts: list[int], large: int) -> None:
    said = [*frames, (2, b"x" * large)]
    data = b"".join(encode_frame(opcode, payload) for opcode, payload in said)
    buffer, heard, begin = bytearray(), [], 0
    for end in (*sorted(cuts), len(data)):
        buffer += data[begin:end]
        begin = max(begin, end)
        heard += server_frames(buffer)
    assert heard == said
    assert not buffer


def test_close_payloads() -> None:
    assert close_payload(1005) == b""
    assert close_payload(4000, "ü") == b"\x0f\xa0\xc3\xbc"
