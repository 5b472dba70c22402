"""How late the loop is."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from fastws.server.lag import LoopLag


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
