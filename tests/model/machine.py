"""Random clients, and what they do: the rules that both worlds have in common."""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any, Protocol

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.model.client import Client, Line
from tests.model.ledger import Ledger

RUNS = int(os.environ.get("FASTWS_TEST_MODEL_RUNS", "0"))
"""How many scripts are played in each world; 0: a few."""

SIZE = 4
TTL_S = 60.0
NAMES = ("ann", "ben", "cat", "dan")
HISTORY = ("chat:a", "chat:b")
TOPICS = (*HISTORY, "plain:c")
NAMESPACES: dict[str, dict[str, Any]] = {
    "chat": {
        "subscribe": "all",
        "publish": "all",
        "history_size": SIZE,
        "history_ttl": TTL_S,
        "recover": True,
        "presence": True,
        "join_leave": True,
    },
    "plain": {"subscribe": "all", "publish": "all"},
}

who = st.sampled_from(NAMES)
topics = st.sampled_from((*HISTORY, *HISTORY, "plain:c"))


def play_settings(few: int, steps: int) -> settings:
    """How often and how long a machine plays."""
    return settings(
        max_examples=RUNS or few,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


class World(Protocol):
    """A server, with what it does on its own."""

    ledger: Ledger

    def connect(self, name: str, codec: str) -> Line:
        """A connection of this user, welcomed."""

    def topic(self, topic: str) -> str:
        """What this topic is called in this world."""

    def publish(self, topic: str, data: Any, exclude: str) -> None:
        """The server publishes."""

    def order(self, action: str, name: str, topic: str) -> None:
        """The server subscribes or unsubscribes a user."""

    def forget(self, topic: str) -> None:
        """The history of the topic begins anew."""

    def now_s(self) -> float:
        """Its clock."""

    def rest(self) -> None:
        """Let everything that is under way arrive."""

    def members(self, topic: str) -> set[str]:
        """The connections that are subscribed, as the server has it."""

    def close(self) -> None:
        """The end."""


class Conversation(RuleBasedStateMachine):
    """Clients talk with a server, and every client checks what it is told."""

    world: World

    def begin(self, world: World) -> None:
        self.world = world
        self.clients = {name: Client(name, world.ledger) for name in NAMES}
        self.numbers = itertools.count(1)
        self.is_prompt = True
        """Answers come at once."""

    def here(self, name: str) -> Client:
        """The client, connected."""
        client = self.clients[name]
        if client.line is None:
            codec = "fastws.msgpack.v1" if NAMES.index(name) % 2 else "fastws.json.v1"
            client.line = self.world.connect(name, codec)
        return client

    # What clients do.

    @rule(name=who, topic=topics, recover=st.booleans(), presence=st.booleans())
    def subscribe(self, name: str, topic: str, recover: bool, presence: bool) -> None:
        client, topic = self.here(name), self.world.topic(topic)
        known = client.on(topic)
        fields: dict[str, Any] = {"presence": True} if presence else {}
        if recover and known.epoch:
            fields["recover"] = {"epoch": known.epoch, "offset": known.offset}
            if self.is_prompt:
                client.read()
                fields["recover"] = {"epoch": known.epoch, "offset": known.offset}
        elif recover:
            fields["recover"] = {"epoch": "never was", "offset": 0}
        expected = self.world.ledger.is_kept(topic, known.epoch, known.offset, self.world.now_s())
        broken, was_subscribed = client.broken, known.subscribed
        client.say(next(self.numbers), "sub", topic, **fields)
        if self.is_prompt and "recover" in fields and not was_subscribed and topic.startswith("chat:"):
            client.read()
            assert expected in (None, client.broken == broken), "neither too careful nor a lie"

    @rule(name=who, topic=topics)
    def unsubscribe(self, name: str, topic: str) -> None:
        self.here(name).say(next(self.numbers), "unsub", self.world.topic(topic))

    @rule(name=who, topic=topics, echo=st.booleans(), key=st.sampled_from([None, None, None, "k", "l"]))
    def publish(self, name: str, topic: str, echo: bool, key: str | None) -> None:
        number = next(self.numbers)
        fields = {"key": key} if key is not None else {}
        self.here(name).say(number, "pub", self.world.topic(topic), data=number, echo=echo, **fields)

    @rule(name=who, topic=topics, count=st.integers(2, 6))
    def publish_many(self, name: str, topic: str, count: int) -> None:
        for _ in range(count):
            self.publish(name, topic, echo=True, key=None)

    @rule(name=who, topic=st.sampled_from(HISTORY))
    def ask_who_is_there(self, name: str, topic: str) -> None:
        self.here(name).say(next(self.numbers), "presence", self.world.topic(topic))

    @rule(name=who, limit=st.sampled_from([1, 3, 1000]))
    def read(self, name: str, limit: int) -> None:
        self.here(name).read(limit)

    @rule(name=who, politely=st.booleans(), reading=st.booleans())
    def drop(self, name: str, politely: bool, reading: bool) -> None:
        if self.clients[name].line is not None:
            self.clients[name].lose_connection(politely=politely, reading=reading)

    @rule(name=who, topic=st.sampled_from(HISTORY), missed=st.integers(0, SIZE + 1))
    def come_back(self, name: str, topic: str, missed: int) -> None:
        """The usual thing: it loses its connection, misses something, and recovers."""
        self.drop(name, politely=False, reading=True)
        for _ in range(missed):
            self.publish_by_server(topic, None)
        self.subscribe(name, topic, recover=True, presence=False)

    @rule(name=who, other=who, topic=st.sampled_from(HISTORY))
    def look_at_one_who_passes(self, name: str, other: str, topic: str) -> None:
        """It watches, and asks who is there while somebody is, but not for long."""
        self.drop(name, politely=True, reading=True)
        self.subscribe(name, topic, recover=False, presence=True)
        self.subscribe(other, topic, recover=False, presence=False)
        self.ask_who_is_there(name, topic)
        self.unsubscribe(other, topic)

    # What the server does.

    @rule(topic=topics, exclude=st.sampled_from([None, *NAMES]))
    def publish_by_server(self, topic: str, exclude: str | None) -> None:
        line = self.clients[exclude].line if exclude is not None else None
        self.world.publish(self.world.topic(topic), next(self.numbers), line.conn_id if line is not None else "")

    @rule(name=who, topic=topics, action=st.sampled_from(["subscribe", "unsubscribe"]))
    def order(self, name: str, topic: str, action: str) -> None:
        self.world.order(action, name, self.world.topic(topic))

    @precondition(lambda self: self.is_prompt)
    @rule(topic=st.sampled_from(HISTORY))
    def forget(self, topic: str) -> None:
        self.world.forget(self.world.topic(topic))

    # In the end.

    def finish(self) -> None:
        """Everything arrives, and every client has what it was promised."""
        self.world.rest()
        for topic in TOPICS:
            self.world.publish(self.world.topic(topic), next(self.numbers), "")
        self.world.rest()
        here = [client for client in self.clients.values() if client.line is not None]
        for client in here:
            client.read()
            assert not client.asked, "every command was answered"
        for topic in map(self.world.topic, HISTORY):
            subscribers = {client.line.conn_id for client in here if client.line and client.on(topic).subscribed}
            assert self.world.members(topic) == subscribers
            for client in here:
                client.check_complete(topic)
                members = client.on(topic).members
                assert members is None or members == subscribers

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.finish()
        finally:
            self.world.close()
