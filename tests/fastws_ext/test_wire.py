"""What is received and what comes back, over every kind of transport."""

import pytest

from tests.fastws_ext.harness import every_transport, serving
from tests.support.frames import BINARY, TEXT

SIZES = (0, 1, 125, 126, 127, 65535, 65536, 65537, 1_000_000)


@every_transport
@pytest.mark.parametrize("size", SIZES)
async def test_echo_of_every_size(transport: str, size: int) -> None:
    async with serving(transport, max_message_size=1_000_000) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"t" * size)
        assert await client.read_message() == "t" * size
        await client.send_frame(BINARY, b"\x00\xff" * (size // 2))
        assert await client.read_message() == b"\x00\xff" * (size // 2)
