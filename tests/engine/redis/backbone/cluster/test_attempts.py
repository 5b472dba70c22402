"""Commands that nobody has done yet."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from fastws.engine.redis.backbone.cluster import attempts
from fastws.engine.redis.backbone.cluster.attempts import MOST_HELD, Attempt, Held
from fastws.engine.redis.resp.errors import AwayError, ReplyError, reply_error
from fastws.engine.redis.resp.link import fail
from fastws.engine.redis.scripts import script


class RecordingServer:
    """Takes commands; the test answers."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, ...]] = []
        self.answers: list[asyncio.Future[Any]] = []
        self.is_away = False

    def give(self, receiver: Attempt, partition: int, words: Any) -> None:
        self._take(partition, *words).add_done_callback(partial(_hand_on, receiver))

    def run(self, *given: object) -> asyncio.Future[Any]:
        return self._take(*given)

    def _take(self, *given: object) -> asyncio.Future[Any]:
        if self.is_away:
            raise AwayError("away")
        self.given.append(given)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]


def _hand_on(receiver: Attempt, answer: asyncio.Future[Any]) -> None:
    error = answer.exception()
    if isinstance(error, AwayError):
        receiver.lose(error)
    else:
        receiver.take(error or answer.result())


class Redirects:
    """Holds what is redirected."""

    def __init__(self) -> None:
        self.held = Held()
        self.errors: list[str] = []

    def __call__(self, attempt: Attempt, error: ReplyError) -> None:
        self.errors.append(error.code)
        self.held.add(attempt)


def attempt_of(redirects: Redirects, number: int, partition: int = 7) -> Attempt:
    return Attempt(redirects, number, partition, None, (), ("SET", "k", number))


@pytest.mark.asyncio
async def test_an_answer_is_handed_on() -> None:
    server: Any = RecordingServer()
    attempt = Attempt(Redirects(), 1, 7, script("claim"), (b"k",), (1,))
    attempt.send(server)
    assert server.given == [(script("claim"), 7, (b"k",), (1,))]
    server.answers[0].set_result(b"done")
    assert await attempt.future == b"done"


@pytest.mark.parametrize("error", [reply_error("OOM no memory"), AwayError("lost")])
@pytest.mark.asyncio
async def test_an_error_that_is_final(error: Exception) -> None:
    server: Any = RecordingServer()
    redirects = Redirects()
    attempt = attempt_of(redirects, 1)
    attempt.send(server)
    server.answers[0].set_exception(error)
    with pytest.raises(type(error)):
        await attempt.future
    assert not redirects.errors


@pytest.mark.asyncio
async def test_the_order_is_that_of_giving() -> None:
    server: Any = RecordingServer()
    redirects = Redirects()
    given = [attempt_of(redirects, number) for number in range(6)]
    for attempt in given[:4]:
        attempt.send(server)
    redirects.held.add(given[4])
    for number, text in ((1, "MOVED 5 h:1"), (0, "ASK 5 h:1"), (3, "TRYAGAIN later")):
        server.answers[number].set_exception(reply_error(text))
    server.answers[2].set_result(b"OK")
    await asyncio.sleep(0)
    assert redirects.errors == ["MOVED", "ASK", "TRYAGAIN"]
    other: Any = RecordingServer()
    redirects.held.release(8, other)
    assert not other.given
    redirects.held.release(7, other)
    assert [words[-1] for words in other.given] == [0, 1, 3, 4]
    for answer in other.answers:
        answer.set_result(b"OK")
    assert await asyncio.gather(*(attempt.future for attempt in given[:5])) == [b"OK"] * 5
    redirects.held.release(7, other)
    assert len(other.given) == 4


@pytest.mark.asyncio
async def test_one_whose_time_is_over_is_not_given_again() -> None:
    server: Any = RecordingServer()
    redirects = Redirects()
    late, given_up = attempt_of(redirects, 1), attempt_of(redirects, 2)
    for attempt in (late, given_up):
        redirects.held.add(attempt)
    fail(late.future, AwayError("late"))
    given_up.future.cancel()  # what was written behind is written all the same
    redirects.held.release(7, server)
    assert [words[-1] for words in server.given] == [2]


@pytest.mark.asyncio
async def test_who_is_away_when_they_are_released() -> None:
    server: Any = RecordingServer()
    redirects = Redirects()
    attempt = attempt_of(redirects, 1)
    redirects.held.add(attempt)
    server.is_away = True
    redirects.held.release(7, server)
    with pytest.raises(AwayError):
        await attempt.future


@pytest.mark.asyncio
async def test_nothing_is_held_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    redirects = Redirects()
    young = attempt_of(redirects, 1)
    redirects.held.add(young)
    monkeypatch.setattr(attempts, "GIVE_UP_S", -1.0)
    old = attempt_of(redirects, 2)
    refused = attempt_of(redirects, 3)
    refused.error = reply_error("TRYAGAIN later")
    for attempt in (old, refused):
        redirects.held.add(attempt)
    redirects.held.expire(AwayError("away"))
    with pytest.raises(AwayError):
        await old.future
    with pytest.raises(ReplyError, match="TRYAGAIN"):
        await refused.future
    assert not young.future.done()
    redirects.held.drop(range(256), AwayError("stopped"))
    with pytest.raises(AwayError, match="stopped"):
        await young.future


@pytest.mark.asyncio
async def test_not_more_than_so_many_are_held() -> None:
    redirects = Redirects()
    for number in range(MOST_HELD):
        assert redirects.held.add(attempt_of(redirects, number))
    assert not redirects.held.add(attempt_of(redirects, 0))
    assert redirects.held.add(attempt_of(redirects, 0, partition=8))


@pytest.mark.asyncio
async def test_one_that_was_given_up_meanwhile() -> None:
    server: Any = RecordingServer()
    redirects = Redirects()
    attempt = attempt_of(redirects, 1)
    attempt.send(server)
    attempt.future.cancel()
    server.answers[0].set_exception(reply_error("MOVED 5 h:1"))
    server.answers[0].exception()
    await asyncio.sleep(0)
    assert not redirects.errors
