"""Joins and leaves: what watchers are told keeps what they know right, and never costs more than it may."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.engine.contract import Change
from fastws.hub import news as news_module
from fastws.hub.news import News, Roll
from fastws_ext.loop_data import LoopData
from tests.gateway.stage import JSON, MSGPACK, Player, Stage, staged

pytestmark = pytest.mark.asyncio


def join(conn: str, user: str = "", info: Any = None) -> Change:
    return Change(conn, user, info, joined=True)


def leave(conn: str, user: str = "", info: Any = None) -> Change:
    return Change(conn, user, info, joined=False)


class Told(list[tuple[int, int]]):
    """The summaries that were asked for, as (joined, left)."""

    def __call__(self, joined: int, left: int) -> None:
        self.append((joined, left))


def fresh(stage: Stage) -> tuple[News, Told]:
    told = Told()
    return News(stage.loop_data, "t", told), told


async def heard_by(stage: Stage, player: Player) -> list[tuple[str, str]]:
    await stage.settle()
    return [(message["event"], message["conn"]) for message in player.hear()]


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
async def test_shapes(codec: str) -> None:
    async with staged() as stage:
        news, _ = fresh(stage)
        player = stage.connect(subprotocol=codec)
        news.watch(player.conn)
        news.note(join("c-1", "ann", {"name": "Ann", "tags": ["a"]}))
        news.note(join("c-2"))
        news.note(leave("c-3", "ben"))
        assert player.hear() == []
        news.flush()
        await stage.settle()
        assert player.hear() == [
            {"event": "join", "topic": "t", "user": "ann", "conn": "c-1", "info": {"name": "Ann", "tags": ["a"]}},
            {"event": "join", "topic": "t", "user": "", "conn": "c-2"},
            {"event": "leave", "topic": "t", "user": "ben", "conn": "c-3"},
        ]
        news.flush()
        await stage.settle()
        assert player.hear() == []


async def test_changes_are_told_together_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "MIN_INTERVAL_S", 0.02)
    async with staged() as stage:
        news, _ = fresh(stage)
        player = stage.connect()
        news.watch(player.conn)
        for round_ in range(2):
            for number in range(3):
                news.note(join(f"c-{round_}{number}"))
            heard: list[Any] = []
            while not heard:
                await asyncio.sleep(0.005)
                heard = player.hear()
            assert len(heard) == 3


async def test_the_interval_grows_with_those_who_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    async with staged() as stage:
        news, _ = fresh(stage)
        monkeypatch.setattr(loop, "call_later", lambda delay, *_: waits.append(delay))
        for count in (1, 2000, 1_000_000):
            monkeypatch.setattr(News, "watchers", property(lambda _, count=count: count))
            news.note(join("c-1"))
            news.note(join("c-2"))
            news.flush()
        monkeypatch.undo()
    assert waits == [news_module.MIN_INTERVAL_S, pytest.approx(0.12), news_module.MAX_INTERVAL_S]


async def test_who_comes_while_changes_wait_hears_what_comes_after() -> None:
    async with staged() as stage:
        news, _ = fresh(stage)
        first, second, third = (stage.connect(subprotocol=codec) for codec in (JSON, MSGPACK, JSON))
        news.watch(first.conn)
        news.note(join("c-1"))
        news.watch(second.conn)
        news.note(join("c-2"))
        news.watch(third.conn)
        news.flush()
        assert await heard_by(stage, first) == [("join", "c-1"), ("join", "c-2")]
        assert await heard_by(stage, second) == [("join", "c-2")]
        assert await heard_by(stage, third) == []
        news.note(leave("c-1"))
        news.flush()
        for player in (first, second, third):
            assert await heard_by(stage, player) == [("leave", "c-1")]


async def test_a_join_and_a_leave_cancel_unless_somebody_has_seen_it_listed() -> None:
    async with staged() as stage:
        news, _ = fresh(stage)
        first, second = stage.connect(), stage.connect()
        news.watch(first.conn)
        news.note(join("c-1"))
        news.note(leave("c-1"))
        news.flush()
        assert await heard_by(stage, first) == []
        news.note(join("c-1"))
        news.watch(second.conn)
        news.listed()
        news.note(join("c-2"))
        news.note(leave("c-2"))
        news.note(leave("c-1"))
        news.flush()
        assert await heard_by(stage, first) == [("join", "c-1"), ("leave", "c-1")]
        assert await heard_by(stage, second) == [("leave", "c-1")]


async def test_a_join_is_told_before_what_the_newcomer_says() -> None:
    async with staged() as stage:
        news, _ = fresh(stage)
        player = stage.connect()
        news.watch(player.conn)
        news.note(join("c-1"))
        news.precede("c-2")
        assert await heard_by(stage, player) == []
        news.precede("c-1")
        assert await heard_by(stage, player) == [("join", "c-1")]
        news.note(leave("c-1"))
        news.precede("c-1")
        assert await heard_by(stage, player) == []


async def test_too_many_changes_are_counted_and_not_named() -> None:
    async with staged() as stage:
        news, told = fresh(stage)
        first, second = stage.connect(), stage.connect()
        news.watch(first.conn)
        for number in range(60):
            news.note(join(f"c-{number}"))
        news.note(leave("c-59"))
        for number in range(50):
            news.note(leave(f"d-{number}"))
        assert news.watchers == 1
        news.watch(second.conn)
        news.note(leave("c-0"))
        assert told == []
        news.flush()
        assert told == [(59, 51)]
        news.tell("presence", {"topic": "t", "connections": 5, "users": 3, "joined": 59, "left": 51})
        await stage.settle()
        for player in (first, second):
            message = player.hear_one()
            assert message.pop("event") == "presence"
            assert message == {"topic": "t", "connections": 5, "users": 3, "joined": 59, "left": 51}
        news.note(join("c-1"))
        news.flush()
        assert await heard_by(stage, first) == [("join", "c-1")]
        assert len(told) == 1


async def test_one_that_comes_and_goes_all_the_time_is_bounded() -> None:
    async with staged() as stage:
        news, told = fresh(stage)
        player = stage.connect()
        news.watch(player.conn)
        for _ in range(100_000):
            news.note(join("c-1"))
            news.note(leave("c-1"))
        assert len(news._changes) + len(news._places) < 1000
        news.flush()
        assert len(told) == 1
        assert player.hear() == []


async def test_nobody_is_told() -> None:
    async with staged() as stage:
        news, told = fresh(stage)
        for number in range(1000):
            news.note(join(f"c-{number}"))
        player = stage.connect()
        news.watch(player.conn)
        news.note(join("c-1"))
        news.unwatch(player.conn)
        news.note(join("c-2"))
        news.watch(player.conn)
        news.flush()
        assert (await heard_by(stage, player), told) == ([], [])


async def test_what_others_have_counted_is_told_as_a_number() -> None:
    async with staged() as stage:
        news, told = fresh(stage)
        news.count(5, 5)
        player = stage.connect()
        news.watch(player.conn)
        news.note(join("c-1"))
        news.count(200, 3)
        news.note(leave("c-2"))
        news.flush()
        assert (told, player.hear()) == ([(201, 4)], [])


async def test_one_of_another_process_that_came_and_left_is_told_both() -> None:
    """Somebody may have seen it listed before its join was heard here."""
    async with staged() as stage:
        news, _ = fresh(stage)
        player = stage.connect()
        news.watch(player.conn)
        news.note(join("c-1"), cancels=False)
        news.note(leave("c-1"), cancels=False)
        news.flush()
        assert await heard_by(stage, player) == [("join", "c-1"), ("leave", "c-1")]


async def test_what_comes_back_late_of_one_that_has_left_is_preceded_by_its_join() -> None:
    async with staged() as stage:
        news, _ = fresh(stage)
        player = stage.connect()
        news.watch(player.conn)
        news.note(join("c-1"))
        news.note(leave("c-1"), cancels=False)
        assert player.hear() == []
        news.precede("c-1")
        assert await heard_by(stage, player) == [("join", "c-1"), ("leave", "c-1")]


async def test_nothing_is_told_while_others_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "MIN_INTERVAL_S", 0.01)
    async with staged() as stage:
        news, _ = fresh(stage)
        player = stage.connect()
        news.watch(player.conn)
        news.ask()
        news.ask()
        news.note(leave("c-1"), cancels=False)
        news.answered()
        await asyncio.sleep(0.05)
        assert await heard_by(stage, player) == []
        news.answered()
        assert player.hear() == []
        assert await heard_by(stage, player) == [("leave", "c-1")]
        assert news.told_early == 0


async def test_changes_do_not_wait_for_listings_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "MIN_INTERVAL_S", 0.005)
    monkeypatch.setattr(news_module, "MAX_HELD_S", 0.05)
    async with staged() as stage, asyncio.timeout(30):
        news, _ = fresh(stage)
        player = stage.connect()
        news.watch(player.conn)
        news.ask()
        news.note(join("c-1"), cancels=False)
        heard: list[Any] = []
        while not heard:
            news.ask()
            await asyncio.sleep(0.005)
            news.answered()
            heard = await heard_by(stage, player)
        assert heard == [("join", "c-1")]
        assert news.told_early == 1, "whoever asks now has to ask again"
        news.note(join("c-2"), cancels=False)
        news.answered()
        while not heard[1:]:
            heard += await heard_by(stage, player)
        assert news.told_early == 1


async def test_what_cannot_wait_for_an_answer_is_told_and_the_answer_is_outdated() -> None:
    async with staged() as stage:
        news, _ = fresh(stage)
        player = stage.connect()
        news.watch(player.conn)
        news.ask()
        news.note(join("c-1"), cancels=False)
        news.precede("c-1")
        assert await heard_by(stage, player) == [("join", "c-1")]
        assert news.told_early == 1
        news.answered()
        news.note(join("c-2"))
        news.precede("c-2")
        assert news.told_early == 1


ACTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["sub", "watch", "unsub", "vanish", "precede"]), st.integers(0, 7)),
        st.tuples(st.just("list"), st.integers(0, 7)),
        st.just(("flush", 0)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(ACTS, st.sampled_from([3, 100]))
async def test_what_watchers_know_is_right(script: list[tuple[str, int]], named: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news_module, "MAX_NAMED", named)
        await play(script)


async def play(script: list[tuple[str, int]]) -> None:
    """Whoever keeps a list of members by what it is told, from when it came, has the right one in the end."""
    async with staged() as stage:
        loop_data: LoopData = stage.loop_data
        summaries = Told()
        news = News(loop_data, "t", summaries)
        players = [stage.connect(subprotocol=(JSON, MSGPACK)[n % 2]) for n in range(8)]
        members: set[str] = set()
        known: dict[int, set[str]] = {}
        for what, who in script:
            conn = players[who].conn
            if what == "flush":
                news.flush()
            elif what == "precede":
                news.precede(conn.id)
            elif what in ("sub", "watch") and conn.id not in members and conn.phase == 1:
                members.add(conn.id)
                news.note(join(conn.id))
                if what == "watch":
                    known[who] = set(members)
                    news.watch(conn)
                    news.listed()
            elif what == "list" and who in known:
                await stage.settle()
                follow(players[who], known[who])
                news.listed()
                known[who] = set(members)
            elif what in ("unsub", "vanish") and conn.id in members:
                members.discard(conn.id)
                known.pop(who, None)
                if what == "vanish":
                    players[who].vanish()
                news.unwatch(conn)
                news.note(leave(conn.id))
                await stage.settle()
                follow(players[who], None)
            if summaries:  # a client that is told so asks who is there
                summaries.clear()
                await stage.settle()
                for watcher in known:
                    follow(players[watcher], None)
                    known[watcher] = set(members)
        news.flush()
        await stage.settle()
        if not summaries:
            for who, view in known.items():
                follow(players[who], view)
                assert view == members


def follow(player: Player, view: set[str] | None) -> None:
    """Follow what a watcher was told; nobody hears of itself."""
    for message in player.hear():
        assert message["conn"] != player.conn.id
        if view is not None:
            (view.add if message["event"] == "join" else view.discard)(message["conn"])


@pytest.mark.parametrize("rounds", [1, 20, 100])
async def test_five_thousand_who_all_watch(rounds: int) -> None:
    """N who come and are told of each other: some frames for each of them, not N."""
    count = 5000
    async with staged(max_connections_per_ip=0) as stage:
        summaries = Told()
        news = News(stage.loop_data, "t", summaries)
        players = [stage.connect() for _ in range(count)]
        for number, player in enumerate(players):
            news.note(join(player.conn.id))
            news.watch(player.conn)
            if number % (count // rounds) == count // rounds - 1:
                news.flush()
                for joined, left in summaries:
                    news.tell("presence", {"joined": joined, "left": left})
                summaries.clear()
                for _ in range(20):
                    await stage.settle()
        size = sum(len(player.transport.written) for player in players)
        events = Counter(message["event"] for player in players for message in player.hear())
        assert sum(events.values()) <= rounds * news_module.MAX_TELLINGS
        assert events["presence"] >= count
        assert size < rounds * news_module.MAX_TELLINGS * 200


async def test_users_with_a_name_are_counted_once() -> None:
    roll = Roll()
    for user in ("ann", "ben", "ann", "", ""):
        roll.count(user)
    assert roll.users == {"ann": 2, "ben": 1}
    for user in ("ann", "", "ben"):
        roll.discount(user)
    assert roll.users == {"ann": 1}
    assert roll.news is None
