"""Topics with history are heard without gaps, or everybody is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fastws import FastWS
from fastws.core.publication import Position, Retention
from fastws.engine.contract import UNREACHED, Outgoing
from fastws.errors import EngineError
from fastws.hub import orders, watch
from tests.gateway.engines import DistantEngine
from tests.gateway.stage import JSON, MSGPACK, Player, Stage, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])
soon_or_late = pytest.mark.parametrize("prompt", [True, False])

LOST = {"event": "unsubscribed", "topic": "t", "code": 2500, "reason": "insufficient_state", "resubscribe": True}


async def subscribed(stage: Stage, engine: DistantEngine, codec: str = JSON) -> Player:
    player = stage.connect(subprotocol=codec)
    player.say({"id": 1, "cmd": "sub", "topic": "t"})
    engine.answer_all()
    await stage.settle()
    assert player.hear_one()["result"]["topic"] == "t"
    return player


async def told(stage: Stage, player: Player) -> list[Any]:
    """The data of what came, or its code where it is something else."""
    await stage.settle()
    return [heard["data"] if heard["event"] == "publication" else heard["code"] for heard in player.hear()]


async def publish(stage: Stage, *data: Any, **more: Any) -> None:
    for value in data:
        await stage.app.publish("t", value, **more)


@both_codecs
@soon_or_late
async def test_what_was_lost_is_fetched_and_delivered_in_order(codec: str, prompt: bool) -> None:
    engine = DistantEngine(prompt=prompt)
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine, codec)
        other = await subscribed(stage, engine)
        await publish(stage, 1, 2, 3, 4)
        engine.let_arrive(1)
        assert await told(stage, player) == [1]
        engine.lose(2)
        engine.let_arrive()
        await publish(stage, 5)
        engine.let_arrive()
        assert await told(stage, player) == ([2, 3, 4, 5] if prompt else [])
        engine.answer_all()
        assert await told(stage, player) == ([] if prompt else [2, 3, 4, 5])
        assert await told(stage, other) == [1, 2, 3, 4, 5]
        assert stage.hub.watch.gaps == 1
        assert stage.hub.watch.duplicates == 0


@soon_or_late
async def test_who_shall_not_hear_what_came_late_does_not(prompt: bool) -> None:
    engine = DistantEngine(prompt=prompt)
    async with staged(engine=engine) as stage:
        player, other = await subscribed(stage, engine), await subscribed(stage, engine)
        await publish(stage, 1)
        await publish(stage, 2, 3, exclude=player.conn)
        engine.lose(1)
        engine.let_arrive()
        engine.answer_all()
        assert await told(stage, player) == [1]
        assert await told(stage, other) == [1, 2, 3]


def trim(stage: Stage, engine: DistantEngine) -> None:
    engine._logs["t"].retention = Retention(0, 0.0)
    engine._logs["t"].trim(0.0)


def forget(stage: Stage, engine: DistantEngine) -> None:
    engine.forget("t")


def fail(stage: Stage, engine: DistantEngine) -> None:
    def refuse(*_: Any) -> None:
        raise EngineError("away")

    engine.recover = refuse  # type: ignore[method-assign, assignment]


@both_codecs
@soon_or_late
@pytest.mark.parametrize("spoil", [trim, forget, fail])
async def test_what_cannot_be_fetched_ends_the_subscriptions(
    codec: str, prompt: bool, spoil: Callable[[Stage, DistantEngine], None]
) -> None:
    engine = DistantEngine(prompt=prompt)
    async with staged(engine=engine) as stage:
        players = [await subscribed(stage, engine, codec) for _ in range(3)]
        await publish(stage, 1, 2, 3)
        engine.let_arrive(1)
        engine.lose(1)
        spoil(stage, engine)
        engine.let_arrive()
        engine.answer_all()
        await stage.settle()
        for player in players:
            first, second = player.hear()
            assert (first["data"], second) == (1, LOST)
            assert player.conn.topics == ()
        assert stage.hub.topics == {}
        if spoil is not fail:
            again = await subscribed(stage, engine)
            await publish(stage, 4)
            engine.let_arrive()
            assert await told(stage, again) == [4]


async def test_failures_later_on(caplog: pytest.LogCaptureFixture) -> None:
    for error, is_logged in ((EngineError("away"), False), (ValueError("bug"), True)):
        engine = DistantEngine()
        async with staged(engine=engine) as stage:
            player = await subscribed(stage, engine)
            await publish(stage, 1, 2)
            engine.lose(1)
            engine.let_arrive()
            engine.open[0].future.set_exception(error)
            assert await told(stage, player) == [2500]
            assert ("asked for" in caplog.text) is is_logged


async def test_nobody_is_subscribed_to_a_topic_that_the_engine_does_not_hear() -> None:
    engine = DistantEngine(direct=True)
    engine.late_joins = True
    async with staged(engine=engine) as stage:
        player = stage.connect()
        player.say({"id": 1, "cmd": "sub", "topic": "t"})
        engine.refuse()
        await stage.settle()
        engine.answer_all()  # where the topic is was known all the same
        await stage.settle()
        assert player.hear() == []
        engine.confirm()
        engine.answer_all()
        await stage.settle()
        assert player.hear_one()["result"]["topic"] == "t"
        await publish(stage, 1)
        assert await told(stage, player) == [1]


async def test_what_cannot_be_encoded_takes_nothing_else_with_it(caplog: pytest.LogCaptureFixture) -> None:
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine, MSGPACK)
        retention = stage.hub.topics["t"].namespace.retention
        for data in (b"1", b"{", b"2"):
            engine.publish(Outgoing("t", data, retention))
        engine.go_away()
        engine.come_back()
        await stage.settle()
        engine.answer_all()
        await stage.settle()
        events = [heard.get("data", heard["event"]) for heard in player.hear()]
        assert events == ["degraded", 1, 2, "restored"]
        assert stage.hub.watch.failures == 1
        assert "1 publications could not be delivered" in caplog.text


async def test_those_who_come_together_when_the_epoch_changes_are_all_subscribed() -> None:
    engine = DistantEngine(direct=True)
    async with staged(engine=engine) as stage:
        players = [stage.connect() for _ in range(3)]
        for player in players:
            player.say({"id": 1, "cmd": "sub", "topic": "t"})
        await publish(stage, 1)
        engine.forget("t")
        for _ in range(2):
            for question in engine.open:
                engine.answer(question)
                await stage.settle()
        assert [player.hear_one()["result"]["offset"] for player in players] == [0, 0, 0]
        await publish(stage, 2)
        for player in players:
            assert await told(stage, player) == [2]


async def test_another_epoch_ends_the_subscriptions() -> None:
    engine = DistantEngine(prompt=True, direct=True)
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine)
        await publish(stage, 1)
        engine.forget("t")
        await publish(stage, 2)
        assert await told(stage, player) == [1, 2500]
        engine.forget("t")
        player = await subscribed(stage, engine)
        engine.forget("t")
        other = await subscribed(stage, engine)
        assert await told(stage, player) == [2500]
        await publish(stage, 3)
        assert await told(stage, other) == [3]


async def test_what_comes_again_is_dropped() -> None:
    engine = DistantEngine(prompt=True)
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine)
        await publish(stage, 1, 2)
        engine.link.extend(list(engine.link) * 2)
        engine.let_arrive()
        assert await told(stage, player) == [1, 2]
        assert stage.hub.watch.duplicates == 4


@pytest.mark.parametrize("limit", ["MAX_KEPT", "MAX_KEPT_BYTES"])
async def test_what_is_held_back_is_bounded(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"fastws.hub.topic.{limit}", 10)
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine)
        await publish(stage, *range(10, 30))
        engine.lose(1)
        engine.let_arrive()
        assert await told(stage, player) == [2500]
        engine.answer_all()
        assert await told(stage, player) == []


async def test_who_leaves_while_something_is_missing() -> None:
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine)
        await publish(stage, 1, 2)
        engine.lose(1)
        engine.let_arrive()
        player.say({"id": 2, "cmd": "unsub", "topic": "t"})
        engine.answer_all()
        await stage.settle()
        assert player.hear() == [{"id": 2, "result": {}}]
        assert stage.hub.watch.tasks == set()


@soon_or_late
async def test_after_an_outage_what_was_missed_is_delivered(prompt: bool) -> None:
    app = FastWS(namespaces={"plain": {"subscribe": "all"}})
    engine = DistantEngine(prompt=prompt)
    async with staged(app, engine) as stage:
        player = await subscribed(stage, engine)
        player.ask("sub", topic="plain:x")
        engine.go_away()
        await stage.settle()
        assert player.hear_one()["event"] == "degraded"
        assert player.ask("pub", topic="t", data=0) == 113
        assert player.ask("history", topic="t") == 113
        assert player.ask("sub", topic="u") == 113
        assert (await stage.app.publish("plain:x", 1)).degraded
        with pytest.raises(EngineError):
            await stage.app.publish("plain:x", 1, key="k")
        await stage.settle()
        assert [heard["event"] for heard in player.hear()] == ["publication"]
        engine.is_away = False  # for others, which publish meanwhile
        await publish(stage, 1, 2)
        engine.link.clear()
        engine.come_back()
        await stage.settle()
        engine.answer_all()
        await stage.settle()
        heard = player.hear()
        assert [entry["event"] for entry in heard] == ["publication", "publication", "restored"]
        await publish(stage, 3)
        engine.let_arrive()
        assert await told(stage, player) == [3]


async def gone_and_back(stage: Stage, engine: DistantEngine, *, gap: str = "") -> None:
    """An outage in which others publish to `b`. `gap`: a topic of which something is held back when it begins."""
    for topic in "abc":
        stage.connect().say({"id": 1, "cmd": "sub", "topic": topic})
    engine.answer_all()
    await stage.settle()
    for _ in range(2 if gap else 0):
        await stage.app.publish(gap, 0)
    engine.lose(1)
    engine.let_arrive()
    engine.go_away()
    engine.is_away = False
    await stage.app.publish("b", 1)
    engine.link.clear()
    engine.questions.clear()
    engine.come_back()
    await stage.settle()


async def test_after_an_outage_only_what_was_published_to_is_fetched() -> None:
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        await gone_and_back(stage, engine)
        assert engine.looks == 1
        assert [question.topic for question in engine.questions] == ["b"]
        assert stage.hub.outages.since_ms is not None
        engine.answer_all()
        await stage.settle()
        assert stage.hub.outages.since_ms is None


@pytest.mark.parametrize(
    "answer",
    [EngineError("away"), ValueError("a fault of ours"), UNREACHED, Position("another", 0), None, Position("", 0)],
)
async def test_what_is_not_known_to_be_quiet_is_fetched(
    answer: Exception | Position | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered(topics: Sequence[str]) -> Sequence[Position | None]:
        if isinstance(answer, Exception):
            raise answer
        return [answer] * len(topics)

    engine = DistantEngine()
    monkeypatch.setattr(engine, "positions", answered)
    async with staged(engine=engine) as stage:
        await gone_and_back(stage, engine)
        assert [question.topic for question in engine.questions] == ["a", "b", "c"]
        engine.answer_all()
        await stage.settle()
        assert len(stage.hub.topics) == 3


async def test_whose_subscribers_wait_already_is_fetched_first() -> None:
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        await gone_and_back(stage, engine, gap="c")
        assert engine.looks == 0
        assert [question.topic for question in engine.questions] == ["c"]
        engine.answer_all()
        await stage.settle()
        assert engine.looks == 1
        assert [question.topic for question in engine.open] == ["b"]


async def test_what_could_not_be_asked_for_in_an_outage_is_asked_for_when_it_is_over() -> None:
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine)
        await publish(stage, 1, 2)
        engine.lose(1)
        engine.let_arrive()
        question = engine.open[0]
        engine.go_away()
        engine.fail(question)
        await stage.settle()
        assert [heard["event"] for heard in player.hear()] == ["degraded"]
        engine.come_back()
        await stage.settle()
        again = engine.open[0]
        engine.go_away()
        engine.fail(again)
        await stage.settle()
        engine.come_back()
        await stage.settle()
        engine.answer_all()
        await stage.settle()
        assert [heard.get("data") or heard["event"] for heard in player.hear()] == [1, 2, "restored"]


async def test_who_comes_in_an_outage_is_told_of_it_once() -> None:
    engine = DistantEngine(prompt=True)
    async with staged(engine=engine) as stage:
        engine.go_away()
        since = stage.hub.outages.since_ms
        late = stage.connect(welcomed=False)
        assert [heard["event"] for heard in late.hear()] == ["welcome", "degraded"]
        engine.come_back()
        await stage.settle()
        assert [heard["event"] for heard in late.hear()] == ["restored"]
        latest = stage.connect(welcomed=False)
        assert [heard["event"] for heard in latest.hear()] == ["welcome"]
        stage.hub.outages.welcome(latest.conn, since)
        assert latest.hear() == []


async def test_two_outages_one_after_the_other_are_over_when_the_second_is() -> None:
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine)
        for _ in range(2):
            engine.go_away()
            engine.is_away = False
            await publish(stage, 1)
            engine.link.clear()
            engine.come_back()
            await stage.settle()
        first, second = engine.open
        engine.answer(first)
        await stage.settle()
        assert [heard["event"] for heard in player.hear()] == ["degraded"]
        engine.answer(second)
        await stage.settle()
        assert [heard["event"] for heard in player.hear()] == ["publication", "publication", "restored"]


async def test_many_are_told_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "SLICE_S", 0.0)
    engine = DistantEngine(prompt=True, direct=True)
    async with staged(engine=engine) as stage:
        players = [await subscribed(stage, engine) for _ in range(200)]
        engine.forget("t")
        await publish(stage, 1)
        assert stage.hub.topics == {}
        players[199].say({"id": 5, "cmd": "sub", "topic": "t"})
        assert players[199].hear_one()["error"]["code"] == 105
        players[198].say({"id": 6, "cmd": "unsub", "topic": "t"})
        assert players[198].hear_one() == {"id": 6, "result": {}}
        late = await subscribed(stage, engine)
        while stage.hub.watch.tasks:
            await asyncio.sleep(0)
        await publish(stage, 2)
        await stage.settle()
        assert [player.hear() for player in players] == [[LOST]] * 198 + [[], [LOST]]
        assert late.hear_one()["data"] == 2


@pytest.mark.parametrize("is_first", [True, False])
async def test_what_is_kept_for_newcomers_is_bounded(is_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.hub.topic.MAX_KEPT", 3)
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        if not is_first:
            await subscribed(stage, engine)
        for cannot_be_fitted in (2, 3):
            late = stage.connect()
            late.say({"id": 1, "cmd": "sub", "topic": "t"})
            for _ in range(cannot_be_fitted):
                question = engine.open[0]
                engine.look_up(question)
                await publish(stage, *range(5))
                engine.let_arrive()
                engine.answer(question)
                await stage.settle()
            engine.answer_all()
            await stage.settle()
            answer = late.hear_one()
            if cannot_be_fitted == 3:
                assert answer["error"]["code"] == 113
            else:
                assert answer["result"]["offset"] == engine._logs["t"].offset
            late.vanish()
            await stage.settle()
        assert len(stage.hub.topics) == (0 if is_first else 1)


async def test_what_the_engine_found_before_an_outage_is_asked_again() -> None:
    engine = DistantEngine(direct=True)
    async with staged(engine=engine) as stage:
        player = stage.connect()
        player.say({"id": 1, "cmd": "sub", "topic": "t"})
        before = engine.open[0]
        engine.look_up(before)
        engine.go_away()
        engine.is_away, engine.direct = False, False  # others publish meanwhile
        await publish(stage, 1, 2)
        engine.link.clear()
        engine.come_back()
        await stage.settle()
        engine.answer(before)
        await stage.settle()
        engine.answer_all()
        await stage.settle()
        heard = player.hear()
        assert [entry["event"] for entry in heard if "event" in entry] == ["degraded", "restored"]
        assert [entry["result"]["offset"] for entry in heard if "id" in entry] == [2]


@soon_or_late
async def test_an_engine_that_does_not_know_what_it_has_delivered_is_not_asked_for_ever(prompt: bool) -> None:
    engine = DistantEngine(prompt=prompt)
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine)
        log = engine._logs["t"]
        await publish(stage, 1, 2, 3)
        engine.lose(2)
        engine.forget("t")
        engine._log("t", log.retention).epoch = log.epoch  # what comes next is not there yet
        engine.let_arrive()
        await stage.settle()
        engine.answer_all()
        assert await told(stage, player) == [2500]
        assert engine.open == []


async def test_a_failure_at_once(caplog: pytest.LogCaptureFixture) -> None:
    engine = DistantEngine(prompt=True)
    async with staged(engine=engine) as stage:
        player = await subscribed(stage, engine)
        await publish(stage, 1, 2)
        engine.lose(1)

        def fail(*_: Any) -> None:
            raise ValueError("bug")

        engine.recover = fail  # type: ignore[method-assign, assignment]
        engine.let_arrive()
        assert await told(stage, player) == [2500]
        assert "asked for" in caplog.text


async def test_who_comes_when_too_much_was_kept_does_not_mislead_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.hub.topic.MAX_KEPT", 3)
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        first, second = stage.connect(), stage.connect()
        first.say({"id": 1, "cmd": "sub", "topic": "t"})
        engine.look_up(engine.open[0])
        await publish(stage, *range(5))
        engine.let_arrive()
        second.say({"id": 1, "cmd": "sub", "topic": "t"})
        engine.answer_all()
        await stage.settle()
        engine.answer_all()
        await stage.settle()
        assert [player.hear_one()["result"]["offset"] for player in (first, second)] == [5, 5]


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> DistantEngine:
    """An engine whose topics are looked at all the time."""
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.001)
    engine = DistantEngine(prompt=True)
    engine.may_lose = True
    return engine


async def looked(stage: Stage, engine: DistantEngine, times: int = 2) -> None:
    before = engine.looks
    while engine.looks < before + times + 1:
        await asyncio.sleep(0.001)
    await stage.settle()


async def test_what_was_lost_at_the_end_is_found_at_the_second_look(looking: DistantEngine) -> None:
    async with staged(engine=looking) as stage:
        player = await subscribed(stage, looking)
        await publish(stage, 1, 2)
        looking.let_arrive(1)
        looking.lose()
        await looked(stage, looking)
        assert await told(stage, player) == [1, 2]
        assert stage.hub.watch.gaps == 1
        await publish(stage, 3)
        looking.let_arrive()
        await looked(stage, looking)
        assert await told(stage, player) == [3]
        assert (stage.hub.watch.gaps, stage.hub.watch.duplicates) == (1, 0)


async def test_what_is_on_its_way_at_one_look_is_not_lost(looking: DistantEngine) -> None:
    async with staged(engine=looking) as stage:
        player = await subscribed(stage, looking)
        for number in range(1, 4):
            await publish(stage, number)
            before = looking.looks
            while looking.looks == before:
                await asyncio.sleep(0.001)
            looking.let_arrive()
        assert await told(stage, player) == [1, 2, 3]
        assert stage.hub.watch.gaps == 0


@pytest.mark.parametrize("is_forgotten", [True, False])
async def test_a_quiet_topic_whose_epoch_is_over_is_given_up(looking: DistantEngine, is_forgotten: bool) -> None:
    async with staged(engine=looking) as stage:
        player = await subscribed(stage, looking)
        looking.forget("t")
        if not is_forgotten:
            await publish(stage, 1)
            looking.lose()
        while stage.hub.topics:
            await asyncio.sleep(0.001)
        await stage.settle()
        assert player.hear_one() == LOST


async def test_nobody_looks_while_the_engine_is_away_and_topics_without_history_are_left_alone(
    looking: DistantEngine,
) -> None:
    app = FastWS(namespaces={"plain": {"subscribe": "all"}, "kept": {"subscribe": "all", "history_size": 5}})
    async with staged(app, looking) as stage:
        player = stage.connect()
        player.ask("sub", topic="plain:x")
        await asyncio.sleep(0.02)
        assert looking.looks == 0
        player.ask("sub", topic="kept:x")
        await looked(stage, looking)
        looking.is_away = True
        await looked(stage, looking)
        looking.is_away = False
        await stage.app.publish("kept:x", 1)
        looking.lose()
        await looked(stage, looking)
        assert [heard["data"] for heard in player.hear()] == [1]


async def test_an_engine_that_loses_nothing_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.001)
    engine = DistantEngine(prompt=True)
    async with staged(engine=engine) as stage:
        await subscribed(stage, engine)
        await asyncio.sleep(0.02)
        assert engine.looks == 0
