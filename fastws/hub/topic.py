"""One topic that somebody here hears."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

import orjson

from fastws.core.codecs import CODECS
from fastws.core.codecs.data import fitted
from fastws.core.publication import Publication
from fastws.core.topics import Namespace
from fastws.hub.news import Roll
from fastws_ext.fanout import Audience, Tally
from fastws_ext.frames import encode_frame
from fastws_ext.loop_data import LoopData

UNKNOWN: Final = -1
"""The offset of a topic of which nobody here has been told yet where it is."""

MAX_KEPT: Final = 1000
"""Publications of one topic that are kept until something before them, or an answer, is there."""
MAX_KEPT_BYTES: Final = 4_194_304

_POLICIES: Final = {"disconnect": 0, "drop_oldest": 1, "conflate": 2}
_CONFLATE: Final = 2
_DIALECTS: Final = tuple((codec.index, codec.opcode, codec.publication) for codec in CODECS)
_ALIKE: Final = b""  # where the topic itself is the key


class Arrival(NamedTuple):
    """A publication as the engine reported it."""

    publication: Publication
    exclude: str
    epoch: str


class Kept:
    """Publications that wait, in the order in which they came."""

    __slots__ = ("arrivals", "size")

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.size = 0
        """Bytes of their data."""

    def add(self, arrival: Arrival) -> bool:
        """Keep one more; False if that would be too much."""
        self.size += len(arrival.publication.data)
        if len(self.arrivals) >= MAX_KEPT or self.size > MAX_KEPT_BYTES:
            return False
        self.arrivals.append(arrival)
        return True

    def push(self, arrival: Arrival) -> None:
        """Keep one more; the oldest ones go where that would be too much."""
        arrivals = self.arrivals
        arrivals.append(arrival)
        self.size += len(arrival.publication.data)
        while len(arrivals) > MAX_KEPT or (self.size > MAX_KEPT_BYTES and len(arrivals) > 1):
            self.size -= len(arrivals.pop(0).publication.data)


class Topic:
    """A topic with its audience. It is made by the hub and lives as long as somebody hears it."""

    __slots__ = (
        *("audience", "awaited", "epoch", "held", "joining", "key", "name", "namespace", "offset", "recent", "roll"),
        "seen",
    )

    def __init__(
        self, loop_data: LoopData, key: str, name: str, namespace: Namespace, tally: Tally | None = None
    ) -> None:
        """`tally` counts what becomes of deliveries."""
        self.key = key
        """Its name inside the server, tenant included."""
        self.name = name
        self.namespace = namespace
        self.audience = Audience(loop_data, _POLICIES[namespace.slow_policy], tally)
        self.awaited = 0
        """Connections that will hear it once the engine has answered."""
        self.joining: asyncio.Future[None] | None = None
        """Done when the engine hears it; it may have failed. None: it is heard."""
        self.roll = Roll() if namespace.presence or namespace.join_leave else None
        """Who is present; None where the namespace does not tell."""
        self.epoch = ""
        self.offset = UNKNOWN
        """What the audience has heard: everything up to there. For topics with history."""
        self.seen = 0
        """Where it was when the watch looked last."""
        self.recent: Kept | None = None
        """What came since the first of those who are awaited has asked, or the newest of it; None while nobody is."""
        self.held: Kept | None = None
        """What came and is not delivered, while something before it is missing."""

    def deliver(self, publication: Publication, exclude: Any = None) -> int:
        """Send a publication to everyone who hears the topic but `exclude`; returns to how many.

        It is encoded once for each codec that somebody here speaks.
        """
        if self.roll is not None and self.roll.news is not None:
            self.roll.news.precede(publication.conn)
        audience = self.audience
        frames: list[bytes | None] = []  # a generator's turns would cost as much as an encoding
        for index, opcode, encode in _DIALECTS:
            payload = encode(self.name, publication) if audience.count(index) else b""
            frames.append(encode_frame(opcode, payload) if payload else None)
        conflate = self._conflation(publication.data) if audience.policy == _CONFLATE else None
        return audience.publish(tuple(frames), exclude, conflate)

    def _conflation(self, data: bytes) -> bytes:
        """What tells which queued publications this one replaces."""
        field = self.namespace.conflate_key
        if not field:
            return _ALIKE
        content = orjson.loads(data)
        return fitted(orjson.dumps(content[field])) if isinstance(content, dict) and field in content else _ALIKE
