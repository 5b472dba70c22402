"""redis-py's client in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from bench.cluster.listener import TOLD_EACH
from bench.servers import ROOT
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until


def test_it_tells_how_much_it_has_heard() -> None:
    with RedisServer() as redis:
        command = [sys.executable, "-m", "bench.cluster.listener", str(redis.unix), "one", "two"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as listener:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listening\n"
            for _ in range(TOLD_EACH // 2):
                redis.command(b"PUBLISH one x\r\n")
                assert redis.command(b"PUBLISH two x\r\n") == b":1\r\n"
            assert listener.stdout.readline() == f"{TOLD_EACH}\n"
            redis.stop()
            wait_until(lambda: listener.poll() is not None)
