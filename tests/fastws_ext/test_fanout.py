"""Audiences: everyone who was in hears each publication once and in order, whoever comes and goes meanwhile."""

import gc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastws_ext.endpoint import Endpoint
from fastws_ext.fanout import Audience, Tally
from fastws_ext.frames import encode_frame
from fastws_ext.loop_data import LoopData
from fastws_ext.wire import Wire
from tests.fastws_ext.crowd import FRAME, Crowd, Member, frames_of
from tests.fastws_ext.harness import OPEN, on_reactor, serving, turns
from tests.fastws_ext.stage import COMMON, UNHURRIED_NS, RecordingTransport, Stage, staging
from tests.support.frames import TEXT, build_frame

CROWD = 1500  # with no time at all one slice is at most 512 members
SLICE = 512
WAITING = 256  # publications that wait at most
JOINED = 64  # publications that are delivered as one at most


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with staging() as stage:
        crowd = Crowd(stage, CROWD)
        yield crowd
        for member in crowd.members:
            member.wire.abort()
        crowd.settle()
        assert crowd.ingress.connections == 0


@pytest.fixture
def hurried(crowd: Crowd) -> Iterator[Crowd]:
    """The crowd on a loop that has no time: every delivery is cut into slices as small as may be."""
    crowd.refresh()
    before, crowd.stage.loop_data.pass_ns = crowd.stage.loop_data.pass_ns, 0
    yield crowd
    crowd.stage.loop_data.pass_ns = before


some = st.builds(slice, st.integers(0, CROWD), st.integers(0, CROWD), st.integers(1, 7))
operations = st.one_of(
    st.tuples(st.just("publish"), st.integers(0, CROWD - 1)),
    st.tuples(st.sampled_from(("join", "join later", "leave", "close", "rejoin")), some),
    st.tuples(st.just("turn"), st.integers(1, 3)),
)


@settings(max_examples=60)
@given(st.lists(operations, max_size=20))
@example([("publish", 3), ("leave", slice(0, CROWD, 2)), ("turn", 1), ("rejoin", slice(1, 900)), ("publish", 0)])
@example([("leave", slice(0, CROWD)), ("join later", slice(0, CROWD)), *[("publish", 0), ("turn", 1)] * 6])
@example([("publish", 0)] * 4 + [("turn", 1), ("close", slice(300, 1400)), ("publish", 2), ("turn", 2)])
def test_members_hear_each_publication_once_and_in_order_while_others_come_and_go(
    crowd: Crowd, script: list[tuple[str, Any]]
) -> None:
    crowd.refresh()
    crowd.stage.loop_data.pass_ns = 0
    audience = Audience(crowd.stage.loop_data)
    for member in crowd.members[: CROWD - 100]:
        member.join(audience)
    for number, (what, which) in enumerate(script):
        if what == "publish":
            publish(crowd, audience, number, crowd.members[which])
        elif what == "turn":
            for _ in range(which):
                crowd.stage.turn()
        else:
            for member in crowd.members[which]:
                act(member, audience, what)
        assert set(audience.wires()) == {member.wire for member in crowd.members if member.inside}
    crowd.settle()
    for member in crowd.members:
        member.check()
    count_by_codec = [
        sum(member.inside and member.wire.codec == codec for member in crowd.members) for codec in range(4)
    ]
    assert [audience.count(codec) for codec in range(4)] == count_by_codec
    assert len(audience) == sum(count_by_codec)
    crowd.stage.loop_data.pass_ns = UNHURRIED_NS


def publish(crowd: Crowd, audience: Audience, number: int, excluded: Member) -> None:
    inside = [member for member in crowd.members if member.inside]
    assert audience.publish(frames_of(number), exclude=excluded.wire) == len(inside)
    for member in inside:
        if member.skip:
            member.skip -= 1
        elif member is not excluded and member.wire.codec < 2:
            member.stints[-1].append(number)


def act(member: Member, audience: Audience, what: str) -> None:
    if member.wire.state != OPEN:
        assert not audience.add(member.wire)
    elif what == "join":
        member.join(audience)
    elif what == "join later":
        member.join(audience, skip=member.index % 5)
    elif what == "close":
        member.close()
    else:
        member.leave(audience)
        if what == "rejoin":
            member.join(audience)


# Slices


def test_a_big_audience_is_served_in_slices_between_which_the_loop_turns(hurried: Crowd) -> None:
    audience = Audience(hurried.stage.loop_data)
    for member in hurried.members:
        member.join(audience)
    publish(hurried, audience, 1, hurried.members[2])
    reached = [audience.sent + audience.dropped]
    while reached[-1] < CROWD - 1:
        hurried.stage.turn()
        reached.append(audience.sent + audience.dropped)
    assert reached[0] <= SLICE
    assert all(0 < after - before <= SLICE for before, after in pairwise(reached))
    assert len(reached) >= CROWD // SLICE
    hurried.settle()
    for member in hurried.members:
        member.check()


def test_a_small_audience_is_served_at_once(hurried: Crowd) -> None:
    audience = Audience(hurried.stage.loop_data)
    for member in hurried.members[:60]:
        member.join(audience)
    publish(hurried, audience, 1, hurried.members[2])
    assert audience.sent + audience.dropped == 59


def test_publications_that_wait_are_bounded_and_none_is_lost(hurried: Crowd) -> None:
    audience = Audience(hurried.stage.loop_data)
    for member in hurried.members[:600]:
        member.join(audience)
    for number in range(400):
        publish(hurried, audience, number, hurried.members[-1])
    assert audience.sent >= (400 - WAITING - 2 * JOINED) * 400
    hurried.settle()
    assert audience.sent == 400 * 400
    for member in hurried.members:
        member.check()


@on_reactor
async def test_a_bystander_is_answered_while_a_big_delivery_goes_on() -> None:
    reached: list[int] = []

    def on_message(conn: Any, message: str | bytes) -> None:
        if message == "publish":
            audience.publish((encode_frame(TEXT, "hi"),))
        else:
            reached.append(audience.sent)
            conn.send(message)

    async with serving("reactor", on_message=on_message) as server:
        audience = Audience(server.loop_data)
        bystander = await server.connect()
        publisher = await server.connect()
        clients = await server.connect_many(4 * SLICE)
        for conn in server.conns[2:]:
            audience.add(conn)
        server.loop_data.pass_ns = 0
        publisher.send_now(build_frame(TEXT, b"publish"))
        bystander.send_now(build_frame(TEXT, b"now"))
        assert await bystander.read_message() == "now"
        server.loop_data.pass_ns = 2_000_000
        assert 0 < reached[0] < 4 * SLICE
        for client in clients:
            assert await client.read_message() == "hi"
        assert audience.sent == 4 * SLICE
        await turns(3)
        assert all(client.heard_nothing() for client in clients)


def test_busy_audiences_take_turns(hurried: Crowd) -> None:
    audiences = [Audience(hurried.stage.loop_data) for _ in range(3)]
    for audience in audiences:
        for member in hurried.members:
            audience.add(member.wire)
        audience.publish(frames_of(1))
    most: list[int] = []
    while sum(audience.sent + audience.dropped for audience in audiences) < 3 * CROWD:
        hurried.stage.turn()
        reached = [audience.sent + audience.dropped for audience in audiences]
        most.append(max(reached) - min(reached))
    assert max(most) <= SLICE
    hurried.settle()


# Callbacks and closes in the middle


@given(st.sets(st.integers(0, 19)))
def test_members_that_are_too_slow_leave_and_the_others_hear_each_publication_once(slow: set[int]) -> None:
    with staging() as stage:
        crowd = Crowd(stage, 20, max_outbox=FRAME)
        audience = Audience(stage.loop_data)
        for index, member in enumerate(crowd.members):
            member.wire.codec = 0
            member.join(audience)
            if index in slow:
                member.wire.pause_writing()
                member.wire.send_frame(frames_of(0)[0])
        stage.settle()
        for number in (1, 2):
            audience.publish(frames_of(number))
            stage.settle()
        for index, member in enumerate(crowd.members):
            assert member.heard() == ([] if index in slow else [1, 2])
            assert (member.wire in audience) == (index not in slow)
            member.close()
        stage.settle()


class FailingTransport(RecordingTransport):
    """A transport that raises for whatever is written once the upgrade is answered."""

    def write(self, data: Any) -> None:
        if self.written:
            raise RuntimeError("broken")
        super().write(data)


@pytest.mark.parametrize("count", [3, 2 * SLICE + 100])
def test_a_member_whose_transport_fails_is_the_only_one_that_misses_a_publication(count: int) -> None:
    reported: list[Any] = []
    with staging() as stage:
        stage.loop.set_exception_handler(lambda loop, context: reported.append(context["object"]))
        stage.loop_data.pass_ns = 0
        crowd = Crowd(stage, count, max_outbox=FRAME)
        failing = Wire(crowd.ingress)
        failing.connection_made(FailingTransport())
        failing.data_received(COMMON)
        audience = Audience(stage.loop_data)
        audience.add(failing)  # the first to join is the last to be served
        for member in crowd.members:
            member.wire.codec = 0
            audience.add(member.wire)
        crowd.settle()
        failing.send_frame(frames_of(0)[0])
        assert audience.publish(frames_of(1)) == count + 1
        assert audience.publish(frames_of(2)) > 0
        crowd.settle()
        assert set(reported) == {failing}
        assert audience.publish(frames_of(3)) == count
        crowd.settle()
        for member in crowd.members:
            assert member.heard() == [1, 2, 3]
            member.close()
        crowd.settle()
        stage.loop_data = LoopData(stage.loop)


class Reentrant:
    """A member whose outbox overflows by a publication, is flushed, and so calls on_drain inside the delivery."""

    def __init__(self, stage: Stage, count: int = 5) -> None:
        self.crowd = Crowd(stage, count, max_outbox=100_000, on_drain=self.on_drain)
        self.audience = Audience(stage.loop_data)
        self.newcomer = self.crowd.members[-1]
        self.drained = self.crowd.members[-3]
        for member in self.crowd.members:
            member.wire.codec = 0
        for member in self.crowd.members[:-1]:
            self.audience.add(member.wire)
        self.drained.wire.send_frame(bytes(99_999))
        assert self.drained.wire.congested

    def on_drain(self, conn: Any) -> None:
        raise NotImplementedError

    def publish(self) -> list[list[int]]:
        """What each member has heard of publication 1 and what it set off."""
        self.audience.publish(frames_of(1))
        self.crowd.settle()
        self.drained.transport.written = self.drained.transport.written[99_999:]
        heard = [member.heard() for member in self.crowd.members]
        for member in self.crowd.members:
            member.close()
        self.crowd.settle()
        return heard


@pytest.mark.parametrize("count", [5, 3 * SLICE])
def test_what_is_published_inside_a_delivery_comes_after_it(count: int) -> None:
    class Publishing(Reentrant):
        def on_drain(self, conn: Any) -> None:
            self.audience.publish(frames_of(2))
            self.audience.add(self.newcomer.wire)
            self.audience.publish(frames_of(3))

    with staging() as stage:
        stage.loop_data.pass_ns = 0
        assert Publishing(stage, count).publish() == [[1, 2, 3]] * (count - 1) + [[3]]


def test_who_leaves_inside_a_delivery_hears_what_was_published_before_and_an_aborted_one_nothing() -> None:
    class Leaving(Reentrant):
        def on_drain(self, conn: Any) -> None:
            self.audience.discard(self.crowd.members[0].wire)
            self.audience.discard(conn)
            self.crowd.members[3].wire.abort()

    with staging() as stage:
        heard = Leaving(stage).publish()
        assert heard == [[1], [1], [1], [], []]


# Membership


def test_membership(crowd: Crowd) -> None:
    crowd.refresh()
    audience = Audience(crowd.stage.loop_data)
    first, second = crowd.members[0].wire, crowd.members[1].wire
    assert [audience.add(first), audience.add(first), audience.add(second)] == [True, False, True]
    assert (len(audience), first in audience, audience.wires()) == (2, True, [first, second])
    assert [audience.count(codec) for codec in (-1, 0, 1, 2, 4)] == [0, 1, 1, 0, 0]
    assert [audience.discard(first), audience.discard(first), first in audience] == [True, False, False]
    assert audience.publish((None,)) == 1
    assert audience.dropped == 1


def test_a_wire_that_is_not_open_cannot_join(crowd: Crowd) -> None:
    audience = Audience(crowd.stage.loop_data)
    wire, _ = crowd.stage.connect()
    assert not audience.add(wire)
    wire.data_received(COMMON)
    assert audience.add(wire)
    wire.close()
    assert len(audience) == 0
    assert not audience.add(wire)
    wire.abort()
    crowd.stage.settle()


def test_a_wire_has_left_every_audience_when_its_end_is_told() -> None:
    sizes: list[int] = []
    with staging() as stage:
        audiences = [Audience(stage.loop_data) for _ in range(40)]
        crowd = Crowd(stage, 3, on_close=lambda *_: sizes.extend(len(audience) for audience in audiences))
        for audience in audiences:
            for member in crowd.members:
                audience.add(member.wire)
        crowd.members[1].close()
        stage.settle()
        assert sizes == [2] * 40
        for member in crowd.members:
            member.close()
        stage.settle()


def test_wires_and_audiences_may_be_freed_in_any_order() -> None:
    with staging() as stage:
        wires = [open_wire(stage) for _ in range(5)]
        audiences = [Audience(stage.loop_data) for _ in range(3)]
        for audience in audiences:
            for wire in wires:
                audience.add(wire)
        del audiences[1], audience, wire
        del wires[2]
        gc.collect()
        assert [len(audience) for audience in audiences] == [4, 4]
        assert audiences[0].publish(frames_of(1)) == 4
        stage.settle()
        del wires[0]
        gc.collect()
        assert set(audiences[0].wires()) == set(wires)
        wires.clear()
        gc.collect()
        assert [len(audience) for audience in audiences] == [0, 0]


def open_wire(stage: Stage) -> Wire:
    """One with an ingress of its own, which is all that holds it: together they are garbage."""
    ingress = stage.table()
    ingress.routes = {b"/ws": Endpoint(stage.loop_data, "/ws", ping_interval=0)}
    wire = Wire(ingress)
    wire.connection_made(RecordingTransport())
    wire.data_received(COMMON)
    return wire


def test_an_audience_may_be_dropped_while_it_delivers(hurried: Crowd) -> None:
    audience = Audience(hurried.stage.loop_data)
    for member in hurried.members:
        member.join(audience)
    publish(hurried, audience, 1, hurried.members[2])
    del audience
    hurried.settle()
    for member in hurried.members:
        member.check()


@pytest.mark.parametrize("frames", [("text",), (b"x", 5), (bytearray(b"x"),)])
def test_frames_are_bytes_or_none(frames: tuple[Any, ...], crowd: Crowd) -> None:
    with pytest.raises(TypeError):
        Audience(crowd.stage.loop_data).publish(frames)


@pytest.mark.parametrize("policy", [-1, 3])
def test_an_unknown_policy_is_refused(policy: int, crowd: Crowd) -> None:
    with pytest.raises(ValueError, match="policy"):
        Audience(crowd.stage.loop_data, policy)


def test_an_audience_belongs_to_a_loop() -> None:
    with pytest.raises(TypeError):
        Audience(None)  # type: ignore[arg-type]


def test_audiences_may_share_a_tally(crowd: Crowd) -> None:
    crowd.refresh()
    tally = Tally()
    shared = [Audience(crowd.stage.loop_data, 0, tally) for _ in range(2)]
    alone = Audience(crowd.stage.loop_data)
    for audience, number in ((shared[0], 3), (shared[1], 4), (alone, 5)):
        for member in crowd.members[:number]:
            audience.add(member.wire)
        audience.publish(frames_of(1))
    assert [tally.sent, shared[0].sent, shared[1].sent, alone.sent] == [5, 5, 5, 4]  # codec 2 gets nothing
    audience, alone = None, None  # type: ignore[assignment]
    shared.clear()
    assert (tally.sent, tally.queued, tally.dropped) == (5, 0, 2)
