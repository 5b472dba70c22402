"""What was said, answered and heard, and what of it breaks the server's word.

Every message has an id of its own, which is its data. `Ear` is one subscriber of one topic over all its connections;
`Oracle` compares what all of them heard with what the publishers were told. Promises are judged as they are broken, so
that the text of a fault says what came just before it; what can be known only at the end is asked of `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

KEPT: Final = "kept"
"""Namespace of topics with history; all others are without."""

LATE_S: Final = 1.0
"""What is answered or heard later than this was delayed by the fault."""

Position = tuple[str, int]


def is_kept(topic: str) -> bool:
    """Whether the topic has history."""
    return topic.partition(":")[0] == KEPT


@dataclass(slots=True)
class Sending:
    """One message, with all attempts of its publisher to get rid of it."""

    id: str
    topic: str
    path: str
    """The publisher and its connection: on one path messages keep their order."""
    number: int
    """Counts those of one publisher."""
    began_s: float
    acked_s: float | None = None
    position: Position | None = None
    is_degraded: bool = False
    """The answer was: to those who are on this node."""
    refused: int = 0
    """How often it was answered with an error."""
    unsure: int = 0
    """How often there was no answer, as the connection ended."""
    worst_s: float = 0.0
    """The longest that an answer took."""
    last_attempt_s: float = 0.0
    last_node: str = ""
    """Where the last attempt was made."""


@dataclass(slots=True)
class Span:
    """From `start` (exclusive) to `end` (inclusive) everything of the epoch has to have been heard."""

    epoch: str
    start: int
    end: int


@dataclass
class Figures:
    """What came of a run."""

    sent: int = 0
    acked: int = 0
    refused: int = 0
    """Answers that said no."""
    unsure: int = 0
    """Messages of which their publishers never learned anything."""
    degraded: int = 0
    """Acknowledged for this node alone."""
    delivered: int = 0
    lost: int = 0
    """Acknowledged messages that a subscriber who was not told of a gap never heard."""
    missed: int = 0
    """Acknowledged messages without history that somebody subscribed did not hear: promised is at most once."""
    duplicated: int = 0
    """Times that a subscriber heard a message again."""
    told: int = 0
    """Times that a subscriber was told that it has missed something."""
    worst_answer_s: float = 0.0


class Ear:
    """What one subscriber hears of one topic. Times are those of `time.monotonic`."""

    def __init__(self, oracle: Oracle, name: str, topic: str) -> None:
        self.oracle = oracle
        self.name = name
        self.topic = topic
        self.epoch = ""
        self.offset = 0
        self.is_subscribed = False
        self.spans: list[Span] = []
        self.listening: list[list[float]] = []
        """Since when and until when it was subscribed; the last one may be open."""
        self.heard: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        """By path of a publisher: its last message."""
        self.told: list[tuple[Position, Position]] = []
        self.told_again: list[tuple[Position, Position]] = []
        """From where to where the epoch changed without its having missed anything, as it was told."""

    @property
    def position(self) -> Position | None:
        """What it asks to go on from; None at first, and where there is no history."""
        return (self.epoch, self.offset) if self.epoch else None

    def began(self, result: Mapping[str, Any], since: Position | None, now_s: float) -> None:
        """The answer to `sub` with `recover` at `since`."""
        if self.is_subscribed:
            self._wrong("twice subscribed", str(result))
        self.is_subscribed = True
        self.listening.append([now_s])
        if "epoch" not in result:
            return
        now: Position = (result["epoch"], result["offset"])
        if since is None or not result["recovered"]:
            if result["publications"]:
                self._wrong("unasked", "publications without recovery")
            if since is not None:
                self.told.append((since, now))
                self.oracle.troubled(now_s)
            self.epoch, self.offset = now
            self.spans.append(Span(now[0], now[1], now[1]))
            return
        if now[0] != since[0]:
            self.told_again.append((since, now))
            self.epoch = now[0]
            self.spans.append(Span(now[0], self.offset, self.offset))
        for publication in result["publications"]:
            self.hear(publication, now_s)
        if self.offset != now[1]:
            self._wrong("gap", f"recovered from {since} up to {self.offset}, the topic is at {now}")
            self._moved(now[1])

    def hear(self, publication: Mapping[str, Any], now_s: float) -> None:
        """A publication, pushed or recovered."""
        if not self.is_subscribed:
            self._wrong("unasked", f"{publication} without a subscription")
        message: str = publication["data"]
        sending = self.oracle.sendings.get(message)
        if sending is None or sending.topic != self.topic:
            self._wrong("ghost", f"nobody said {publication}")
            return
        self.oracle.on_heard(sending, now_s)
        times = self.heard.get(message, 0)
        self.heard[message] = times + 1
        self.oracle.repetitions += times > 0
        if is_kept(self.topic):
            if times and publication["offset"] > self.offset:
                self.oracle.repeated.append((self.name, message))
            self._count(publication["offset"], message)
            return
        if times:
            self._wrong("duplicate", f"{message} again, at most once is promised")
        last = self.numbers.get(sending.path, -1)
        if not times and sending.number < last:
            self._wrong("order", f"{message} after {last} of {sending.path}")
        self.numbers[sending.path] = max(last, sending.number)

    def ended(self, now_s: float) -> None:
        """The subscription has ended, or its connection."""
        if self.is_subscribed:
            self.is_subscribed = False
            self.listening[-1].append(now_s)

    def _count(self, offset: int, message: str) -> None:
        if offset <= self.offset:
            self._wrong("duplicate", f"{message} at {offset} after {self.offset} of {self.epoch}")
            return
        if offset > self.offset + 1:
            self._wrong("gap", f"{message} at {offset} after {self.offset} of {self.epoch}")
            self.spans.append(Span(self.epoch, offset - 1, offset - 1))
        self.oracle.place(self.topic, (self.epoch, offset), message, self.name)
        self._moved(offset)

    def _moved(self, offset: int) -> None:
        self.offset = offset
        self.spans[-1].end = offset

    def _wrong(self, kind: str, text: str) -> None:
        self.oracle.wrong(kind, f"{self.name} on {self.topic}: {text}")

    def was_listening(self, from_s: float, until_s: float) -> bool:
        """Whether it was subscribed all the time."""
        return any(since <= from_s and (not end or end[0] >= until_s) for since, *end in self.listening)


class Oracle:
    """One per run. Times are those of `time.monotonic`."""

    def __init__(self) -> None:
        self.sendings: dict[str, Sending] = {}
        self.ears: list[Ear] = []
        self.repeated: list[tuple[str, str]] = []
        """Messages with history that came twice, at different positions."""
        self.repetitions = 0
        self.violations: list[tuple[str, str]] = []
        self.last_trouble_s = 0.0
        """The last time that something was refused, late, repaired or unanswered."""
        self.away: list[tuple[float, float, str]] = []
        """When Redis certainly could not answer, and which node; empty: none of them."""
        self.places: dict[tuple[str, str, int], str] = {}
        self.deliveries = 0

    # What publishers do.

    def begin(self, message: str, topic: str, path: str, number: int, now_s: float) -> Sending:
        """Somebody says something, for the first time."""
        sending = Sending(message, topic, path, number, now_s, last_attempt_s=now_s)
        self.sendings[message] = sending
        return sending

    def acked(self, sending: Sending, result: Mapping[str, Any], now_s: float) -> None:
        """The server says that it is done."""
        self._answered(sending, now_s)
        if sending.acked_s is not None:
            self.wrong("lie", f"{sending.id} was acknowledged twice")
        sending.acked_s = now_s
        sending.is_degraded = bool(result.get("degraded"))
        if sending.is_degraded:
            self.troubled(now_s)
        elif sending.last_node in self._cut_off(sending.last_attempt_s, now_s, sending.last_node):
            self.wrong("lie", f"{sending.id} on {sending.topic} was acknowledged while Redis was away")
        if not is_kept(sending.topic):
            return
        if "offset" not in result:
            self.wrong("lie", f"{sending.id} was acknowledged without a place: {dict(result)}")
            return
        sending.position = (result["epoch"], result["offset"])
        self.place(sending.topic, sending.position, sending.id, "its publisher")

    def refused(self, sending: Sending, code: int, now_s: float) -> None:
        """The server says that it is not done."""
        self._answered(sending, now_s)
        sending.refused += 1
        self.troubled(now_s)
        if code != 113:
            self.wrong("answer", f"{sending.id} on {sending.topic} was refused with {code}")

    def _cut_off(self, since_s: float, until_s: float, node: str) -> set[str]:
        """Which nodes could not ask Redis all that time; `node` is among them if that were all."""
        return {who or node for since, until, who in self.away if since <= since_s and until_s <= until}

    def unanswered(self, sending: Sending, now_s: float) -> None:
        """The connection ended before an answer."""
        sending.unsure += 1
        self.troubled(now_s)

    def _answered(self, sending: Sending, now_s: float) -> None:
        took = now_s - sending.last_attempt_s
        sending.worst_s = max(sending.worst_s, took)
        if took > LATE_S:
            self.troubled(now_s)

    # What is heard.

    def ear(self, name: str, topic: str) -> Ear:
        """A subscriber to be."""
        ear = Ear(self, name, topic)
        self.ears.append(ear)
        return ear

    def on_heard(self, sending: Sending, now_s: float) -> None:
        """A subscriber has heard this."""
        self.deliveries += 1
        if sending.acked_s is not None and now_s - sending.acked_s > LATE_S:
            self.troubled(now_s)

    def place(self, topic: str, position: Position, message: str, who: str) -> None:
        """Somebody was told that this is there: everybody has to be told the same."""
        known = self.places.setdefault((topic, *position), message)
        if known != message:
            self.wrong("disagreement", f"{topic} {position} is {message} for {who}, was {known}")

    def troubled(self, now_s: float) -> None:
        """Something has gone wrong now, or was repaired."""
        self.last_trouble_s = max(self.last_trouble_s, now_s)

    def wrong(self, kind: str, text: str) -> None:
        """A promise is broken."""
        self.violations.append((kind, text))

    # In the end.

    def judge(self, calm: Iterable[tuple[float, float]], *, may_lose: bool = False) -> Figures:
        """When nothing is under way any more: find what is missing, and count.

        :param calm: times in which nothing was broken: what is said in them without history is heard by all.
        :param may_lose: Redis may have lost what it had acknowledged.
        """
        lost = self._lost()
        missed = sorted(set(self._missed_without_history()))
        calm = tuple(calm)
        for message, name in missed:
            sending = self.sendings[message]
            until = sending.acked_s or sending.began_s
            if any(since <= sending.began_s and until + LATE_S <= end for since, end in calm):
                self.wrong("lost", f"{message} on {sending.topic} was not heard by {name}, and nothing was wrong then")
        if not may_lose:
            for message, names in lost.items():
                sending = self.sendings[message]
                self.wrong("lost", f"{message} at {sending.position} of {sending.topic} not heard by {names[:3]}")
            for name, message in self.repeated:
                self.wrong("duplicate", f"{message} reached {name} at two places of the history")
        return self._figures(lost, missed)

    def _figures(self, lost: Mapping[str, list[str]], missed: list[tuple[str, str]]) -> Figures:
        sendings = self.sendings.values()
        return Figures(
            sent=len(sendings),
            acked=sum(sending.acked_s is not None for sending in sendings),
            refused=sum(sending.refused for sending in sendings),
            unsure=sum(sending.acked_s is None and sending.unsure > 0 for sending in sendings),
            degraded=sum(sending.is_degraded for sending in sendings),
            delivered=self.deliveries,
            lost=len(lost),
            missed=len({message for message, _ in missed}),
            duplicated=self.repetitions,
            told=sum(len(ear.told) for ear in self.ears),
            worst_answer_s=max((sending.worst_s for sending in sendings), default=0.0),
        )

    def _lost(self) -> dict[str, list[str]]:
        """Acknowledged messages with history and the subscribers that neither heard them nor were told."""
        lost: dict[str, list[str]] = {}
        by_topic: dict[str, list[Sending]] = {}
        for sending in self.sendings.values():
            if sending.position is not None:
                by_topic.setdefault(sending.topic, []).append(sending)
        for ear in self.ears:
            for sending in by_topic.get(ear.topic, ()):
                if sending.id not in ear.heard and self._was_due(ear, sending):
                    lost.setdefault(sending.id, []).append(ear.name)
        return lost

    def _was_due(self, ear: Ear, sending: Sending) -> bool:
        assert sending.position is not None
        assert sending.acked_s is not None
        epoch, offset = sending.position
        if any(span.epoch == epoch and span.start < offset <= span.end for span in ear.spans):
            return True
        if any(_covers(since, now, sending.position) for since, now in ear.told):
            return False
        if any(since[0] == epoch and offset > since[1] for since, _ in ear.told_again):
            return True  # it was told that it had missed nothing
        # After the last it heard: it should have, if it was there to hear it and still is.
        return bool(ear.spans) and ear.spans[-1].epoch == epoch and offset > ear.spans[-1].end and ear.is_subscribed

    def _missed_without_history(self) -> Iterator[tuple[str, str]]:
        by_topic: dict[str, list[Ear]] = {}
        for ear in self.ears:
            by_topic.setdefault(ear.topic, []).append(ear)
        for sending in self.sendings.values():
            if sending.acked_s is None or is_kept(sending.topic) or sending.is_degraded:
                continue
            for ear in by_topic.get(sending.topic, ()):
                if sending.id not in ear.heard and ear.was_listening(sending.began_s, sending.acked_s + LATE_S):
                    yield sending.id, ear.name


def _covers(since: Position, now: Position, position: Position) -> bool:
    """Whether a position lies in what somebody who was at `since` and then at `now` knows to have missed."""
    epoch, offset = position
    if since[0] == now[0]:
        return epoch == since[0] and since[1] < offset <= now[1]
    return (epoch == since[0] and offset > since[1]) or (epoch == now[0] and offset <= now[1])
