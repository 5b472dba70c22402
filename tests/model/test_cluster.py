"""The same random clients at two nodes, which one Redis connects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis.stateful import initialize

from tests.model.machine import Conversation, play_settings
from tests.model.on_cluster import Cluster, ClusterWorld

_clusters: list[Cluster] = []


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with Cluster() as cluster:
        _clusters.append(cluster)
        yield
        _clusters.clear()


class OverTwoNodes(Conversation):
    """Each script has topics and users of its own."""

    @initialize()
    def start(self) -> None:
        self.begin(ClusterWorld(_clusters[0]))


TestOverTwoNodes = OverTwoNodes.TestCase
TestOverTwoNodes.settings = play_settings(few=25, steps=30)
