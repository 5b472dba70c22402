"""What was sent over a connection that is given up."""

from __future__ import annotations

import asyncio

import pytest

from fastws.engine.redis.resp.errors import AwayError
from fastws.engine.redis.resp.link import DEFAULT_TUNING, Link
from tests.engine.redis.loops import on_loops
from tests.engine.redis.resp.fakes import Recorder


@on_loops("asyncio", "uvloop")
async def test_what_a_link_that_is_given_up_did_not_get_rid_of_does_not_arrive_later() -> None:
    """It would be carried out after what the next connection said."""
    ends: asyncio.Queue[str] = asyncio.Queue()

    async def end_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"now")
            ends.put_nowait("end" if await reader.read() == b"\r\n" else "more")
        except ConnectionResetError:
            ends.put_nowait("reset")
        writer.close()

    server = await asyncio.start_server(end_of, "127.0.0.1", 0)
    async with server:
        for is_given_up, wanted in ((True, "reset"), (False, "end")):
            host, port = server.sockets[0].getsockname()
            loop = asyncio.get_running_loop()
            _, link = await loop.create_connection(lambda: Link(DEFAULT_TUNING, hears=False), host, port)
            link.own(Recorder())
            answer = link.ask("now")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if is_given_up:
                link.abort("it has said nothing")
            else:
                await link.close()
            with pytest.raises(AwayError):
                await answer
            assert await asyncio.wait_for(ends.get(), 30) == wanted
