"""A worker of several, which is told by a channel what to do: this test is its supervisor."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from fastws.app import FastWS
from fastws.config import Settings
from fastws.net.listener import bind_tcp
from fastws.server.supervisor import member
from fastws.server.supervisor.control import Channel
from fastws.server.supervisor.member import Member
from fastws.server.supervisor.zygote import Birth
from fastws_ext.shared import DRAINING, EMPTY, READY, STARTING, Board
from tests.support.raw_client import RawClient
from tests.support.waiting import wait_until


class Running:
    """A member on a loop in a thread."""

    def __init__(self, app: FastWS, **options: Any) -> None:
        self.board = Board.create(4, 16, 16)
        self.channel, theirs = Channel.pair()
        self.listener = bind_tcp("127.0.0.1", 0, shared=True)[0]
        self.listener.listen(50)
        self.host, self.port = self.listener.getsockname()
        self.admin = bind_tcp("127.0.0.1", 0)[0]
        adopted = Channel.adopt(os.dup(theirs.fileno()), blocking=False)
        theirs.close()
        settings = Settings(**{"drain_timeout": 5.0, "app": "tested:app", "anonymous": True, **options})
        birth = Birth(2, 1, adopted, [self.listener.dup()], [self.admin.dup()])
        self.result: int | BaseException | None = None
        self._adopted = adopted
        self._thread = threading.Thread(target=self._run, args=(lambda: Member(settings, app, birth, self.board),))
        self._thread.start()

    def _run(self, make: Callable[[], Member]) -> None:
        async def main() -> int:
            return await make().serve()

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self.result = runner.run(main())
        except BaseException as error:
            self.result = error
        finally:
            self._adopted.close()

    def heard(self) -> str:
        """The next thing that it says."""

        def receive() -> str:
            try:
                message = self.channel.receive()
            except BlockingIOError:
                return ""
            return message.kind if message is not None else "gone"

        return wait_until(receive, what="a message")

    def begin(self) -> None:
        assert [self.heard(), self.heard()] == ["hello", "started"]
        self.channel.send("go")
        assert self.heard() == "ready"

    def connect(self) -> RawClient:
        client = RawClient(self.host, self.port)
        client.upgrade("/echo")
        return client

    def ended(self) -> int | BaseException | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.result

    def close(self) -> None:
        self.channel.send("hurry")
        self._thread.join(20)
        self.channel.close()
        self.listener.close()
        self.admin.close()
        os.close(self.board.fd)


def application() -> FastWS:
    app = FastWS()

    @app.raw("/echo")
    def echo(conn: Any, message: str) -> None:
        conn.send(message)

    return app


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(member, "settle_memory", lambda: None)
    running = Running(application())
    yield running
    running.close()


def test_it_says_how_it_is_and_serves_when_it_may(running: Running) -> None:
    assert [running.heard(), running.heard()] == ["hello", "started"]
    figures = running.board.figures(1)
    assert (figures.state, figures.pid, figures.worker) == (STARTING, os.getpid(), 2)
    assert figures.capacity > 0
    waiting = RawClient(running.host, running.port)
    waiting.send(waiting.request("/echo"))
    running.channel.send("go")
    assert running.heard() == "ready"
    assert waiting.read_response().status == 101
    assert running.board.figures(1).state == READY
    wait_until(lambda: running.board.figures(1).websockets == 1)
    figures = running.board.figures(1)
    assert (figures.admitted, figures.sockets, figures.accepted) == (1, 1, 1)
    waiting.close()
    wait_until(lambda: running.board.figures(1).sockets == 0)
    assert running.board.figures(1).accepted == 1
    assert running.board.admitted == 0


def test_who_retires_leaves_newcomers_to_others(running: Running) -> None:
    running.begin()
    client = running.connect()
    half = RawClient(running.host, running.port)
    wait_until(lambda: running.board.figures(1).sockets == 2)
    running.channel.send("retire")
    assert running.heard() == "retired"
    assert running.board.figures(1).state == DRAINING
    with socket.create_connection((running.host, running.port)) as late:
        half.send(half.request("/echo"))
        assert half.read_response().status == 101
        for moved in (client, half):
            assert moved.read_close()[0] == 1012
            moved.send_close(1012)
            moved.close()
        assert running.ended() == 0
        accepted, address = running.listener.accept()
        assert address == late.getsockname()
        accepted.close()


def test_who_stops_refuses_newcomers_until_it_may_exit(running: Running) -> None:
    running.begin()
    client = running.connect()
    running.channel.send("stop")
    assert client.read_close()[0] == 1012
    client.send_close(1012)
    client.close()
    assert running.heard() == "drained"
    with RawClient(running.host, running.port) as late:
        late.send(late.request("/echo"))
        assert late.read_response().status == 503
    running.channel.send("exit")
    assert running.ended() == 0


@pytest.mark.parametrize("how", ["hurry", "gone"])
def test_who_is_hurried_or_alone_ends_at_once(running: Running, how: str) -> None:
    running.begin()
    client = running.connect()
    if how == "gone":
        running.channel.close()
    else:
        running.channel.send("hurry")
    assert client.read_close()[0] == 1001
    client.close()
    assert running.ended() == 1


@pytest.mark.parametrize("how", ["retire", "stop"])
def test_the_end_before_the_beginning(running: Running, how: str) -> None:
    assert [running.heard(), running.heard()] == ["hello", "started"]
    running.channel.send(how)
    assert running.heard() == ("retired" if how == "retire" else "drained")
    running.channel.send("exit")
    assert running.ended() == 0


def test_the_admin_address_speaks_of_the_node(running: Running) -> None:
    def ready() -> bytes:
        with RawClient(*running.admin.getsockname()) as client:
            client.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return client.read_until_eof()

    running.begin()
    wait_until(lambda: b"200 OK" in ready())
    other = running.board.seat(0)
    other.open(1, 0, 100)
    client = running.connect()
    running.channel.send("stop")
    assert client.read_close()[0] == 1012
    assert b'"accepting":false' in ready()
    other.state = READY
    assert b'"accepting":true' in ready()
    other.state = EMPTY
    client.close()
