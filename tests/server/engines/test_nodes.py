"""From processes to nodes."""

from __future__ import annotations

from fastws.engine.contract import NodeFigures
from fastws.observe.admin.results import Node
from fastws.server.engines.nodes import nodes_of


def test_workers_of_one_name_are_one_node() -> None:
    processes = [
        NodeFigures("b", 0, "1.0", 3, 50.0, draining=True),
        NodeFigures("a", 1, "1.1", 20, 10.0, draining=False),
        NodeFigures("a", 0, "1.0", 100, 99.1234, draining=True),
    ]
    assert nodes_of(processes, "redis") == [
        Node(id="a", version="1.1", connections=120, workers=2, uptime=99.123, engine="redis", draining=False),
        Node(id="b", version="1.0", connections=3, workers=1, uptime=50.0, engine="redis", draining=True),
    ]
    assert nodes_of([], "redis") == []
