"""The same random clients over real sockets: what a script sees of the server is what its users see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis.stateful import initialize

from tests.model.machine import Conversation, play_settings
from tests.model.on_server import Server, ServerWorld

pytestmark = pytest.mark.memory("scripts forget topics there; test_cluster.py plays them on Redis")

_servers: list[Server] = []


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with Server() as server:
        _servers.append(server)
        yield
        _servers.clear()


class OverSockets(Conversation):
    """Each script has topics and users of its own."""

    @initialize()
    def start(self) -> None:
        self.begin(ServerWorld(_servers[0]))


TestOverSockets = OverSockets.TestCase
TestOverSockets.settings = play_settings(few=60, steps=30)
