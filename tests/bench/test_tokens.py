"""Tokens of the benchmarks are such as other libraries make and take."""

from pathlib import Path

import jwt

from bench import tokens


def test_a_token_for_each_user(tmp_path: Path) -> None:
    tokens.write_tokens(tmp_path / "tokens", 3)
    lines = (tmp_path / "tokens").read_text().splitlines()
    claims = [jwt.decode(line, tokens.SECRET, ["HS256"]) for line in lines]
    assert [one["sub"] for one in claims] == ["user-0000000", "user-0000001", "user-0000002"]
    assert all(one["exp"] - one["iat"] == tokens.LIFETIME_S for one in claims)
