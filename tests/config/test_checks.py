"""Texts that settings must look like."""

from collections.abc import Callable

import pytest

from fastws.config import checks

GOOD: list[tuple[Callable[[str], str | None], list[str]]] = [
    (checks.path_problem, ["/", "/ws", "/a/b-c_d.e~f", "/%20", "/a:b@c"]),
    (checks.node_name_problem, ["n1", "a.b-c_d", "x" * 64]),
    (checks.prefix_problem, ["fastws", "my:app", "a-b.c"]),
    (checks.filled_problem, ["x", " x "]),
    (checks.header_problem, ["x", "x y", "x\n", "\tx", "é"]),
    (checks.origin_problem, ["*", "null", "https://example.com", "http://127.0.0.1:3000", "http://[::1]:80"]),
    (checks.network_problem, ["*", "127.0.0.1", "10.0.0.0/8", "10.1.2.3/8", "::1", "fd00::/8"]),
    (
        checks.redis_problem,
        [
            "none",
            "embedded",
            "redis://u:p@host:6379/0",
            "rediss://host",
            "unix://path",
            "redis+sentinel://h1:26379,h2:26379/0?sentinel_master_name=m",
            "redis+cluster://h1:7000,h2:7001",
        ],
    ),
    (checks.web_url_problem, ["https://example.com/keys", "http://127.0.0.1:8080/jwks.json"]),
    (checks.app_problem, ["chat:app", "a.b.c:d.e"]),
]

BAD: list[tuple[Callable[[str], str | None], list[str]]] = [
    (checks.path_problem, ["", "ws", "/a b", "/a?b", "/a#b", "/é", "/a\n", "/\x7f"]),
    (checks.node_name_problem, ["", "a b", "é", "x" * 65, "a\n", "a/b"]),
    (checks.prefix_problem, ["", "a b", "{a}", "é", "a\n"]),
    (checks.filled_problem, ["", "  "]),
    (checks.header_problem, ["", " ", "\n", "x\ny", "x\0", "\x7fx"]),
    (
        checks.origin_problem,
        [
            "",
            "example.com",
            "https://",
            "https://a/",
            "https://a/b",
            "https://u@a",
            "https://a:x",
            "https://a?b",
            "http://[::1",
        ],
    ),
    (checks.network_problem, ["", "localhost", "10.0.0.0/33", "1.2.3", "example.com"]),
    (checks.redis_problem, ["", "localhost", "http://a", "None", "redis"]),
    (checks.web_url_problem, ["", "ftp://a", "https://", "a", "https://a:x"]),
    (checks.app_problem, ["", "chat", ":app", "chat:"]),
]


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in GOOD for text in texts])
def test_good(check: Callable[[str], str | None], text: str) -> None:
    assert check(text) is None


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in BAD for text in texts])
def test_bad(check: Callable[[str], str | None], text: str) -> None:
    assert check(text)
