"""One server after the other, each tortured for a while; at the end of each nothing may be left.

    python -m tests.torture.rounds KIND SEED SECONDS        # under the shim if `prepared_shim` prepared the environment

Every choice is drawn from SEED (the first round has it, the next one SEED + 1), so that a round that failed can be
repeated, as far as the kernel plays along. Afterwards a line of JSON says what happened.
"""

import asyncio
import collections
import errno
import gc
import json
import os
import random
import socket
import sys
import time
import weakref
from typing import Any

from fastws_ext.fanout import Audience
from tests.fastws_ext.harness import run, turns, until
from tests.support.frames import TEXT, build_frame
from tests.torture.handlers import Handlers, Traced
from tests.torture.peers import Listener, Peer
from tests.torture.servers import KINDS, LIMITS, TorturedServer, abort_all, collected, tortured
from tests.torture.shim import FATAL, HALF, HARMLESS, ONE, VARIABLE, Shim, Weather, own_shim
from tests.torture.witnesses import testify

PEERS = 24
LISTENERS = 90  # in every other round; from 64 in an audience on, what is published waits for the end of the pass
WITNESSES = 4
ROUND_S = 1.5
QUIET_S = 0.25
QUIET_SHARE = 0.05  # of a CPU, when nothing happens
QUIET_PASSES = 60  # per second; the wheel alone makes 10
KNOCKERS = 3
SMALL_BUFFERS = (socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
# Where the event loop does the system calls, it gives up for less, and ends itself where it cannot watch a descriptor.
LOOP_HARMLESS = {
    "epoll_wait": HARMLESS["epoll_wait"],
    "recv": HARMLESS["recv"],
    "send": (errno.EAGAIN, errno.EINTR, ONE, HALF),
}
LOOP_FATAL = {"recv": FATAL["recv"], "send": FATAL["send"]}


class Round:
    """A server, its peers for `seconds`, and the count of what is left."""

    def __init__(self, kind: str, seed: int, seconds: float, shim: Shim | None) -> None:
        self.kind = kind
        self.seconds = seconds
        self.shim = shim
        self.seed = seed
        self.choices = random.Random(seed)
        self.handlers = Handlers(self.choices, forks=shim is not None)
        self.peers: list[Peer] = []
        self.listeners: list[Listener] = []
        self.frames = 0  # heard by listeners
        self.made: weakref.WeakSet[Any] = weakref.WeakSet()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.server: TorturedServer

    def connection(self, ingress: Any) -> Any:
        """What the server makes for each socket."""
        conn = Traced(ingress)
        self.made.add(conn)
        return conn

    async def play(self) -> None:
        """All of it. :raises AssertionError: something was left, or somebody was not told what he should be told."""
        handlers, options = self.handlers, {**LIMITS, **self.handlers.callbacks()}
        options |= {"connection_class": self.connection, "handshake_timeout": 1.5 if self.shim else 0.4, "keep": False}
        if self.choices.random() < 0.5:
            options["listener_options"] = (SMALL_BUFFERS,)
        async with tortured(self.kind, **options) as self.server:
            handlers.server = self.server
            self.server.made = self.made
            self.server.on_request = handlers.on_request
            self.server.on_handshake_timeout = handlers.on_handshake_timeout
            handlers.audiences = [Audience(self.server.loop_data, policy) for policy in (0, 1, 2)]
            self.server.serve_listeners(**options | {"on_open": handlers.join_all})
            await self.act()
            if self.shim is not None:
                await self.rest()
            await self.clean_up()
            await self.check()

    async def act(self) -> None:
        """The busy part."""
        choices, shim = self.choices, self.shim
        witnesses: set[asyncio.Task[None]] = set()
        done: set[asyncio.Task[None]] = set()
        listeners = LISTENERS if self.seed % 2 and self.kind != "tls" else 0  # whose handshakes would take all the time
        end = time.monotonic() + self.seconds
        while time.monotonic() < end and not self.handlers.ended:
            self.peers = [peer for peer in self.peers if not peer.gone]
            if len(self.peers) < PEERS:
                self.peers.append(Peer(self.server.address, choices, self.server.context))
            for peer in choices.sample(self.peers, choices.randint(1, len(self.peers))):
                if not peer.gone:
                    peer.step()
            self.listen(listeners)
            if choices.random() < 0.02:
                self.handlers.decide_late()
            if shim is not None:
                if choices.random() < 0.03:
                    shim.weather(self.forecast())
                if len(witnesses) < WITNESSES and choices.random() < 0.2:
                    testimony = testify(self.server, self.handlers, choices, shim, self.outcomes)
                    witnesses.add(asyncio.ensure_future(testimony))
                finished = {task for task in witnesses if task.done()}
                witnesses -= finished
                done |= finished
            await turns(choices.choice((0, 1, 1, 3)))
        if shim is not None:
            shim.calm()
        await asyncio.gather(*witnesses, *done)

    def listen(self, count: int) -> None:
        """Keep up `count` listeners, and have some of them read."""
        gone = [one for one in self.listeners if one.gone]
        self.frames += sum(one.frames for one in gone)
        self.listeners = [one for one in self.listeners if not one.gone]
        if len(self.listeners) < count:
            new = min(count - len(self.listeners), 10)
            self.listeners += [Listener(self.server.address, self.choices, self.server.context) for _ in range(new)]
        for one in self.choices.sample(self.listeners, len(self.listeners) // 2):
            if not one.gone:
                one.step()

    def forecast(self) -> Weather:
        """Which calls fail for a while: often, and only so that nothing is lost; or seldom, and for good."""
        choices = self.choices
        harmless, fatal = (HARMLESS, FATAL) if self.server.reactor is not None else (LOOP_HARMLESS, LOOP_FATAL)
        weather: dict[str, tuple[float, tuple[int, ...]]] = {}
        for name, faults in harmless.items():
            if choices.random() < 0.6:
                some = choices.sample(faults, choices.randint(1, len(faults)))
                weather[name] = choices.choice((0.02, 0.2, 0.6)), tuple(some)
        for name, faults in fatal.items():
            if choices.random() < 0.1:
                weather[name] = choices.choice((0.005, 0.05)), faults
        if choices.random() < 0.2:
            return {}
        return weather

    async def rest(self) -> None:
        """Nobody does anything any more, in whatever state all are; the process has to rest, and then serve again."""
        shim, server = self.shim, self.server
        assert shim is not None
        self.handlers.depth = 5
        server.loop_data.pass_ns = self.handlers.pass_ns
        exhausted = server.reactor is not None and not self.handlers.ended and self.choices.random() < 0.5
        if exhausted:
            shim.weather({"accept4": (1.0, (self.choices.choice((errno.EMFILE, errno.ENFILE, errno.ENOMEM)),))})
            self.peers += [Peer(server.address, self.choices) for _ in range(KNOCKERS)]
        gc.collect()
        await asyncio.sleep(0.1)
        for _ in range(4):  # what is due once after all this may come in the first
            cpu, passes, start = time.process_time(), server.loop_data.passes, time.monotonic()
            await asyncio.sleep(QUIET_S)
            seconds = time.monotonic() - start
            share = (time.process_time() - cpu) / seconds
            passes = int((server.loop_data.passes - passes) / seconds)
            if share < QUIET_SHARE and passes < QUIET_PASSES:
                break
        else:
            raise AssertionError(f"no rest: {share:.0%} of a CPU, {passes} passes per second, exhausted {exhausted}")
        shim.calm()
        if not self.handlers.ended:
            await self.still_serves()

    async def still_serves(self) -> None:
        """A client like any other is served."""
        if self.server.context is None and isinstance(self.server.address, tuple):
            client = await self.server.connect("/witness")
            await client.send_frame(TEXT, b"well?")
            assert await client.read_message() == "well?"
            await client.send(build_frame(TEXT, b"close"))
            assert await client.read_close() == (4000, "bye")
            client.close()

    async def clean_up(self) -> None:
        """Everybody goes, and nobody opens anything any more."""
        self.handlers.depth = 5
        self.server.loop_data.pass_ns = self.handlers.pass_ns
        self.frames += sum(one.frames for one in self.listeners)
        for peer in self.peers + self.listeners:
            peer.leave(reset=False)
        await turns(20)  # who is still in the backlog comes in
        abort_all(self.made)
        await self.server.all_closed()
        await turns(5)
        self.handlers.undecided.clear()
        self.handlers.reap()

    async def check(self) -> None:
        """What has to hold when all are gone."""
        server, handlers = self.server, self.handlers
        reports = server.own_reports()
        assert server.loop_data.errors == len(reports) == handlers.reported, reports
        await until(lambda: server.loop_data.backlog == (0, 0, 0), "nothing is left to do")
        reports.clear()
        server.errors.clear()  # with their frames
        server.internal.clear()
        assert await collected(self.made) == []
        for endpoint in (server.endpoint, server.listened, server.witness, server.impatient):
            assert endpoint.opened == sum(endpoint.closed.values())
        assert handlers.opened == server.endpoint.opened
        assert handlers.closed == server.endpoint.opened + server.listened.opened
        assert [len(audience) for audience in handlers.audiences] == [0, 0, 0]
        if server.reactor is not None:
            assert server.reactor.connections() == []
            assert server.ingress.released == server.reactor.accepted


def torture(kind: str, seed: int, seconds: float, shim: Shim | None = None) -> dict[str, Any]:
    """Rounds for so many seconds; :returns: figures of what happened."""
    run(kind, nothing)  # what the first loop opens for good is not counted
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    figures: dict[str, Any] = {
        "kind": kind,
        "rounds": 0,
        "opened": 0,
        "heard": 0,
        "biggest": 0,
        "ended": 0,
        "closed": collections.Counter(),
    }
    told: collections.Counter[str] = collections.Counter()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        one = Round(kind, seed, min(max(left, 0.2), ROUND_S), shim)
        try:
            run(kind, one.play)
        except BaseException as error:
            error.add_note(f"{kind}, round of seed {seed}; witnesses {dict(one.outcomes)}")
            raise
        figures["rounds"] += 1
        figures["opened"] += one.handlers.opened
        figures["heard"] += one.frames
        figures["biggest"] = max(figures["biggest"], one.handlers.biggest)
        figures["ended"] += one.handlers.ended
        figures["closed"].update(one.server.endpoint.closed)
        told.update(one.outcomes)
        del one
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before, f"descriptors, {kind}, round of seed {seed}"
        seed += 1
    if shim is not None:
        shim.calm()
        faults = {f"{name} {fault}": count for (name, fault), count in sorted(shim.tally.items())}
        figures |= {"told": told, "faults": faults}
    return figures


async def nothing() -> None:
    """A loop that does nothing."""


def main() -> None:
    """Called in a process of its own."""
    kind, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    assert kind in KINDS, kind
    shim = None
    if VARIABLE in os.environ:
        shim = own_shim()
        shim.aim(os.getpid(), seed=seed, caller="fastws_ext" if kind == "reactor" else "uvloop")
    print(json.dumps(torture(kind, seed, seconds, shim)))


if __name__ == "__main__":
    main()
