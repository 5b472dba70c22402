"""Tests of applications: a real server inside the test's own event loop, and clients that talk to it.

::

    import pytest
    import pytest_asyncio
    from fastws.testing import CommandError, TestServer
    from chat import app

    @pytest_asyncio.fixture
    async def server():
        async with TestServer(app) as server:
            yield server

    @pytest.mark.asyncio
    async def test_a_room(server):
        ann = await server.connect(user="ann")
        ben = await server.connect(user="ben")
        await ben.subscribe("chat:lobby")
        await ann.publish("chat:lobby", {"text": "hello"})
        await ben.expect("publication", topic="chat:lobby", data={"text": "hello"})
        with pytest.raises(CommandError) as refused:
            await ann.subscribe("secret:lobby")
        assert refused.value.code == 102
        await ann.nothing_arrives()
"""

from fastws.server.console.link import ConnectError, RefusedError
from fastws.testing.client import Client, CommandError, ConnectionClosed
from fastws.testing.server import Response, TestServer

__all__ = ["Client", "CommandError", "ConnectError", "ConnectionClosed", "RefusedError", "Response", "TestServer"]
