"""Publications of one pass leave a big audience as one piece, and each member still hears what is for it."""

from typing import Any

import pytest

from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from tests.fastws_ext.crowd import Crowd, frames_of
from tests.fastws_ext.harness import OPEN
from tests.fastws_ext.stage import Stage, staging
from tests.support.frames import BINARY, TEXT, build_frame

CROWD = 1500  # with no time at all one slice is at most 512 members
BIG = 100  # members; an audience of so many hears at the end of the pass


class Big:
    """An audience whose members all speak codec 0."""

    def __init__(self, stage: Stage, policy: int = 0, **options: Any) -> None:
        self.crowd = Crowd(stage, BIG, **options)
        self.audience = Audience(stage.loop_data, policy)
        for member in self.crowd.members:
            member.wire.codec = 0
            self.audience.add(member.wire)

    def heard(self) -> list[list[int]]:
        """What each member has heard; everybody is closed then."""
        self.crowd.settle()
        heard = [member.heard() for member in self.crowd.members]
        for member in self.crowd.members:
            member.close()
        self.crowd.settle()
        return heard


def test_some_of_a_burst_are_not_for_everybody() -> None:
    with staging() as stage:
        big = Big(stage)
        late, first, second = (member.wire for member in big.crowd.members[-3:])
        big.audience.discard(late)
        big.audience.publish(frames_of(1))
        big.audience.publish(frames_of(2), exclude=first)
        big.audience.add(late)
        big.audience.publish(frames_of(3), exclude=first)
        big.audience.publish(frames_of(4), exclude=second)
        big.audience.publish(frames_of(5))
        assert big.audience.sent == 0
        heard = big.heard()
        assert heard[:-3] == [[1, 2, 3, 4, 5]] * (BIG - 3)
        assert heard[-3:] == [[3, 4, 5], [1, 4, 5], [1, 2, 3, 5]]
        assert big.audience.sent == (BIG - 3) * 5 + 3 + 3 + 4


def test_what_does_not_reach_a_member_that_is_lost_is_counted() -> None:
    with staging() as stage:
        big = Big(stage)
        lost, excluded, late = (big.crowd.members[i].wire for i in (3, 50, BIG - 1))
        big.audience.discard(late)
        big.audience.publish(frames_of(1))
        big.audience.publish(frames_of(2), exclude=excluded)
        big.audience.add(late)
        big.audience.publish(frames_of(3))
        for wire in (lost, excluded, late):
            wire.abort()
        assert big.audience.dropped == 3 + 2 + 1
        heard = big.heard()
        assert heard.count([1, 2, 3]) == BIG - 3
        assert (big.audience.sent, big.audience.dropped) == (3 * (BIG - 3), 3 + 2 + 1)


def test_a_codec_that_misses_one_of_a_burst_hears_the_others() -> None:
    with staging() as stage:
        big = Big(stage)
        big.crowd.members[5].wire.codec = 1
        big.crowd.members[6].wire.codec = 3
        for number in (1, 2, 3):
            big.audience.publish(frames_of(number)[: 1 if number == 2 else 2])
        big.audience.publish((frames_of(4)[0], None))
        big.crowd.settle()
        assert big.crowd.members[5].heard() == [1, 3]
        assert big.audience.dropped == 2 + 4
        big.crowd.members[5].forget()
        assert big.heard() == [[1, 2, 3, 4]] * 5 + [[], []] + [[1, 2, 3, 4]] * (BIG - 7)


@pytest.mark.parametrize("policy", [0, 1, 2])
def test_who_closes_or_leaves_hears_what_was_published_before(policy: int) -> None:
    with staging() as stage:
        big = Big(stage, policy)
        closing, leaving = big.crowd.members[3], big.crowd.members[4]
        for number in (1, 2):
            big.audience.publish(frames_of(number), key=b"%d" % number)
        closing.wire.close(4000, "bye")
        big.audience.discard(leaving.wire)
        big.audience.publish(frames_of(3))
        big.crowd.settle()
        sent, closing.transport.written = closing.transport.written, b""
        assert sent.startswith(frames_of(1)[0] + frames_of(2)[0] + b"\x88")
        heard = big.heard()
        assert heard[4] == [1, 2]
        assert heard[:3] + heard[5:] == [[1, 2, 3]] * (BIG - 2)
        assert big.audience.sent == 3 * (BIG - 2) + 4


def test_who_closes_in_the_middle_of_a_delivery_hears_the_rest() -> None:
    with staging() as stage:
        stage.loop_data.pass_ns = 0
        crowd = Crowd(stage, CROWD)
        audience = Audience(stage.loop_data)
        for member in crowd.members:
            member.wire.codec = 0
            audience.add(member.wire)
        audience.publish(frames_of(1))
        stage.turn()
        assert 0 < audience.sent < CROWD
        audience.publish(frames_of(2))
        for member in crowd.members:
            member.wire.close()
        assert audience.sent == 2 * CROWD
        assert len(audience) == 0
        stage.settle()
        for member in crowd.members:
            assert member.transport.written.startswith(frames_of(1)[0] + frames_of(2)[0] + b"\x88")
            member.close()
        stage.settle()


def test_a_burst_counts_one_by_one_where_it_is_not_taken() -> None:
    with staging() as stage:
        big = Big(stage, max_outbox=200)
        slow, stuck = big.crowd.members[:2]
        for member in (slow, stuck):
            member.wire.pause_writing()
            member.wire.send_frame(frames_of(0)[0])
        stage.settle()
        big.audience.publish(frames_of(1))
        stage.settle()
        assert (big.audience.sent, big.audience.queued) == (BIG - 2, 2)
        stuck.wire.abort()
        for number in (2, 3, 4):
            big.audience.publish(frames_of(number))
        stage.settle()
        endpoint = big.crowd.members[2].wire.endpoint
        # `slow` had 0 and 1 waiting, and there was no room for 2; `stuck` left 0 and 1 behind.
        assert (endpoint.slow_consumers, endpoint.dropped_slow, endpoint.dropped_ended) == (1, 2, 2)
        assert big.audience.sent == (BIG - 2) * 4
        assert big.audience.dropped == 3
        assert big.heard()[2:] == [[1, 2, 3, 4]] * (BIG - 2)


@pytest.mark.parametrize("policy", [1, 2])
def test_a_burst_meets_the_policy_one_by_one(policy: int) -> None:
    with staging() as stage:
        big = Big(stage, policy, max_outbox=200)
        slow = big.crowd.members[0]
        slow.wire.pause_writing()
        slow.wire.send_frame(frames_of(0)[0])
        stage.settle()
        for number in (1, 2, 3, 4):
            big.audience.publish(frames_of(number))
        stage.settle()
        slow.wire.resume_writing()
        heard = big.heard()
        assert heard[0][0] == 0
        assert heard[0][-1] == 4
        assert len(heard[0]) < 5
        assert heard[1:] == [[1, 2, 3, 4]] * (BIG - 1)


def test_what_a_socket_does_not_take_of_a_burst_follows_whole() -> None:
    with staging() as stage:
        big = Big(stage)
        slow = big.crowd.members[0]
        slow.wire.pause_writing()
        for number in (1, 2, 3):
            big.audience.publish(frames_of(number))
        stage.settle()
        big.audience.publish(frames_of(4))
        slow.wire.send_frame(frames_of(5)[0])
        stage.settle()
        assert slow.transport.written == b""
        slow.wire.resume_writing()
        heard = big.heard()
        assert sorted(heard[0]) == [1, 2, 3, 4, 5]
        assert heard[0][:3] == [1, 2, 3]
        assert heard[1:] == [[1, 2, 3, 4]] * (BIG - 1)


@pytest.mark.parametrize("policy", [1, 2])
def test_what_may_be_dropped_is_not_joined_for_a_socket_that_may_be_full(policy: int) -> None:
    """A member whose outbox a burst fills up is not closed where its topic would rather drop what waits."""
    with staging() as stage:
        big = Big(stage, policy, max_outbox=65_536)
        slow = big.crowd.members[0]
        slow.wire.pause_writing()
        for _ in range(5):
            big.audience.publish((encode_frame(BINARY, bytes(3000)),))
        stage.settle()
        big.audience.publish((encode_frame(BINARY, bytes(55_000)),))
        stage.settle()
        assert slow.wire.state == OPEN
        assert slow.wire in big.audience
        for member in big.crowd.members:
            member.close()
        stage.settle()


def test_reads_of_a_loop_transport_do_not_each_take_a_slice_of_a_delivery() -> None:
    with staging() as stage:
        crowd = Crowd(stage, CROWD)
        audience = Audience(stage.loop_data)
        for member in crowd.members:
            member.wire.codec = 0
            audience.add(member.wire)
        stage.loop_data.pass_ns = 0
        audience.publish(frames_of(1))
        for member in crowd.members[:20]:
            member.wire.data_received(build_frame(TEXT, b"hi"))
        assert audience.sent == 0
        stage.settle()
        assert audience.sent == CROWD
        for member in crowd.members:
            member.close()
        stage.settle()
