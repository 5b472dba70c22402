"""Who has which partition, when members say different things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from fastws.engine.redis.backbone.cluster.owners import GRACE_S, Owners
from fastws.engine.redis.backbone.cluster.topology import Place, View
from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.names import PARTITIONS

A, B, C = ("a", 1), ("b", 2), ("c", 3)


class Master:
    """A server that may be away."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.failure: Exception | None = None


def owners_of(view: View) -> Owners:
    owners = Owners(cast("Callable[[Place], Server]", Master))
    assert owners.assign(owners.news(view, 0.0), 0.0) == []
    return owners


def view(epoch: int, *places: Place | None) -> View:
    """Partitions in turn."""
    return View(epoch, [places[partition % len(places)] for partition in range(PARTITIONS)], [])


def placed(owners: Owners, partition: int) -> Place:
    return cast("Any", owners.of(partition)).place


def test_every_master_is_connected_to_once_and_left_when_it_has_nothing() -> None:
    owners = owners_of(view(1, A, B))
    assert len(owners.servers) == 2
    first, second = owners.of(0), owners.of(1)
    assert first is not None
    assert owners.partitions_of(first) == list(range(0, PARTITIONS, 2))
    assert owners.assign({1: C}, 1.0) == []
    assert len(owners.servers) == 3
    changes = dict.fromkeys(range(3, PARTITIONS, 2), C)
    assert owners.assign(changes, 1.0) == [second]
    assert {placed(owners, partition) for partition in range(PARTITIONS)} == {A, C}
    assert owners.news_in({0: A, 1: A, 3: C}) == {1: A}
    assert owners.clear() == [owners.of(0), owners.of(1)]
    assert owners.servers == []


def test_a_slot_that_nobody_has_stays_where_it_was() -> None:
    owners = owners_of(view(1, A))
    assert owners.news(view(2, None), 10.0) == {}
    assert owners.of(0) is not None


def test_who_is_late_is_not_believed_for_a_while() -> None:
    owners = owners_of(view(5, A))
    owners.news(view(6, A), 10.0)  # the epoch is known before the change
    owners.assign(dict.fromkeys(range(PARTITIONS), B), 10.0)
    assert owners.news(view(6, A), 10.0 + GRACE_S / 2) == {}, "where it was before"
    assert owners.news(view(6, C), 10.0 + GRACE_S / 2) == {}, "no newer than what is known"
    assert len(owners.news(view(7, C), 10.0 + GRACE_S / 2)) == PARTITIONS
    assert len(owners.news(view(6, A), 10.0 + GRACE_S)) == PARTITIONS
    cast("Any", owners.of(0)).failure = OSError()
    assert len(owners.news(view(6, C), 10.0 + GRACE_S / 2)) == PARTITIONS, "who is away is no good owner"
