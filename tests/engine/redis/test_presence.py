"""Who is present, over several processes and one Redis."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fastws.engine.redis import names
from fastws.engine.redis import presence as presence_module
from fastws.engine.redis.envelope import CHANGES, pack
from fastws.engine.redis.names import partition_of
from fastws.errors import EngineError
from fastws.types import Member, Presence, PresenceStats
from tests.engine.redis.desk import ROOM, Desk
from tests.engine.suite.stand import until, until_async

pytestmark = pytest.mark.asyncio


async def test_everybody_is_listed_and_counted_everywhere(desks: list[Desk]) -> None:
    one, two, three = desks
    one.come("a", "ann", {"name": "Ann"})
    two.come("b", "ann")
    two.come("c", "")
    await one.count()
    await two.count()
    for desk in desks:
        listed = await desk.who()
        assert listed.members == {
            "a": Member("ann", "web", {"name": "Ann"}),
            "b": Member("ann", "web", None),
            "c": Member("", "web", None),
        }
        assert listed[1:] == (3, 1, False)
        assert await desk.count() == PresenceStats(3, 1)
    one.go("a")
    assert await one.count() == await three.count() == PresenceStats(2, 1)
    two.go("b")
    assert await two.count() == await three.count() == PresenceStats(1, 0)
    two.go("c")
    await two.count()
    assert await three.who() == Presence({}, 0, 0, truncated=False)
    assert await one.keys() == []


async def test_others_are_told_once_and_nobody_of_itself(desks: list[Desk]) -> None:
    one, two, three = desks
    one.come("a", "ann", [1])
    two.come("q", announce=False)
    await one.who()
    one.go("a")
    await one.who()  # written before what another process writes over its own connection
    two.come("b")
    two.go("b")  # before anybody was told
    await two.who()
    two.come("b")
    await two.who()
    for desk in (two, three):
        await until(lambda desk=desk: ("leave", "a") in desk.house.told(ROOM))
    await until(lambda: one.house.told(ROOM) and three.house.told(ROOM)[-1:] == [("join", "b")])
    assert one.house.told(ROOM) == [("join", "b")]
    assert three.house.told(ROOM) == [("join", "a"), ("leave", "a"), ("join", "b")]
    assert two.house.told(ROOM) == [("join", "a"), ("leave", "a")]


async def test_who_somebody_is_may_change(desks: list[Desk]) -> None:
    one, two, _ = desks

    async def written() -> Presence:
        await one.count()
        return await two.who()

    async def counted() -> PresenceStats:
        await one.count()
        return await two.count()

    one.come("a", "ann")
    one.presence.present(ROOM, "a", Member("ben", "web", None), announce=False)
    assert (await written()).members == {"a": Member("ben", "web", None)}
    one.presence.present(ROOM, "a", Member("", "web", None), announce=False)
    assert await counted() == PresenceStats(1, 0)
    one.presence.present(ROOM, "a", Member("ben", "web", None), announce=False)
    one.presence.present(ROOM, "a", Member("ben", "web", None), announce=False)
    assert await counted() == PresenceStats(1, 1)
    one.presence.absent(ROOM, "a", Member("ben", "web", None), announce=False)
    one.presence.absent(ROOM, "a", Member("ben", "web", None), announce=False)
    assert await counted() == PresenceStats(0, 0)
    assert await one.keys() == []


async def test_who_was_announced_is_said_to_leave_whoever_it_was_last(desks: list[Desk]) -> None:
    one, two, _ = desks
    one.come("a", "ann")
    await one.count()
    for user in ("ben", "cat"):
        one.presence.present(ROOM, "a", Member(user, "web", None), announce=True, is_known=True)
    await one.count()
    assert await two.presence.forget("n1", partition_of(ROOM), 10)
    await until(lambda: ("leave", "a") in two.house.told(ROOM))
    assert two.house.told(ROOM) == [("join", "a"), ("leave", "a")]


async def test_a_storm_is_few_messages(desks: list[Desk]) -> None:
    one, two, _ = desks
    for number in range(10_000):
        one.come(f"c-{number}", f"u-{number % 100}")
    assert await one.count() == PresenceStats(10_000, 100)
    await until(lambda: two.house.crowds)
    assert two.house.crowds == [(ROOM, 10_000, 0)]
    assert len(two.messages) == 1
    assert two.house.told(ROOM) == one.house.told(ROOM) == []
    some = await two.who(limit=1000)
    assert (len(some.members), some.connections, some.users, some.truncated) == (1000, 10_000, 100, True)
    assert (await two.who(limit=0)).members == {}


async def test_a_join_is_given_before_what_its_connection_publishes(desks: list[Desk]) -> None:
    one, two, _ = desks
    one.come("a")
    one.come("b", topic="other")
    one.presence.precede(ROOM)
    one.presence.precede("nothing")
    said = one.backbone.say(partition_of(ROOM), one.named.of(names.TOPIC, ROOM), b"said")
    assert list(one.presence.pending) == ["other"]
    await said
    await until(lambda: b"said" in two.messages)
    assert two.messages[1] == b"said"


async def test_a_listing_is_asked_for_again_when_it_is_outdated(desks: list[Desk]) -> None:
    one, two, _ = desks
    asked = []
    answer = two.presence._ask

    async def ask(*args: Any) -> Any:
        answered = await answer(*args)
        asked.append(answered)
        if len(asked) == 1:
            one.come("a")
            await until(lambda: two.house.told(ROOM))
            two.house.told_early += 1
        return answered

    two.presence._ask = ask  # type: ignore[method-assign]
    assert list((await two.who()).members) == ["a"]
    assert len(asked) == 2
    assert two.house.listings == 0


async def test_a_listing_that_stays_outdated_is_given_and_said_to_be_so(desks: list[Desk]) -> None:
    one, two, _ = desks
    one.come("a")
    await one.count()
    answer = two.presence._ask

    async def ask(*args: Any) -> Any:
        two.house.told_early += 1
        return await answer(*args)

    two.presence._ask = ask  # type: ignore[method-assign]
    assert list((await two.who()).members) == ["a"]
    assert two.house.crowds == [(ROOM, 0, 0)]
    assert two.house.listings == 0


async def test_what_is_here_is_asked_of_the_hub_and_named_first(desks: list[Desk]) -> None:
    one, two, _ = desks
    one.come("a")
    two.come("b")
    await one.who()
    one.house.members[ROOM]["unwritten"] = (Member("ann", "web", None), True)
    listed = await one.who(limit=2)
    assert listed.members.keys() == {"a", "unwritten"}
    assert (listed.connections, listed.users, listed.truncated) == (3, 1, True)


async def test_the_dead_leave_and_are_told_once(desks: list[Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = desks
    for number in range(250):
        one.come(f"c-{number}", f"u-{number % 7}", [number])
    one.come("quiet", "q", announce=False)
    two.come("b", "u-1")
    for topic in ("small", "smaller"):
        partition_number = partition_of(topic)
        await three.hear(topic)
        one.come("d", "ann", {"x": 1}, topic=topic)
        await one.count(topic)
        assert await three.presence.forget("n1", partition_number, 100) in (True, False)
        while not await three.presence.forget("n1", partition_number, 100):
            pass
        await until(lambda topic=topic: ("leave", "d") in three.house.told(topic))
    await one.count()
    slices = 1
    while not await three.presence.forget("n1", partition_of(ROOM), 60):
        slices += 1
    assert slices >= 5
    assert await two.presence.forget("n1", partition_of(ROOM), 60)
    assert await two.count() == PresenceStats(1, 1)
    left = [("leave", f"c-{number}") for number in range(250)]
    await until(lambda: [what for what, _ in two.house.told(ROOM)].count("leave") == 250)
    assert sorted(told for told in two.house.told(ROOM) if told[0] == "leave") == sorted(left)
    assert not [told for told in one.house.told(ROOM) if told[0] == "leave"], "it lives, and knows better"
    # What it writes as the one it was comes too late.
    one.come("late")
    await one.count()
    assert await two.count() == PresenceStats(1, 1)
    one.common.node = "n4"
    await one.presence.register(one.house.presence_here(), announce=True)
    assert await two.count() == PresenceStats(253, 8)


async def test_many_of_the_dead_are_told_as_numbers(desks: list[Desk]) -> None:
    one, two, three = desks
    for number in range(150):
        one.come(f"c-{number}")
    await one.count()
    assert not await three.presence.forget("n1", partition_of(ROOM), 150)
    await until(lambda: len(two.house.crowds) == 2)
    assert two.house.crowds == [(ROOM, 150, 0), (ROOM, 0, 150)]


async def test_a_node_that_stops_takes_everybody_along(desks: list[Desk]) -> None:
    one, two, _ = desks
    for topic in (ROOM, "a", "b"):
        one.come("c", topic=topic)
    await one.who()
    for partition in range(names.PARTITIONS):
        assert await one.presence.forget("n1", partition, 100)
    assert await one.keys() == []
    await until(lambda: ("leave", "c") in two.house.told(ROOM))
    one.come("d")
    assert await one.count() == PresenceStats(1, 0)


async def test_nothing_is_written_once_it_has_stopped(desks: list[Desk]) -> None:
    one, two, _ = desks
    one.come("a")
    one.presence.stop()
    assert await two.presence.forget("n1", partition_of(ROOM), 10)
    one.come("late")
    one.presence.flush()
    assert await one.count() == PresenceStats(0, 0)


async def test_registering_again_says_who_is_here_and_that_others_ask_again(desks: list[Desk]) -> None:
    one, two, _ = desks
    one.come("a", "ann")
    one.come("b", topic="other")
    await one.count("other")
    await until(lambda: two.house.told(ROOM))
    await one.command("FLUSHALL")
    assert await two.count() == PresenceStats(0, 0)
    one.common.node = "n9"
    await one.presence.register(one.house.presence_here())
    assert await two.count() == PresenceStats(1, 1)
    assert await two.count("other") == PresenceStats(1, 0)
    await until(lambda: two.house.crowds, "it may have asked when nobody was noted")
    assert two.house.crowds == [(ROOM, 0, 0)]
    assert two.house.told(ROOM) == [("join", "a")]
    one.come("quiet", announce=False, topic="silent")
    one.common.node = "n10"
    await two.hear("silent")
    await one.presence.register(one.house.presence_here())
    await until(lambda: len(two.house.crowds) == 2)
    assert two.house.crowds == [(ROOM, 0, 0)] * 2


async def test_after_an_outage_what_others_lack_is_told_and_what_they_have_too_much_is_taken_away(
    desks: list[Desk],
) -> None:
    one, two, _ = desks
    for conn in "abc":
        one.come(conn, conn)
    for topic in ("left", "lost"):
        one.come("a", topic=topic)
    await one.who()
    await until(lambda: len(two.house.told(ROOM)) == 3)
    # What follows is not written.
    backbone = one.backbone
    one.common.backbone = SimpleNamespace(is_up=lambda _: False)  # type: ignore[assignment]
    one.go("b")
    one.come("d", "d")
    one.go("a", topic="left")
    one.house.members[ROOM]["c"] = (Member("cat", "web", None), True)
    one.presence.flush()
    with pytest.raises(EngineError):
        one.presence.presence(ROOM, 1)
    one.common.backbone = backbone
    await one.command("DEL", *[key for key in await one.keys() if key.endswith(b"lost")])
    assert (await two.who()).members.keys() == {"a", "b", "c"}
    await one.presence.repair(one.house.presence_here())
    assert {conn: member.user for conn, member in (await two.who()).members.items()} == {
        "a": "a",
        "c": "cat",
        "d": "d",
    }
    assert await two.count() == PresenceStats(3, 3)
    assert await two.count("left") == PresenceStats(0, 0)
    assert await two.count("lost") == PresenceStats(1, 0)
    await until(lambda: len(two.house.told(ROOM)) == 5)
    assert sorted(two.house.told(ROOM)[3:]) == [("join", "d"), ("leave", "b")]
    before = len(two.messages)
    await one.presence.repair(one.house.presence_here())
    await two.hear("somewhere")
    assert len(two.messages) == before


async def test_who_comes_and_goes_during_a_repair_is_right(desks: list[Desk]) -> None:
    one, two, _ = desks
    for number in range(1200):
        one.come(f"c-{number}")
    await one.count()

    def meanwhile() -> Any:
        for index, row in enumerate(one.house.presence_here()):
            if index == 700:
                for number in range(0, 1200, 3):
                    one.go(f"c-{number}")
                one.come("late")
            yield row

    await one.presence.repair(meanwhile())
    expected = {f"c-{number}" for number in range(1200) if number % 3} | {"late"}
    assert (await two.who(limit=5000)).members.keys() == expected
    assert await two.count() == PresenceStats(801, 0)


async def test_who_comes_and_goes_around_a_repair_is_told_once(desks: list[Desk]) -> None:
    one, two, _ = desks
    for conn in "abc":
        one.come(conn, "ann")
    await one.count()

    def meanwhile() -> Any:
        here = one.house.members[ROOM]
        yield ROOM, "a", *here["a"]
        one.go("b")
        one.come("e", "eve")
        one.presence.present(ROOM, "c", Member("cat", "web", None), announce=True, is_known=True)
        stale = here["c"]
        yield ROOM, "e", *here["e"]
        yield ROOM, "c", *stale

    one.come("d", "dan")  # and is not written yet
    one.house.members[ROOM].pop("d")
    rows = iter([(ROOM, "d", Member("dan", "web", None), True)])
    await one.presence.repair(row for part in (rows, meanwhile()) for row in part)
    assert {conn: member.user for conn, member in (await two.who()).members.items()} == {
        "a": "ann",
        "c": "cat",
        "d": "dan",
        "e": "eve",
    }
    await until(lambda: len(two.house.told(ROOM)) >= 6)
    await two.who()
    assert sorted(two.house.told(ROOM)) == sorted([*(("join", conn) for conn in "abcde"), ("leave", "b")])


async def test_what_redis_refuses_is_written_later(
    desks: list[Desk], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(presence_module, "REPAIRED_AFTER_S", 0.02)
    one, two, _ = desks
    await one.command("CONFIG", "SET", "maxmemory", "1")
    try:
        one.come("a", "ann")
        one.come("b", "ann")
        one.go("b")
        await until(lambda: one.presence.unwritten > 1)
        assert await one.count() == PresenceStats(0, 0)
    finally:
        await one.command("CONFIG", "SET", "maxmemory", "0")

    async def is_there() -> bool:
        return await two.count() == PresenceStats(1, 1)

    await until_async(is_there)
    assert "could not be written" in caplog.text


async def test_who_leaves_is_taken_away_though_memory_is_short(desks: list[Desk]) -> None:
    one, two, three = desks
    for conn in "abc":
        one.come(conn, "ann")
    two.come("d", "dan")
    await one.count()
    await two.count()
    await one.command("CONFIG", "SET", "maxmemory", "1")
    try:
        one.go("a")
        assert await one.count() == PresenceStats(3, 2)
        assert await three.presence.forget("n1", partition_of(ROOM), 10)
        assert await three.count() == PresenceStats(1, 1)
        for partition in range(names.PARTITIONS):
            assert await three.presence.forget("n1", partition, 10)
    finally:
        await one.command("CONFIG", "SET", "maxmemory", "0")
    assert one.presence.unwritten == 0


async def test_members_that_cannot_be_told_are_left_out(desks: list[Desk], caplog: pytest.LogCaptureFixture) -> None:
    one, two, _ = desks
    one.presence.present(ROOM, "a", Member("\ud800", "web", None), announce=True)
    assert await two.count() == PresenceStats(0, 0)
    assert "cannot be told" in caplog.text
    one.presence.absent(ROOM, "a", Member("\ud800", "web", None), announce=True)
    one.come("b", topic="other")
    await asyncio.sleep(0)
    assert not one.presence.pending
    await until(lambda: two.house.crowds == [(ROOM, 0, 0)])


async def test_what_others_have_written_is_not_believed(desks: list[Desk]) -> None:
    one, two, _ = desks
    one.come("a", "ann")
    await one.who()
    partition = partition_of(ROOM)
    members = one.named.key(names.PRESENCE, partition, f"n1\n{ROOM}")
    await one.command("HSET", members, "bad", b"\xc1", "worse", b"\x94\x01\x02\x03\x04", "empty", b"")
    await one.command("HSET", one.named.of(names.PRESENT_NODES, ROOM), "n1", 4)
    listed = await two.who()
    assert listed.members.keys() == {"a"}
    assert listed.connections == 4
    assert await two.presence.forget("n1", partition, 1000)
    assert await two.count() == PresenceStats(0, 0)
    for body in (b"", b"\xc1", b"\x93"):
        await one.backbone.say(partition, one.named.of(names.TOPIC, ROOM), pack(CHANGES, body))
    await until(lambda: two.common.unreadable.get("changes") == 3)


async def test_tasks_end(desks: list[Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    one, *_ = desks
    one.presence._fail(0, EngineError("refused"))
    assert len(one.common.tasks) == 1
    one.presence.stop()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not one.common.tasks
