"""Patterns of topics in tokens."""

from __future__ import annotations

import pytest

from fastws.gateway.auth.claims import Permissions
from fastws.gateway.auth.permissions import NO_GRANTS, Grants, Patterns


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("chat:a", ["chat:a"], ["chat:", "chat:ab", "CHAT:a", "chat:*", "chat:\u0430"]),
        ("chat:*", ["chat:", "chat:a", "chat:a:b", "chat:*"], ["chat", "chats:a", "xchat:a"]),
        ("*", ["a", "chat:a", ""], []),
        ("a*b", ["a*b"], ["ab", "axb", "a*bc"]),
        ("a**", ["a*", "a*b"], ["a", "ab"]),
        ("a.c", ["a.c"], ["abc"]),
        ("[ab]*", ["[ab]x"], ["ax"]),
        ("", [""], ["a"]),
    ],
)
def test_patterns_are_exact_or_end_in_one_asterisk(pattern: str, inside: list[str], outside: list[str]) -> None:
    patterns = Patterns(["nothing", pattern])
    assert all(topic in patterns for topic in inside)
    assert not any(topic in patterns for topic in outside)


def test_an_empty_list_permits_nothing() -> None:
    assert "a" not in Patterns([])
    assert "" not in Patterns([])


def test_an_absent_list_says_nothing() -> None:
    assert NO_GRANTS.subscribe is NO_GRANTS.publish is None
    grants = Grants(Permissions(sub=()))
    assert grants.publish is None
    assert grants.subscribe is not None
    assert "a" not in grants.subscribe
