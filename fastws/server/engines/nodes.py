"""From processes to nodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastws.engine.contract import NodeFigures

if TYPE_CHECKING:
    from fastws.observe.admin.results import Node


def nodes_of(processes: Iterable[NodeFigures], engine: str) -> list[Node]:
    """Put the workers of each node together; sorted by name. `engine` is what carries messages between all of them."""
    # Imported where it is wanted, with the rest of the control API.
    from fastws.observe.admin.results import Node  # noqa: PLC0415

    workers: dict[str, list[NodeFigures]] = {}
    for process in processes:
        workers.setdefault(process.name, []).append(process)
    return [
        Node(
            id=name,
            version=min(own, key=lambda worker: worker.uptime_s).version,
            connections=sum(worker.connections for worker in own),
            workers=len(own),
            uptime=round(max(worker.uptime_s for worker in own), 3),
            engine=engine,
            draining=all(worker.draining for worker in own),
        )
        for name, own in sorted(workers.items())
    ]
