"""Which master has which partition, what is believed of who says otherwise, and the connections to masters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastws.engine.redis.backbone.cluster.topology import Place, View
from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.names import PARTITIONS

GRACE_S: Final = 2.0
"""Seconds for which a change is believed against members that have not heard of it."""


class Owners:
    """Of all partitions. Nothing in here waits."""

    def __init__(self, connect: Callable[[Place], Server]) -> None:
        """`connect` makes a server that is connected to from then on."""
        self._connect: Final = connect
        self._servers: dict[Place, Server] = {}
        """The masters that have partitions."""
        self._owners: list[Server | None] = [None] * PARTITIONS
        self._places: list[Place | None] = [None] * PARTITIONS
        self._assigned: list[tuple[float, int, Place | None]] = [(0.0, -1, None)] * PARTITIONS
        """When each partition got its owner, what the cluster's epoch was then, and where it was before."""
        self._epoch = -1

    @property
    def servers(self) -> list[Server]:
        """The masters that have partitions."""
        return list(self._servers.values())

    def of(self, partition: int) -> Server | None:
        """Who has it; None while that is not known."""
        return self._owners[partition]

    def partitions_of(self, server: Server) -> list[int]:
        """What a master has."""
        return [partition for partition, owner in enumerate(self._owners) if owner is server]

    def news(self, view: View, now_s: float) -> dict[int, Place]:
        """What a member says that is new, and believed."""
        self._epoch = max(self._epoch, view.epoch)
        changes: dict[int, Place] = {}
        for partition, place in enumerate(view.owners):
            if place is None or place == self._places[partition]:
                continue  # a slot that nobody has is one whose master is away, if that is so
            owner = self._owners[partition]
            at_s, epoch, former = self._assigned[partition]
            is_new = owner is not None and owner.failure is None and now_s - at_s < GRACE_S
            # Who votes for a new epoch knows it before the slots: who names the former owner may just be late.
            if is_new and (place == former or view.epoch <= epoch):
                continue
            changes[partition] = place
        return changes

    def news_in(self, places: Mapping[int, Place]) -> dict[int, Place]:
        """What is new of where partitions are said to be by those who had them."""
        return {partition: place for partition, place in places.items() if place != self._places[partition]}

    def assign(self, changes: Mapping[int, Place], now_s: float) -> list[Server]:
        """Note who has partitions from now on; the masters that have none any more, for the caller to stop."""
        for partition, place in changes.items():
            self._assigned[partition] = (now_s, self._epoch, self._places[partition])
            server = self._servers.get(place)
            if server is None:
                self._servers[place] = server = self._connect(place)
            self._owners[partition] = server
            self._places[partition] = place
        wanted = set(self._owners)
        leaving = [place for place, server in self._servers.items() if server not in wanted]
        return [self._servers.pop(place) for place in leaving]

    def clear(self) -> list[Server]:
        """All masters, for the caller to stop."""
        servers, self._servers = self._servers, {}
        return list(servers.values())
