"""Without others, every call is this process' own."""

import pytest

from fastws.engine.claims import GRANTED, Alone, Claim


@pytest.mark.asyncio
async def test_alone_every_call_is_granted() -> None:
    claims = Alone()
    for _ in range(2):
        assert await claims.claim("k", b"f") == Claim(GRANTED, b"")
        await claims.settle("k", b"answer")
