"""The engine in memory: order, history, recovery, keys, and what it gives back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.core.publication import Position, Publication, Retention
from fastws.engine.contract import EpochError, Order, Outcome, Outgoing
from fastws.engine.log import COST
from fastws.engine.memory import IDLE_S, LAST_SEEN_S, MemoryEngine, memory_size
from fastws.errors import EngineError, InternalError
from fastws.types import Published, SessionInfo, TopicInfo, UserStatus

KEEP_3 = Retention(3, 0.0)
KEEP_10_S = Retention(100, 10.0)


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class RecordingEvents:
    """Keeps what the engine reports."""

    def __init__(self) -> None:
        self.publications: list[tuple[str, Publication, str]] = []
        self.announcements: list[tuple[bytes, int]] = []
        self.orders: list[Order] = []
        self.here: dict[str, list[SessionInfo]] = {}

    def on_publication(self, topic: str, publication: Publication, exclude: str, epoch: str) -> None:
        self.publications.append((topic, publication, exclude))

    def on_announcement(self, data: bytes, ts_ms: int) -> None:
        self.announcements.append((data, ts_ms))

    def on_order(self, order: Order) -> Outcome:
        self.orders.append(order)
        return Outcome(len(self.orders))

    def on_degraded(self, ts_ms: int, concerns: object = None) -> None: ...

    def on_restored(self, ts_ms: int, concerns: object = None, *, is_over: bool = True) -> None: ...

    def sessions_of(self, user: str, limit: int | None = None) -> list[SessionInfo]:
        return self.here.get(user, [])[:limit]

    def devices_of(self, user: str) -> list[str]:
        return list({session.device for session in self.sessions_of(user)})

    def topics_of(self, tenant: str, pattern: str) -> list[TopicInfo]:
        return [TopicInfo(f"{tenant}/{pattern}", 1)]


def running(test: Callable[[MemoryEngine, RecordingEvents, Clock], None]) -> None:
    """Run `test` with an engine that runs."""

    async def main() -> None:
        clock, events = Clock(), RecordingEvents()
        engine = MemoryEngine(clock, clock)
        await engine.start(events)
        test(engine, events, clock)
        await engine.stop()

    asyncio.run(main())


def offsets(publications: object) -> list[int]:
    assert isinstance(publications, list | tuple)
    return [publication.offset for publication in publications]


def test_only_joined_topics_are_heard_once_and_in_order() -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        engine.publish(Outgoing("t", b"0"))
        engine.join("t")
        for number in range(1, 4):
            engine.publish(Outgoing("t", b"%d" % number, user="u", conn="c", exclude="x"))
            engine.publish(Outgoing("other", b"0"))
        engine.leave("t")
        engine.publish(Outgoing("t", b"4"))
        assert [(topic, p.data, p.user, p.conn, x) for topic, p, x in events.publications] == [
            ("t", b"1", "u", "c", "x"),
            ("t", b"2", "u", "c", "x"),
            ("t", b"3", "u", "c", "x"),
        ]
        assert events.publications[0][1].ts_ms == 1_000_000

    running(test)


def test_without_history_there_is_no_position() -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        engine.join("t")
        assert engine.publish(Outgoing("t", b"1")) == Published(None, None, duplicate=False)
        assert events.publications[0][1].offset == 0

    running(test)


def test_offsets_count_by_one_within_an_epoch_of_the_topics_own() -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        first = [engine.publish(Outgoing("t", b"1", KEEP_3)) for _ in range(5)]
        assert [published.offset for published in first] == [1, 2, 3, 4, 5]
        assert len({published.epoch for published in first}) == 1
        assert engine.publish(Outgoing("u", b"1", KEEP_3)).offset == 1
        assert engine.publish(Outgoing("u", b"1", KEEP_3)).epoch != first[0].epoch
        assert MemoryEngine().publish(Outgoing("t", b"1", KEEP_3)).epoch != first[0].epoch

    running(test)


def test_recovery_gives_everything_or_nothing() -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        empty = engine.recover("t", KEEP_3, None)
        assert (empty.position.offset, empty.recovered, list(empty.publications)) == (0, False, [])
        epoch = empty.position.epoch
        for _ in range(5):
            engine.publish(Outgoing("t", b"1", KEEP_3))
        for offset, expected in {0: None, 1: None, 2: [3, 4, 5], 4: [5], 5: [], 6: None}.items():
            recovery = engine.recover("t", KEEP_3, Position(epoch, offset))
            assert recovery.position == (epoch, 5)
            assert recovery.recovered is (expected is not None)
            assert offsets(recovery.publications) == (expected or [])
        assert not engine.recover("t", KEEP_3, Position("other", 5)).recovered
        assert not engine.recover("t", KEEP_3, None).recovered

    running(test)


def test_what_is_too_old_is_gone_and_its_offsets_stay_used() -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        epoch = engine.publish(Outgoing("t", b"1", KEEP_10_S)).epoch
        assert epoch
        clock.now_s += 5
        engine.publish(Outgoing("t", b"2", KEEP_10_S))
        clock.now_s += 5
        assert offsets(engine.history("t", KEEP_10_S, None, 100).publications) == [2]
        assert not engine.recover("t", KEEP_10_S, Position(epoch, 0)).recovered
        assert engine.recover("t", KEEP_10_S, Position(epoch, 1)).recovered
        clock.now_s += 100
        assert offsets(engine.history("t", KEEP_10_S, None, 100).publications) == []
        assert engine.publish(Outgoing("t", b"3", KEEP_10_S)) == Published(3, epoch, duplicate=False)

    running(test)


def test_pages_of_history() -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        keep = Retention(10, 0.0)
        epoch = {engine.publish(Outgoing("t", b"1", keep)).epoch for _ in range(12)}.pop()
        assert epoch

        def page(since: int | None, limit: int, *, reverse: bool = False) -> list[int]:
            at = None if since is None else Position(epoch, since)
            answer = engine.history("t", keep, at, limit, reverse=reverse)
            assert answer.position == (epoch, 12)
            return offsets(answer.publications)

        assert page(None, 3) == [3, 4, 5]
        assert page(5, 3) == [6, 7, 8]
        assert page(0, 100) == list(range(3, 13))
        assert page(11, 5) == [12]
        assert page(12, 5) == page(99, 5) == page(None, 0) == []
        assert page(None, 3, reverse=True) == [12, 11, 10]
        assert page(5, 3, reverse=True) == [4, 3]
        assert page(99, 1, reverse=True) == [12]
        with pytest.raises(EpochError):
            engine.history("t", keep, Position("other", 1), 1)

    running(test)


@pytest.mark.parametrize("key", ["k", "", "long" * 1000, "\ud800" * 100])
def test_a_key_is_taken_once_in_five_minutes(key: str) -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        engine.join("t")
        first = engine.publish(Outgoing("t", b"1", KEEP_3, key=key))
        clock.now_s += 299
        assert engine.publish(Outgoing("t", b"2", KEEP_3, key=key)) == first._replace(duplicate=True)
        assert engine.publish(Outgoing("u", b"2", KEEP_3, key=key)).duplicate is False
        assert engine.publish(Outgoing("t", b"2", KEEP_3, key=key + "2")).offset == 2
        clock.now_s += 2
        assert engine.publish(Outgoing("t", b"3", KEEP_3, key=key)) == Published(3, first.epoch, duplicate=False)
        assert [p.data for _, p, _ in events.publications] == [b"1", b"2", b"3"]

    running(test)


def test_announcements_carry_the_time() -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        engine.announce(b"{}")
        assert events.announcements == [(b"{}", 1_000_000)]

    running(test)


def test_what_the_hub_knows_it_is_asked_for() -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        phone, tablet = (SessionInfo(str(n), "u", "", device, "n1", 5) for n, device in enumerate(("phone", "tablet")))
        events.here["u"] = [tablet, phone, phone]
        assert engine.sessions("u") == [tablet, phone, phone]
        assert engine.sessions("v") == []
        assert engine.status(["v", "u"]) == [
            UserStatus(False, (), None),
            UserStatus(True, ["phone", "tablet"], 1_000_000),
        ]
        assert engine.topics("acme", "a*") == [TopicInfo("acme/a*", 1)]
        order = Order("push", user="u")
        assert engine.order(order) == Outcome(1)
        assert events.orders == [order]

    running(test)


def test_when_users_were_here_last() -> None:
    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        engine.attach("u", "c1", "default")
        engine.detach("u", "c1", is_last=False)
        assert engine.status(["u"]) == [UserStatus(False, (), None)]
        engine.detach("u", "c2", is_last=True)
        clock.now_s += LAST_SEEN_S - 1
        assert engine.status(["u"]) == [UserStatus(False, (), 1_000_000)]
        clock.now_s += 2
        assert engine.status(["u"]) == [UserStatus(False, (), None)]
        engine.detach("v", "c3", is_last=True)
        engine.attach("v", "c4", "default")
        assert engine.status(["v"]) == [UserStatus(False, (), None)]

    running(test)


def test_users_that_left_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.engine.memory.MAX_LAST_SEEN", 3)

    def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
        for user in "abcad":
            engine.detach(user, "", is_last=True)
        assert [status.last_seen is not None for status in engine.status("abcd")] == [True, False, True, True]
        clock.now_s += LAST_SEEN_S
        engine.sweep()
        assert len(engine._last_seen) == 0

    running(test)


class TestMemory:
    """What is given back."""

    def test_publications_and_keys_that_are_too_old(self) -> None:
        def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
            for number in range(100):
                engine.publish(Outgoing(f"t{number}", b"1", KEEP_10_S, key=f"k{number}"))
            clock.now_s += 301
            engine.sweep()
            assert not engine._keys
            assert not any(len(log) for log in engine._logs.values())
            assert len(engine._logs) == 100

        running(test)

    def test_topics_that_nobody_used_for_long_and_then_their_epoch_is_over(self) -> None:
        def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
            first = engine.publish(Outgoing("idle", b"1", KEEP_10_S))
            engine.publish(Outgoing("heard", b"1", KEEP_10_S))
            engine.join("heard")
            kept = engine.publish(Outgoing("kept", b"1", KEEP_3))
            clock.now_s += IDLE_S + 1
            engine.sweep()
            assert sorted(engine._logs) == ["heard", "kept"]
            again = engine.publish(Outgoing("idle", b"1", KEEP_10_S))
            assert again.offset == 1
            assert again.epoch != first.epoch
            assert engine.publish(Outgoing("kept", b"1", KEEP_3)) == Published(2, kept.epoch, duplicate=False)

        running(test)

    def test_names_that_clients_invent_do_not_add_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastws.engine.memory.MAX_QUIET_TOPICS", 50)

        def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
            engine.join("heard")
            heard = engine.recover("heard", KEEP_3, None).position
            kept = engine.publish(Outgoing("kept", b"1", KEEP_3))
            for number in range(1000):
                engine.history(f"t{number}", KEEP_3, None, 10)
            assert len(engine._logs) <= 51
            assert engine.recover("heard", KEEP_3, heard).recovered
            assert engine.publish(Outgoing("kept", b"1", KEEP_3)) == Published(2, kept.epoch, duplicate=False)

        running(test)

    def test_what_is_published_under_such_names_does_not_add_up(self, caplog: pytest.LogCaptureFixture) -> None:
        def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
            engine._most_stock = 100 * (COST + 1)
            engine.join("heard")
            for number in range(60):
                position = engine.publish(Outgoing("heard", b"%d" % (number % 10), Retention(60, 0.0)))
            for number in range(1000):
                engine.publish(Outgoing(f"t{number}", b"1", KEEP_3))
                assert engine._stock.size <= engine._most_stock
            assert caplog.text.count("given up") == 1
            assert position.epoch
            assert engine.recover("heard", Retention(60, 0.0), Position(position.epoch, 0)).recovered
            for number in range(1000):
                engine.join(f"t{number}")
                engine.publish(Outgoing(f"t{number}", b"1", KEEP_3))
            left = len(engine.history("heard", Retention(60, 0.0), None, 100).publications)
            assert left < 60
            for missed in (left, left + 1):
                since = Position(position.epoch, 60 - missed)
                assert engine.recover("heard", Retention(60, 0.0), since).recovered is (missed == left)
            for size in (80 * COST, 1, 1):
                engine.publish(Outgoing("t5", b"1" * size, KEEP_3))
            assert engine._stock.size <= engine._most_stock

        running(test)

    def test_how_much_memory_there_is(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert 2**28 < memory_size() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limit = tmp_path / "memory.max"
        monkeypatch.setattr("fastws.engine.memory.Path", lambda _: limit)
        unlimited = memory_size()
        limit.write_text("max\n")
        assert memory_size() == unlimited
        limit.write_text("1000000\n")
        assert memory_size() == 1_000_000

    def test_keys_that_clients_invent_do_not_add_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastws.engine.memory.MAX_KEYS", 50)

        def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
            for number in range(50):
                engine.publish(Outgoing("t", b"1", key=f"k{number}"))
            with pytest.raises(EngineError):
                engine.publish(Outgoing("t", b"1", key="k50"))
            assert engine.publish(Outgoing("t", b"1", key="k7")).duplicate
            assert not engine.publish(Outgoing("t", b"1")).duplicate
            clock.now_s += 301
            assert not engine.publish(Outgoing("t", b"1", key="k50")).duplicate

        running(test)

    def test_a_sweep_gives_back_a_part(self) -> None:
        def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
            keep = Retention(1000, 10.0)
            for number in range(12):
                for _ in range(1000):
                    engine.publish(Outgoing(f"t{number}", b"1", keep))
            clock.now_s += 11
            released = []
            for _ in range(3):
                engine.sweep()
                released.append(sum(not len(log) and log.is_released for log in engine._logs.values()))
            assert released == [5, 10, 12]

        running(test)

    def test_a_sweep_looks_at_a_part_and_all_parts_have_their_turn(self) -> None:
        def test(engine: MemoryEngine, events: RecordingEvents, clock: Clock) -> None:
            for number in range(5000):
                engine.recover(f"t{number}", KEEP_10_S, None)
            clock.now_s += IDLE_S + 1
            engine.sweep()
            assert len(engine._logs) == 3000
            engine.sweep()
            engine.sweep()
            assert not engine._logs

        running(test)


def test_it_is_of_no_use_before_start_and_after_stop() -> None:
    async def main() -> None:
        engine = MemoryEngine()
        engine.join("t")
        for use in (lambda: engine.publish(Outgoing("t", b"1")), lambda: engine.announce(b"1")):
            with pytest.raises(InternalError):
                use()
        await engine.start(RecordingEvents())
        engine.publish(Outgoing("t", b"1"))
        await engine.stop()
        await engine.stop()
        with pytest.raises(InternalError):
            engine.announce(b"1")

    asyncio.run(main())


def test_it_sweeps_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        swept = asyncio.Event()
        engine = MemoryEngine()
        monkeypatch.setattr("fastws.engine.memory._SWEEP_S", 0.001)
        monkeypatch.setattr(engine, "sweep", swept.set)
        await engine.start(RecordingEvents())
        for _ in range(2):
            async with asyncio.timeout(30):
                await swept.wait()
            swept.clear()
        await engine.stop()

    asyncio.run(main())


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["publish", "wait"]), st.integers(0, 6)), max_size=30),
    st.integers(0, 40),
)
def test_recovery_agrees_with_a_list(size: int, steps: list[tuple[str, int]], since: int) -> None:
    """Against the simplest thing that could work: keep everything, with its time."""
    clock = Clock()
    engine = MemoryEngine(clock, clock)
    retention = Retention(size, 10.0)
    epoch = engine.recover("t", retention, None).position.epoch
    everything: list[float] = []
    for what, amount in steps:
        if what == "publish":
            engine.publish(Outgoing("t", b"1", retention))
            everything.append(clock.now_s)
        else:
            clock.now_s += amount
    last = len(everything)
    kept = [i + 1 for i, at in enumerate(everything) if i >= last - size and clock.now_s - at < 10]
    complete = since <= last and all(offset in kept for offset in range(since + 1, last + 1))
    recovery = engine.recover("t", retention, Position(epoch, since))
    assert recovery.recovered is complete
    assert offsets(recovery.publications) == (list(range(since + 1, last + 1)) if complete else [])
    assert offsets(engine.history("t", retention, None, 100).publications) == kept
