"""What is given more than once has one time in all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.engine.redis.resp import deadlines as subject
from fastws.engine.redis.resp.deadlines import Deadlines
from fastws.engine.redis.resp.errors import AwayError


@pytest.mark.asyncio
async def test_what_is_late_fails_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "LOOK_S", 0.001)
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(30.0)
    late, early, answered, given_up = (loop.create_future() for _ in range(4))
    deadlines.watch(loop.time() - 31.0, late)
    for future in (early, answered, given_up):
        deadlines.watch(loop.time(), future)
    answered.set_result(1)
    given_up.cancel()
    with pytest.raises(AwayError, match="no answer within 30 s"):
        await late
    assert not early.done()
    assert answered.result() == 1
    again: asyncio.Future[Any] = loop.create_future()
    deadlines.watch(loop.time() - 31.0, again)
    with pytest.raises(AwayError):
        await again
    early.set_result(2)
    while deadlines._timer is not None:  # nothing is looked at where there is nothing
        await asyncio.sleep(0.001)
    deadlines.watch(loop.time() - 31.0, last := loop.create_future())
    deadlines.stop()
    deadlines.stop()
    await asyncio.sleep(0.01)
    assert not last.done()
