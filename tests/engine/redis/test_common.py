"""What the parts of the engine have in common."""

import asyncio
import logging
import time

import pytest

from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.common import Common, now_ms
from fastws.engine.redis.names import HOME, Names
from fastws.engine.redis.resp.address import parse_address
from fastws.errors import EngineError, InternalError


@pytest.fixture
def common() -> Common:
    return Common(Standalone(parse_address("redis://127.0.0.1:1"), prefix="p"), Names("p"), "n1")


def test_nobody_is_told_anything_before_it_runs(common: Common) -> None:
    assert not common.is_running
    with pytest.raises(InternalError):
        _ = common.events


def test_what_is_away_is_not_asked(common: Common) -> None:
    assert not common.is_home_up
    with pytest.raises(EngineError, match="away") as caught:
        common.require(HOME)
    assert caught.value.temporary


def test_what_is_left_out_is_counted_and_told_of_ever_more_seldom(
    common: Common, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        common.skip("letter")
    common.skip("answer")
    assert common.unreadable == {"letter": 100, "answer": 1}
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 8


@pytest.mark.asyncio
async def test_what_fails_later_need_not_be_looked_at(common: Common, caplog: pytest.LogCaptureFixture) -> None:
    async def work(fails: bool) -> int:
        await asyncio.sleep(0)
        if fails:
            raise EngineError("away")
        return 5

    assert await common.later(work(False)) == 5
    with pytest.raises(EngineError):
        await common.later(work(True))
    common.later(work(True))
    common.later(asyncio.sleep(10)).cancel()
    while common.tasks:
        await asyncio.sleep(0)
    assert not caplog.records


def test_milliseconds() -> None:
    assert abs(now_ms() - time.time() * 1000) < 1000
