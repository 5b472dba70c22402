"""A run: nodes, clients and publishers, one fault in the middle of it, and what came of it."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic, time
from types import TracebackType
from typing import Any, Final, Self

from fastws.gateway.auth.tokens import sign
from tests.faults.bystander import Bystander
from tests.faults.clients import Client, Prober, Publisher, Subscriber, World
from tests.faults.nodes import SECRET, ServedNode, entrances
from tests.faults.oracle import Figures, Oracle

BEGIN_S: Final = 30.0
SETTLE_S: Final = 45.0
BLOCKED_S: Final = 0.1
"""A loop that is later than this is blocked by something."""
LEASES_TO_BE_RIGHT: Final = 1.5
"""Who is here is known within a lease, and half of one for whoever has to find out."""
SHOWN: Final = 8


@dataclass(frozen=True)
class Plan:
    """How large a run is."""

    nodes: int = 2
    subscribers: int = 210
    kept: int = 6
    plain: int = 4
    """Topics with and without history."""
    publishers: int = 6
    pause_s: float = 0.04
    """Between two messages of a publisher."""
    ping_interval_s: float = 2.0
    before_s: float = 2.0
    after_s: float = 2.0
    drain_timeout_s: float = 10.0
    stays: float = 0.0
    """Share of the subscribers that do not come back when their node is gone."""
    options: Sequence[str] = ()
    may_lose: bool = False
    """Redis may lose what it has acknowledged: without persistence, or to a failover."""
    may_block: bool = False
    """The fault takes the machine's time from nodes, so that it is not theirs if they are late."""

    @property
    def lease_s(self) -> float:
        """After which a process that is not heard of is taken for dead."""
        return min(3 * self.ping_interval_s, 90.0)


@dataclass
class Outcome:
    """What came of a run, in seconds and numbers."""

    scenario: str
    seed: int
    figures: Figures = field(default_factory=Figures)
    recover_s: float = 0.0
    """From the beginning of the fault to the last trouble that anybody had."""
    redis_s: float = 0.0
    """From the beginning of the fault to when Redis took commands again; 0 if it always did."""
    fault_s: float = 0.0
    """How long the fault lasted."""
    presence_s: float = 0.0
    """From the beginning of the fault to when every node knew who is here."""
    echo_s: float = 0.0
    """The longest that a node's loop did not answer, between its other clients."""
    idle_s: float = 0.0
    """The longest that a process did not answer that has nothing else to do."""
    notes: list[str] = field(default_factory=list)
    violations: list[tuple[str, str]] = field(default_factory=list)
    log: str = ""
    """Of the nodes, where something was wrong."""

    @property
    def added_s(self) -> float:
        """What the nodes took after Redis was back, or after the fault had ended."""
        return max(self.recover_s - max(self.redis_s, self.fault_s), 0.0)

    def as_dict(self) -> dict[str, Any]:
        """For a report."""
        fields = asdict(self)
        del fields["log"]
        return {**fields, "added_s": self.added_s}


class Stage:
    """What a scenario plays on.

    ::

        async with Stage("name", plan, seed, redis=url) as stage:
            async with stage.fault():
                ...
        outcome = stage.outcome

    Leaving the block waits until everything is in order again, says what was not, and ends all.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        seed: int,
        *,
        redis: str | Sequence[str] = "none",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.plan = plan
        self.is_cluster = redis != "none"
        self.random = random.Random(seed)
        self.outcome = Outcome(name, seed)
        self.oracle = Oracle()
        self.folder = Path(tempfile.mkdtemp(prefix="fastws-faults-"))
        urls = [redis] * plan.nodes if isinstance(redis, str) else list(redis)
        prefix = f"f{seed}x{self.random.randrange(10**6)}"
        options = ["--drain-timeout", str(plan.drain_timeout_s), *plan.options]
        self.nodes = [
            ServedNode(
                f"n{index + 1}",
                url,
                self.folder,
                prefix=prefix,
                ping_interval_s=plan.ping_interval_s,
                options=options,
                env=env,
            )
            for index, url in enumerate(urls)
        ]
        # Clients draw when it suits them: a seed has to mean the same fault, whatever they do.
        self.world = World(self.nodes, self.oracle, random.Random(self.random.random()), token_of)
        self.kept = [f"kept:{number}" for number in range(plan.kept)]
        self.plain = [f"plain:{number}" for number in range(plan.plain)]
        self.subscribers: list[Subscriber] = []
        self.publishers: list[Publisher] = []
        self.probers: list[Prober] = []
        self.bystander = Bystander()
        self.calm: list[tuple[float, float]] = []
        self.fault_began_s = 0.0
        self.fault_ended_s = 0.0
        self._idle_descriptors: dict[str, int] = {}

    # Its parts.

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(node.start() for node in self.nodes), self.bystander.start())
            self._make_clients()
            for client in self.clients:
                client.start()
            await self.until(self.is_complete, BEGIN_S, "everybody is connected")
            self._pause(paused=False)
        except BaseException:
            await self._end()
            raise
        self._idle_descriptors = {node.name: self._own_descriptors(node) for node in self.nodes}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._settle()
                await self._judge()
            else:
                error.add_note("\n".join(f"{node.name}:\n{node.log()[-3000:]}" for node in self.nodes))
        finally:
            await self._end()

    def _make_clients(self) -> None:
        plan = self.plan
        mortal = int(plan.subscribers * plan.stays)
        for number in range(plan.subscribers):
            topics = [self.kept[number % plan.kept], self.plain[number % plan.plain]]
            client = Subscriber(self.world, f"s{number}", number % plan.nodes, topics, stays=number < mortal)
            self.subscribers.append(client)
        for number in range(plan.publishers):
            topics = [*self.kept, *self.plain]
            insists = number % 2 == 0
            at = number % plan.nodes
            self.publishers.append(Publisher(self.world, f"p{number}", at, topics, plan.pause_s, insists=insists))
        self.probers = [Prober(self.world, f"t{index}", index) for index in range(plan.nodes)]

    @property
    def clients(self) -> list[Client]:
        """All of them."""
        return [*self.subscribers, *self.publishers, *self.probers]

    def is_complete(self) -> bool:
        """Whether everybody who is to come back is connected and subscribed."""
        gone = [client for client in self.subscribers if not client.is_complete]
        alive = {node.name for node in self.nodes if node.is_running}
        probed = all(prober.conn for prober in self.probers if prober.node.name in alive)
        return (
            probed and all(client.stays and not client.conn for client in gone) and all(p.conn for p in self.publishers)
        )

    # What a scenario does.

    async def load(self, seconds: float) -> None:
        """Let it run."""
        await asyncio.sleep(seconds)

    @asynccontextmanager
    async def fault(self, *, of_redis: bool = False) -> AsyncIterator[None]:
        """First some load, in which nothing may go wrong. In the block things break, at its end they are whole again.

        :param of_redis: and Redis takes commands again then, not before.
        """
        since = monotonic()
        await self.load(self.plan.before_s)
        self.calm.append((since, monotonic()))
        self.fault_began_s = monotonic()
        self.bystander.reset()
        self.oracle.last_trouble_s = self.fault_began_s
        yield
        if of_redis:
            self.redis_is_back()
        self._end_fault()

    def _end_fault(self) -> None:
        self.fault_ended_s = monotonic()
        self.outcome.fault_s = self.fault_ended_s - self.fault_began_s

    @contextmanager
    def without_redis(self, node: str = "") -> Iterator[None]:
        """In the block no answer of Redis reaches a node, by default none: so nothing may be acknowledged there."""
        since = monotonic()
        yield
        self.oracle.away.append((since, monotonic(), node))

    def redis_is_back(self, since_s: float | None = None) -> None:
        """Redis takes commands again, since now."""
        self.outcome.redis_s = (monotonic() if since_s is None else since_s) - self.fault_began_s

    def passer_by(self, user: str, at: int) -> Subscriber:
        """One that nobody looks after: the caller starts and ends it."""
        return Subscriber(self.world, user, at % len(self.nodes), [self.kept[at % len(self.kept)]], stays=True)

    def note(self, text: str) -> None:
        """Something worth knowing of this run."""
        self.outcome.notes.append(text)

    async def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for a condition. Raises `AssertionError` if it is not met in time."""
        end = monotonic() + timeout_s
        while not condition():
            if monotonic() > end:
                raise AssertionError(f"not within {timeout_s:g} s: {what}; {self._state()}")
            await asyncio.sleep(0.02)

    def _state(self) -> str:
        missing = [client.user for client in self.subscribers if not client.is_complete]
        others = [client.user for client in [*self.publishers, *self.probers] if not client.conn]
        return (
            f"{len(missing)} subscribers incomplete {missing[:SHOWN]}, {others} not connected, "
            f"nodes {[(node.name, node.is_running) for node in self.nodes]}; so far {self.oracle.violations[:SHOWN]}"
        )

    # How it ends.

    async def _settle(self) -> None:
        """Until everything works again; then a time in which nothing may go wrong."""
        if not self.fault_ended_s:
            self._end_fault()
        try:
            await self.until(self.is_complete, SETTLE_S, "everybody is back")
            await self._quiet()
        except AssertionError as error:
            self.oracle.wrong("deaf", str(error))
            return
        self.outcome.recover_s = self.oracle.last_trouble_s - self.fault_began_s
        if not self.outcome.presence_s:
            await self.until_known()
        since = monotonic()
        self._pause(paused=False)
        await self.load(self.plan.after_s)
        self.calm.append((since, monotonic()))
        try:
            await self._quiet()
        except AssertionError as error:
            self.oracle.wrong("deaf", str(error))

    async def _quiet(self) -> None:
        """Nothing is said any more, and everybody has heard everything."""
        self._pause(paused=True)
        await self.until(self._is_said, SETTLE_S, "everything that was begun is said")
        await self.until(self._is_heard, SETTLE_S, "everything that was said is heard")
        await asyncio.sleep(0.3)

    def _pause(self, *, paused: bool) -> None:
        for publisher in self.publishers:
            publisher.is_paused = paused

    def _is_said(self) -> bool:
        return not any(publisher.has_open for publisher in self.publishers)

    def _is_heard(self) -> bool:
        positions: dict[str, set[tuple[str, int]]] = {}
        for client in self.subscribers:
            for ear in client.ears.values():
                if ear.is_subscribed and ear.position is not None:
                    positions.setdefault(ear.topic, set()).add(ear.position)
        said: dict[tuple[str, str], int] = {}
        for sending in self.oracle.sendings.values():
            if sending.position is not None:
                epoch, offset = sending.position
                said[sending.topic, epoch] = max(said.get((sending.topic, epoch), 0), offset)
        return all(
            len(places) == 1 and all(offset >= said.get((topic, epoch), 0) for epoch, offset in places)
            for topic, places in positions.items()
        )

    async def until_known(self) -> None:
        """Until every node knows who is here: presence of the topics, and which users are online."""
        deadline = max(self.fault_ended_s, monotonic()) + self.plan.lease_s * LEASES_TO_BE_RIGHT + 5
        while True:
            wrong = await self._what_is_not_known()
            if not wrong:
                break
            if monotonic() > deadline:
                self.oracle.wrong("presence", f"within {self.plan.lease_s:g} s and a half more: {wrong[:SHOWN]}")
                break
            await asyncio.sleep(0.05)
        self.outcome.presence_s = monotonic() - self.fault_began_s

    async def _what_is_not_known(self) -> list[str]:
        wrong = []
        for prober in self.probers:
            if not prober.node.is_running:
                continue
            for topic in self.kept:
                reply = await prober.request({"cmd": "presence", "topic": topic})
                here = {c.conn for c in self.subscribers if topic in c.ears and c.ears[topic].is_subscribed}
                listed = set(reply["result"]["members"]) if "result" in reply else {str(reply)}
                if listed != here:
                    more, less = sorted(listed - here), sorted(here - listed)
                    text = f"{len(more)} too many {more[:2]}, {len(less)} missing {less[:2]}"
                    wrong.append(f"{prober.node.name} {topic}: {text}")
            users = [client.user for client in self.subscribers]
            reply = await prober.request({"cmd": "status", "users": users})
            said = reply.get("result", {}).get("users", {})
            for client in self.subscribers:
                if said.get(client.user, {}).get("online") != bool(client.conn):
                    wrong.append(f"{prober.node.name} says of {client.user}: {said.get(client.user, reply)}")
        return wrong

    async def _judge(self) -> None:
        outcome = self.outcome
        self._judge_descriptors()
        self._judge_loops()
        outcome.figures = self.oracle.judge(self.calm, may_lose=self.plan.may_lose)
        await self._judge_entrances()
        outcome.violations = self.oracle.violations
        if outcome.violations:
            outcome.log = "\n".join(f"{node.name}:\n{node.log()}" for node in self.nodes)

    def _own_descriptors(self, node: ServedNode) -> int:
        return node.descriptors() - sum(1 for client in self.clients if client.conn and client.node is node)

    def _judge_descriptors(self) -> None:
        for node in self.nodes:
            if node.is_running:
                before, now = self._idle_descriptors[node.name], self._own_descriptors(node)
                if now > before + 3:
                    self.oracle.wrong("descriptors", f"{node.name} has {now}, had {before} beside those of its clients")

    def _judge_loops(self) -> None:
        lags = sorted(lag for prober in self.probers for at, lag in prober.lags_s if at >= self.fault_began_s)
        if not lags:
            return
        self.outcome.echo_s = lags[-1]
        self.outcome.idle_s = self.bystander.worst_s
        # What the machine makes a process wait that has nothing to do is not the node's.
        allowed_s = BLOCKED_S + 2 * self.bystander.worst_s
        late = [lag for lag in lags if lag > allowed_s]
        if len(late) > max(3, len(lags) // 50) and not self.plan.may_block:
            text = f"{len(late)} of {len(lags)} answers took more than {allowed_s:.2f} s, up to {lags[-1]:.2f} s"
            self.oracle.wrong("blocked", text)

    async def _judge_entrances(self) -> None:
        """The application was told once of everybody who came, and once of everybody who went."""
        await asyncio.gather(*(client.stop() for client in self.clients))
        events = self.folder / "events"
        end = monotonic() + (self.plan.lease_s * LEASES_TO_BE_RIGHT + 5 if self.is_cluster else 0)
        while True:
            came, went = entrances(events)
            missing = [conn for conn in came if not went[conn]]
            if not missing or monotonic() > end:
                break
            await asyncio.sleep(0.1)
        again = {conn: times for conn, times in went.items() if times > 1}
        strangers = [conn for conn in went if conn not in came]
        if not self.is_cluster:
            missing = []  # nobody is left who could tell what has become of those of a process that was killed
        for what, conns in (
            ("never ended", missing),
            ("ended more than once", again),
            ("ended without having come", strangers),
        ):
            if conns:
                self.oracle.wrong("disconnects", f"{len(conns)} of {len(came)} {what}: {list(conns)[:SHOWN]}")

    async def _end(self) -> None:
        for client in self.clients:
            client.abandon()
        for node in self.nodes:
            if node.is_running and node.is_frozen:
                node.thaw()
        await asyncio.gather(*(asyncio.to_thread(node.remove) for node in self.nodes), self.bystander.stop())
        shutil.rmtree(self.folder, ignore_errors=True)


def token_of(user: str) -> str:
    """For a user, valid for an hour."""
    return sign({"sub": user, "exp": int(time()) + 3600}, SECRET)
