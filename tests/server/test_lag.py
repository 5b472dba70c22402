"""How late the loop is."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from fastws.server.lag import LoopLag
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

SLEEPER = """
import time
from fastws import FastWS
app = FastWS()

@app.raw("/sleep")
def sleep(conn, message):
    time.sleep(float(message))
    conn.send(message)
"""


@pytest.mark.asyncio
async def test_a_blocked_loop_is_noticed_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    lag = LoopLag(asyncio.get_running_loop(), interval_s=0.01)
    lag.start()
    with caplog.at_level(logging.WARNING, "fastws.loop"):
        for _ in range(2):
            await asyncio.sleep(0.03)
            time.sleep(0.2)
        await asyncio.sleep(0.03)
    assert lag.take_peak() >= 0.15
    assert lag.take_peak() < 0.15
    assert len(caplog.records) == 1
    lag.stop()
    lag.stop()
    assert lag.last_s >= 0


def test_a_handler_that_holds_the_loop_is_warned_of_with_its_connection() -> None:
    with ServerProcess(source=SLEEPER) as server:
        client = RawClient(server.host, server.port)
        client.upgrade("/sleep")
        for _ in range(3):
            client.send_text("0.2")
            assert client.read_message() == "0.2"
        wait_until(lambda: "a handler held the event loop" in server.stderr(), what="the warning")
        warning = next(line for line in server.stderr().splitlines() if "a handler held" in line)
        assert "/sleep" in warning
        assert "conn" in warning
        assert server.stderr().count("a handler held the event loop") == 1
        client.socket.close()
