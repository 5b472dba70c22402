"""Tokens for the clients of a benchmark: each is another user."""

import time
from pathlib import Path

from fastws.gateway.auth.tokens import sign

SECRET = "the benchmarks' own secret, of 32 bytes and more"
LIFETIME_S = 3600


def write_tokens(path: Path, users: int) -> None:
    """Write a token for each of so many users, one a line, signed with `SECRET` and valid for an hour."""
    now_s = int(time.time())
    with path.open("w", encoding="ascii") as lines:
        for number in range(users):
            claims = {"sub": f"user-{number:07}", "iat": now_s, "exp": now_s + LIFETIME_S}
            lines.write(sign(claims, SECRET) + "\n")
