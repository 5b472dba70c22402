"""A client that keeps a history of each topic, and finds out whether the server has broken its word."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.model.ledger import Ledger


class Line(Protocol):
    """A connection to the server, whatever it runs over."""

    conn_id: str

    def say(self, command: dict[str, Any]) -> None:
        """Send a command."""

    def receive(self) -> list[Any]:
        """What has come; everything that was sent before this was asked has had its effect."""

    def drop(self, *, politely: bool) -> None:
        """End the connection."""


@dataclass(slots=True)
class Following:
    """What a client knows of one topic."""

    subscribed: bool = False
    epoch: str = ""
    offset: int = 0
    last_order: int = -1
    """Of the last publication that was heard."""
    watching: bool = False
    """It is told who joins and leaves."""
    members: set[str] | None = None
    """Who it believes to be there; None if it does not watch, or did not ask for the list yet."""

    def end(self) -> None:
        """It is not subscribed any more."""
        self.subscribed = self.watching = False
        self.members = None


@dataclass
class Client:
    """One user, who comes back with what it knows."""

    name: str
    ledger: Ledger
    line: Line | None = None
    unread: deque[Any] = field(default_factory=deque)
    following: dict[str, Following] = field(default_factory=dict)
    asked: dict[int, tuple[str, str, dict[str, Any]]] = field(default_factory=dict)
    """By id: what is to be answered: command, topic, fields."""
    broken: int = 0
    """Times that it was told to have missed something."""
    is_degraded: bool = False
    """It was told that the engine is away."""

    def on(self, topic: str) -> Following:
        return self.following.setdefault(topic, Following())

    def say(self, reply_id: int, cmd: str, topic: str, **fields: Any) -> None:
        assert self.line is not None
        self.asked[reply_id] = (cmd, topic, fields)
        self.line.say({"id": reply_id, "cmd": cmd, "topic": topic, **fields})

    def lose_connection(self, *, politely: bool, reading: bool) -> None:
        """It is gone; with `reading` everything that came before was read."""
        assert self.line is not None
        if reading:
            self.read()
        self.line.drop(politely=politely)
        self.line = None
        self.unread.clear()
        self.asked.clear()
        self.is_degraded = False
        for following in self.following.values():
            following.end()

    def read(self, limit: int = 1_000_000) -> None:
        """Take note of what has come, or of the first of it."""
        assert self.line is not None
        self.unread.extend(self.line.receive())
        while self.unread and limit:
            limit -= 1
            message = self.unread.popleft()
            if "id" in message:
                self._answered(message, *self.asked.pop(message["id"]))
            elif message["event"] in ("degraded", "restored"):
                assert not (self.is_degraded and message["event"] == "degraded"), "once for each outage"
                self.is_degraded = message["event"] == "degraded"
            else:
                getattr(self, f"_on_{message['event']}")(self.on(message["topic"]), message)

    # Answers.

    def _answered(self, message: Any, cmd: str, topic: str, fields: dict[str, Any]) -> None:
        following = self.on(topic)
        if "error" in message:
            code = message["error"]["code"]
            assert (cmd, code) in {("sub", 105), ("sub", 113), ("pub", 113), ("presence", 108)}, message
            assert code != 105 or following.subscribed
        elif cmd == "sub":
            self._begin(following, topic, message["result"], fields)
        elif cmd == "unsub":
            following.end()
        elif cmd == "presence" and following.watching:
            following.members = set(message["result"]["members"])

    def _begin(self, following: Following, topic: str, result: Any, fields: dict[str, Any]) -> None:
        assert not following.subscribed
        following.subscribed = True
        following.watching = bool(fields.get("presence"))
        since = fields.get("recover")
        if "epoch" not in result:
            assert result == {"topic": topic, "recovered": False, "publications": []}
            return
        if not result["recovered"]:
            assert result["publications"] == []
            self.broken += since is not None
            following.epoch, following.offset = result["epoch"], result["offset"]
            return
        assert since is not None
        assert since["epoch"] == result["epoch"]
        following.epoch, following.offset = since["epoch"], since["offset"]
        for publication in result["publications"]:
            self._hear(following, topic, publication, skippable=False)
        assert following.offset == result["offset"]

    # Pushes.

    def _on_subscribed(self, following: Following, message: Any) -> None:
        assert not following.subscribed
        following.subscribed = True
        following.epoch, following.offset = message.get("epoch", ""), message.get("offset", 0)

    def _on_unsubscribed(self, following: Following, message: Any) -> None:
        assert following.subscribed
        assert (message["code"], message["resubscribe"]) in {(2000, False), (2500, True)}
        self.broken += message["resubscribe"]
        following.end()

    def _on_publication(self, following: Following, message: Any) -> None:
        assert following.subscribed, "nothing comes before the reply of sub, nor after that of unsub"
        self._hear(following, message["topic"], message, skippable=True)

    def _hear(self, following: Following, topic: str, publication: Any, *, skippable: bool) -> None:
        entry = self.ledger.entries[publication["data"]]
        assert entry.topic == topic
        offset = publication.get("offset", 0)
        assert offset == entry.offset
        if not entry.offset:
            assert entry.order > following.last_order, "once, and in the order of the publisher"
            following.last_order = entry.order
            return
        assert entry.epoch == following.epoch, "of another history than the one it was told to hear"
        assert offset > following.offset, "heard twice"
        self._check_skipped(following, topic, offset, skippable=skippable)
        following.offset = offset

    def _check_skipped(self, following: Following, topic: str, offset: int, *, skippable: bool) -> None:
        """Only what this connection does not want to hear may be missing before this."""
        missing = range(following.offset + 1, offset)
        if not missing:
            return
        assert skippable, "recovery has all of it"
        assert self.line is not None
        for entry in self.ledger.entries.values():
            if (entry.topic, entry.epoch) == (topic, following.epoch) and entry.offset in missing:
                assert entry.unheard_by == self.line.conn_id, f"a gap: {entry}"

    def _on_join(self, following: Following, message: Any) -> None:
        assert message["conn"] != getattr(self.line, "conn_id", "")
        if following.members is not None:
            following.members.add(message["conn"])

    def _on_leave(self, following: Following, message: Any) -> None:
        if following.members is not None:
            following.members.discard(message["conn"])

    def _on_presence(self, following: Following, message: Any) -> None:
        """Too much has happened to be told one by one, or was missed: whoever wants to know asks again."""
        assert message["connections"] >= message["users"]
        following.members = None

    # In the end.

    def check_complete(self, topic: str) -> None:
        """Nothing is under way any more: it has heard everything, or knows that it has not."""
        following = self.on(topic)
        position = self.ledger.position(topic)
        if not following.subscribed or position is None or not following.epoch:
            return
        assert following.epoch == position[0], "of a history that has ended"
        assert following.offset <= position[1]
        self._check_skipped(following, topic, position[1] + 1, skippable=True)
