"""A Redis and its replica."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.support.redis import RedisServer
from tests.support.waiting import wait_until


class Pair(NamedTuple):
    """Both run; `pair` is the fixture."""

    master: RedisServer
    replica: RedisServer

    def waits(self) -> int:
        """How often replicas were waited for."""
        calls = self.master.info("commandstats").get("cmdstat_wait", "calls=0,")
        return int(calls.split("calls=")[1].split(",")[0])


def stand_still(server: RedisServer) -> None:
    """Pause it; it does nothing any more when this has returned."""
    server.pause()
    assert server.process is not None
    stat = Path(f"/proc/{server.process.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 10.0, "it stands still")
