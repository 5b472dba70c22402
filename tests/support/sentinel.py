"""A master with two replicas, and three sentinels that watch them, as real processes."""

from __future__ import annotations

import contextlib
from typing import Final
from urllib.parse import quote

import hiredis

from tests.support.redis import Fleet, RedisServer

DOWN_AFTER_MS: Final = 500
FAILOVER_TIMEOUT_MS: Final = 1000

# Sentinel's own intervals (SENTINEL DEBUG): found and made known in tenths of seconds instead of tens of them. "Tilt"
# is what a sentinel on a busy machine falls into: it decides nothing until the period is over. Replicas are asked once
# a second when their master is down, and what they said may then be five pings old, else none is good enough.
_INTERVALS_MS: Final = {
    "INFO-PERIOD": 500,
    "PUBLISH-PERIOD": 200,
    "PING-PERIOD": 400,
    "ASK-PERIOD": 200,
    "TILT-PERIOD": 1000,
    "SLAVE-RECONF-TIMEOUT": 1000,
    "MIN-LINK-RECONNECT-PERIOD": 100,
}


class SentinelProcess(RedisServer):
    """One sentinel."""

    def __init__(self, *, program: str = "", password: str = "") -> None:
        super().__init__(program=program, password=password)
        self.monitored = ""
        """What it watches, as lines of its configuration."""

    def _command(self) -> list[str]:
        path = self.folder / "sentinel.conf"
        if not path.exists():  # else it goes on with what it has written there itself
            path.write_text(
                f"bind 127.0.0.1\nunixsocket {self.unix}\ndir {self.folder}\nsentinel resolve-hostnames no\n"
                + (f"requirepass {self.password}\n" if self.password else "")
                + self.monitored
            )
        return [self.binary, str(path), "--sentinel", "--port", str(self.port)]


class SentinelFleet(Fleet):
    """Waits until the replicas are in sync and all sentinels know each other.

    :param password: of the Redis servers.
    :param sentinel_password: of the sentinels.
    """

    def __init__(
        self,
        *options: str,
        name: str = "mymaster",
        replicas: int = 2,
        program: str = "",
        password: str = "",
        sentinel_password: str = "",
    ) -> None:
        self.name = name
        self.password = password
        self.sentinel_password = sentinel_password
        self.nodes: Final = [
            RedisServer(*options, "--repl-ping-replica-period", "1", program=program, password=password)
            for _ in range(1 + replicas)
        ]
        self.sentinels: Final = [SentinelProcess(program=program, password=sentinel_password) for _ in range(3)]
        self.servers = [*self.nodes, *self.sentinels]

    @property
    def url(self) -> str:
        """How fastws is told of them."""
        return self.url_of([sentinel.port for sentinel in self.sentinels])

    def url_of(self, ports: list[int], name: str = "") -> str:
        """The same with other sentinels, or another master's name."""
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
        url = f"redis+sentinel://{secret}{addresses}/0?sentinel_master_name={name or self.name}"
        if self.sentinel_password:
            url += f"&sentinel_password={quote(self.sentinel_password, safe='')}"
        return url

    def _bring_up(self) -> None:
        first, *others = self.nodes
        first.start()
        for server in others:
            server.launch("--replicaof", "127.0.0.1", str(first.port))
        for server in others:
            server.wait_for_start()
        self._watch(first)
        for sentinel in self.sentinels:
            sentinel.launch()
        for sentinel in self.sentinels:
            sentinel.wait_for_start()
            self._hurry(sentinel)
        self.wait_until_whole()

    def _watch(self, master: RedisServer) -> None:
        name = self.name
        for sentinel in self.sentinels:
            sentinel.monitored = (
                f"sentinel monitor {name} 127.0.0.1 {master.port} 2\n"
                f"sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {name} {FAILOVER_TIMEOUT_MS}\n"
                f"sentinel parallel-syncs {name} 2\n"
            )
            if self.password:
                sentinel.monitored += f"sentinel auth-pass {name} {self.password}\n"
            if self.sentinel_password:
                sentinel.monitored += f"sentinel sentinel-pass {self.sentinel_password}\n"

    @staticmethod
    def _hurry(sentinel: RedisServer) -> None:
        for name, period_ms in _INTERVALS_MS.items():
            with contextlib.suppress(hiredis.ReplyError):  # names have changed between versions
                sentinel.ask("SENTINEL", "DEBUG", name, period_ms)

    def restart(self, server: RedisServer) -> None:
        """Start one that was stopped: a sentinel as it was, a server as a replica of whoever is the master now."""
        if isinstance(server, SentinelProcess):
            server.start()
            self._hurry(server)
        else:
            server.start("--replicaof", "127.0.0.1", str(self.master.port))

    def heal(self) -> None:
        """Go on and start what was paused or stopped; waits until everything is as after the start."""
        for server in self.servers:
            if server.is_running:
                server.resume()
        for sentinel in self.sentinels:
            if not sentinel.is_running:
                self.restart(sentinel)
        for server in self.nodes:
            if not server.is_running:
                self.restart(server)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Until the sentinels agree and the replicas are in sync with the master."""
        self.wait_until(self._is_whole, "the sentinels and replicas are in order", 30.0)

    def _is_whole(self) -> bool:
        ports = {self._port_named_by(sentinel) for sentinel in self.sentinels}
        if len(ports) != 1:
            return False
        (port,) = ports
        return all(self._is_placed(server, port) for server in self.nodes) and all(
            self._is_informed(sentinel) for sentinel in self.sentinels
        )

    @staticmethod
    def _is_placed(server: RedisServer, master_port: int) -> bool:
        info = server.info("replication")
        if server.port == master_port:
            return info["role"] == "master"
        return info.get("master_port") == str(master_port) and info["master_link_status"] == "up"

    def _is_informed(self, sentinel: RedisServer) -> bool:
        state = _pairs(sentinel.ask("SENTINEL", "MASTER", self.name))
        return (
            state["flags"] == "master"
            and state["num-slaves"] == str(len(self.nodes) - 1)
            and state["num-other-sentinels"] == str(len(self.sentinels) - 1)
            and sentinel.ask("SENTINEL", "CKQUORUM", self.name) is not None
            and all(_pairs(replica)["flags"] == "slave" for replica in self._replicas_of(sentinel))
        )

    def _replicas_of(self, sentinel: RedisServer) -> list[object]:
        answer = sentinel.ask("SENTINEL", "REPLICAS", self.name)
        assert isinstance(answer, list)
        return answer

    def _port_named_by(self, sentinel: RedisServer) -> int:
        answer = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        assert isinstance(answer, list)
        return int(answer[1])

    @property
    def master(self) -> RedisServer:
        """Whom the first sentinel that answers names."""
        for sentinel in self.sentinels:
            with contextlib.suppress(OSError):
                port = self._port_named_by(sentinel)
                return next(server for server in self.nodes if server.port == port)
        raise AssertionError("no sentinel answers")

    @property
    def replicas(self) -> list[RedisServer]:
        """The others."""
        master = self.master
        return [server for server in self.nodes if server is not master]

    def fail_over(self) -> None:
        """A planned one; it is done when this has returned."""
        old = self.master
        for _ in range(4):  # a sentinel that has not heard of the replicas for a moment begins and gives up
            with contextlib.suppress(hiredis.ReplyError):
                self.sentinels[0].ask("SENTINEL", "FAILOVER", self.name)
            with contextlib.suppress(AssertionError):
                self.wait_for_switch(old, 5.0)
                return
        raise AssertionError("the sentinels do not change the master")

    def wait_for_switch(self, old: RedisServer, within_s: float = 30.0) -> RedisServer:
        """Until the sentinels name another master than `old`, which takes the role; that one."""
        self.wait_until(
            lambda: self.master is not old and self.master.info("replication")["role"] == "master",
            "another master",
            within_s,
        )
        return self.master


def _pairs(answer: object) -> dict[str, str]:
    """A flat list of names and values."""
    assert isinstance(answer, list)
    words = [word.decode() for word in answer]
    return dict(zip(words[::2], words[1::2], strict=True))
