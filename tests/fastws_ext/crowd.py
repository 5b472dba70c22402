"""Many connections without sockets that hear publications, and a model of what each of them has to hear."""

from typing import Any

from fastws_ext.endpoint import Endpoint
from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from tests.fastws_ext.harness import OPEN
from tests.fastws_ext.stage import COMMON, Stage
from tests.support.frames import BINARY

FRAME = 8  # bytes of each frame of `frames_of`


def frames_of(number: int) -> tuple[bytes, bytes]:
    """Frames of a publication for codec 0 and codec 1; wires of codec 2 get nothing."""
    return encode_frame(BINARY, b"0%05d" % number), encode_frame(BINARY, b"1%05d" % number)


class Member:
    """A wire that may hear publications, and what the model knows of it."""

    def __init__(self, crowd: "Crowd", index: int) -> None:
        self.index = index
        self.wire, self.transport = crowd.stage.connect(crowd.ingress)
        self.wire.codec = index % 3
        self.wire.data_received(COMMON)
        self.stints: list[list[int]] = []  # per time in the audience: what was published for it, by number
        self.forget()

    def forget(self) -> None:
        self.transport.written = b""
        self.stints.clear()
        self.inside = False
        self.skip = 0  # publications of which it knows already

    def join(self, audience: Audience, skip: int = 0) -> None:
        joined = audience.add(self.wire, skip)
        assert joined == (not self.inside)
        if joined:
            self.stints.append([])
            self.inside = True
            self.skip = skip

    def leave(self, audience: Audience) -> None:
        assert audience.discard(self.wire) == self.inside
        self.inside = False

    def close(self) -> None:
        self.wire.abort()
        self.inside = False

    def heard(self) -> list[int]:
        data = self.transport.written
        frames = [data[i : i + FRAME] for i in range(0, len(data), FRAME)]
        assert all(frame[2:3] == b"%d" % self.wire.codec for frame in frames)
        return [int(frame[3:]) for frame in frames]

    def check(self) -> None:
        """Each stint has heard a beginning of what was for it, in order, and a stint that lasts has heard all."""
        heard = self.heard()
        for stint in self.stints:
            count = sum(number in stint for number in heard)
            assert heard[:count] == stint[:count]
            heard = heard[count:]
        assert heard == []
        if self.inside:
            assert count == len(stint)


class Crowd:
    """Many open connections of one endpoint, over transports that only record."""

    def __init__(self, stage: Stage, count: int, **options: Any) -> None:
        self.stage = stage
        self.ingress = stage.table()
        self.ingress.routes = {b"/ws": Endpoint(stage.loop_data, "/ws", ping_interval=0, **options)}
        self.members = [Member(self, index) for index in range(count)]

    def refresh(self) -> None:
        """Everybody is open and knows nothing."""
        self.settle()
        for index, member in enumerate(self.members):
            if member.wire.state != OPEN:
                self.members[index] = Member(self, index)
            member.forget()

    def settle(self) -> None:
        """Let the loop turn until nothing is left to deliver."""
        self.stage.settle()
