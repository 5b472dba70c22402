"""One topic that somebody here hears."""

from __future__ import annotations

from typing import Any, Final

import orjson

from fastws.core.codecs import CODECS
from fastws.core.publication import Publication
from fastws.core.topics import Namespace
from fastws.hub.roll import Roll
from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from fastws_ext.loop_data import LoopData

_POLICIES: Final = {"disconnect": 0, "drop_oldest": 1, "conflate": 2}
_CONFLATE: Final = 2
_ALIKE: Final = b""  # where the topic itself is the key


class Topic:
    """A topic with its audience. It is made by the hub and lives as long as somebody hears it."""

    __slots__ = ("audience", "awaited", "key", "name", "namespace", "roll")

    def __init__(self, loop_data: LoopData, key: str, name: str, namespace: Namespace) -> None:
        self.key = key
        """Its name inside the server, tenant included."""
        self.name = name
        self.namespace = namespace
        self.audience = Audience(loop_data, _POLICIES[namespace.slow_policy])
        self.awaited = 0
        """Connections that will hear it once the engine has answered."""
        self.roll = Roll() if namespace.presence or namespace.join_leave else None
        """Who is present; None where the namespace does not tell."""

    def deliver(self, publication: Publication, exclude: Any = None) -> int:
        """Send a publication to everyone who hears the topic but `exclude`; returns to how many.

        It is encoded once for each codec that somebody here speaks.
        """
        if self.roll is not None and self.roll.news is not None:
            self.roll.news.precede(publication.conn)
        audience = self.audience
        frames = tuple(
            encode_frame(codec.opcode, codec.publication(self.name, publication))
            if audience.count(codec.index)
            else None
            for codec in CODECS
        )
        conflate = self._conflation(publication.data) if audience.policy == _CONFLATE else None
        return audience.publish(frames, exclude, conflate)

    def _conflation(self, data: bytes) -> bytes:
        """What tells which queued publications this one replaces."""
        field = self.namespace.conflate_key
        if not field:
            return _ALIKE
        content = orjson.loads(data)
        return orjson.dumps(content[field]) if isinstance(content, dict) and field in content else _ALIKE
