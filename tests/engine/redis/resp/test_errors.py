"""What a server refuses becomes an error with a sentence that says what to do, and nothing unsafe in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.engine.redis.resp.errors import MovedError, ReplyError, reply_error, safe_text


@pytest.mark.parametrize(
    ("text", "code", "temporary", "says"),
    [
        ("ERR unknown command 'X'", "ERR", True, "unknown command"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM", True, "maxmemory"),
        ("NOPERM User ann has no permissions", "NOPERM", False, "access list"),
        ("WRONGPASS invalid username-password pair", "WRONGPASS", False, "in the URL"),
        ("NOAUTH Authentication required.", "NOAUTH", False, "password"),
        ("READONLY You can't write against a read only replica.", "READONLY", True, "replica"),
        ("LOADING Redis is loading the dataset in memory", "LOADING", True, "still reads"),
        ("DENIED Redis is running in protected mode", "DENIED", False, "loopback"),
        ("something else", "ERR", True, "something else"),
        ("", "ERR", True, "refused"),
        ("MOVED nowhere", "MOVED", True, "nowhere"),
    ],
)
def test_what_is_refused(text: str, code: str, temporary: bool, says: str) -> None:
    error = reply_error(text)
    assert type(error) is ReplyError
    assert (error.code, error.temporary) == (code, temporary)
    assert says in str(error)


@pytest.mark.parametrize(
    ("text", "slot", "host", "port"),
    [
        ("MOVED 3999 127.0.0.1:6381", 3999, "127.0.0.1", 6381),
        ("ASK 0 ::1:6381", 0, "::1", 6381),
        ("MOVED 16383 [::1]:1", 16383, "::1", 1),
        ("MOVED 5 :6379", 5, "", 6379),
    ],
)
def test_what_is_another_servers(text: str, slot: int, host: str, port: int) -> None:
    error = reply_error(text)
    assert isinstance(error, MovedError)
    assert (error.slot, error.host, error.port) == (slot, host, port)
    assert error.is_ask == text.startswith("ASK")


@pytest.mark.parametrize("rest", ["16384 h:1", "-1 h:1", "1 h:65536", "1 h:", "1 h", "", "a h:1", f"1 {'h' * 256}:1"])
def test_nonsense_is_no_place(rest: str) -> None:
    assert type(reply_error(f"MOVED {rest}")) is ReplyError


@given(st.text())
def test_whatever_it_says_can_be_shown(text: str) -> None:
    for shown in (safe_text(text), reply_error(text).text):
        assert len(shown) <= 203
        assert shown.isprintable()
