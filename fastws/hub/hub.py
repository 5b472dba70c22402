"""The hub: what the engine reports reaches the connections of this process here, without Python per connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastws.core.codecs import CODECS
from fastws.core.publication import Publication
from fastws.core.topics import Namespace
from fastws.engine.contract import Engine
from fastws.hub.topic import Topic
from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from fastws_ext.loop_data import LoopData


class Hub:
    """The connections of the client protocol in this process, and what they hear. It is the engine's `EngineEvents`."""

    def __init__(self, loop_data: LoopData, engine: Engine) -> None:
        self.topics: dict[str, Topic] = {}
        """The topics that somebody hears, by their names inside the server."""
        self.connections: dict[int, Any] = {}
        """By number."""
        self.deliveries = 0
        """Publications times hearers, so far."""
        self._loop_data = loop_data
        self._engine = engine
        self._everyone = Audience(loop_data)

    # Connections.

    def enter(self, conn: Any) -> None:
        """A connection is ready to hear."""
        self.connections[conn.number] = conn
        self._everyone.add(conn)

    def leave(self, conn: Any, topics: Iterable[Topic]) -> None:
        """A connection has ended, and is in no audience any more. `topics`: those it was subscribed to."""
        self.connections.pop(conn.number, None)
        for topic in topics:
            self.settle(topic)

    def find(self, conn_id: str) -> Any:
        """The connection of that id, which ends in its number, or None if it is not here."""
        _, _, number = conn_id.rpartition("-")
        try:
            conn = self.connections.get(int(number, 16))
        except ValueError:
            return None
        return conn if conn is not None and conn.id == conn_id else None

    # Topics.

    def topic(self, key: str, name: str, namespace: Namespace) -> Topic:
        """The topic known inside the server as `key`, made if nobody heard it until now.

        Call `subscribe` after this, or `settle` if it came to nothing.
        """
        topic = self.topics.get(key)
        if topic is None:
            topic = self.topics[key] = Topic(self._loop_data, key, name, namespace)
            self._engine.join(key)
        return topic

    def subscribe(self, conn: Any, topic: Topic) -> bool:
        """Let a connection hear what is published from now on. False: it has ended, or hears it already."""
        added = topic.audience.add(conn)
        self.settle(topic)
        return added

    def unsubscribe(self, conn: Any, topic: Topic) -> None:
        """Nothing of the topic is sent to the connection after this."""
        topic.audience.discard(conn)
        self.settle(topic)

    def settle(self, topic: Topic) -> None:
        """Let go of a topic that nobody hears or is about to hear."""
        if not len(topic.audience) and not topic.awaited and self.topics.get(topic.key) is topic:
            del self.topics[topic.key]
            self._engine.leave(topic.key)

    # What the engine reports.

    def on_publication(self, topic: str, publication: Publication, exclude: str) -> None:
        heard = self.topics.get(topic)
        if heard is not None:
            self.deliveries += heard.deliver(publication, self.find(exclude) if exclude else None)

    def on_announcement(self, data: bytes, ts_ms: int) -> None:
        everyone = self._everyone
        frames = tuple(
            encode_frame(codec.opcode, codec.message(data, ts_ms)) if everyone.count(codec.index) else None
            for codec in CODECS
        )
        self.deliveries += everyone.publish(frames)
