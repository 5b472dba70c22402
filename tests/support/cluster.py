"""A Redis Cluster of three masters with a replica each, as real processes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import quote

import hiredis

from tests.support.certificates import Certificate
from tests.support.redis import Fleet, RedisServer, fields_of

NODE_TIMEOUT_MS: Final = 1000
SLOTS: Final = 16384


class Member(NamedTuple):
    """A line of CLUSTER NODES."""

    ident: str
    port: int
    flags: frozenset[str]
    master: str
    epoch: int
    slots: tuple[range, ...]


class ClusterFleet(Fleet):
    """Waits until the state is ok and the replicas are in sync. `nodes[:masters]` are masters at first, and
    `nodes[masters + i]` replicates `nodes[i]`.
    """

    def __init__(
        self,
        *options: str,
        masters: int = 3,
        replicas: int = 1,
        spare: int = 0,
        program: str = "",
        password: str = "",
        tls: Certificate | None = None,
    ) -> None:
        """:param spare: members without slots and replicas, for what is moved.
        :param tls: clients and members come by TLS.
        """
        self.password = password
        self.tls = tls
        if tls is not None:
            options = (*options, "--tls-cluster", "yes", "--tls-replication", "yes")
        self.shards: Final = masters
        self._replicas: Final = replicas
        options = (
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
            *("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"),
            *("--cluster-allow-replica-migration", "no", "--repl-ping-replica-period", "1"),
            *options,
        )
        count = masters * (1 + replicas) + spare
        self.nodes: Final = [RedisServer(*options, program=program, password=password, tls=tls) for _ in range(count)]
        self.servers = self.nodes

    @property
    def url(self) -> str:
        """How fastws is told of it; by three of the members."""
        return self.url_of([server.port for server in self.nodes[:3]])

    def url_of(self, ports: list[int]) -> str:
        """The same by others."""
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        options = f"?ssl=true&ssl_ca_certs={quote(self.tls.certfile, safe='')}" if self.tls is not None else ""
        return f"redis+cluster://{secret}" + ",".join(f"127.0.0.1:{port}" for port in ports) + options

    def _bring_up(self) -> None:
        for server in self.nodes:
            server.launch()
        for epoch, server in enumerate(self.nodes, 1):
            server.wait_for_start()
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for number, first, last in self._shares():
            self.nodes[number].ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", server.port)
        self.wait_until(
            lambda: all(len(self.members(server)) == len(self.nodes) for server in self.nodes), "all have met"
        )
        for number in range(self.shards * self._replicas):
            server = self.nodes[self.shards + number]
            self._replicate(server, self.nodes[number % self.shards])
        self.wait_until_whole()

    def _shares(self) -> Iterator[tuple[int, int, int]]:
        for number in range(self.shards):
            yield number, number * SLOTS // self.shards, (number + 1) * SLOTS // self.shards - 1

    def _replicate(self, server: RedisServer, master: RedisServer) -> None:
        ident = self.ident(master)
        self.wait_until(lambda: server.ask("CLUSTER", "REPLICATE", ident) == b"OK", "a replica knows its master")

    def members(self, of: RedisServer) -> list[Member]:
        """What a member knows of all, those in handshake left out."""
        text = of.ask("CLUSTER", "NODES")
        assert isinstance(text, bytes)
        found = (_member_of(line) for line in text.decode().splitlines())
        return [member for member in found if not member.flags & {"handshake", "noaddr"}]

    def ident(self, server: RedisServer) -> str:
        """The cluster's name of a member."""
        answer = server.ask("CLUSTER", "MYID")
        assert isinstance(answer, bytes)
        return answer.decode()

    def _someone(self) -> RedisServer:
        """A member that answers, and that is no longer alone, if it ever was."""
        for server in self.nodes:
            with contextlib.suppress(OSError, hiredis.ReplyError):
                if fields_of(server.ask("CLUSTER", "INFO", timeout=0.5))["cluster_state"] == "ok":
                    return server
        raise AssertionError("no member answers")

    @property
    def masters(self) -> list[RedisServer]:
        """The masters with slots that are not taken for dead, by their first slot."""
        found = [
            (member.slots[0].start, member.port)
            for member in self.members(self._someone())
            if "master" in member.flags and not member.flags & {"fail"} and member.slots
        ]
        return [self._by_port(port) for _, port in sorted(found)]

    def master_of(self, slot: int) -> RedisServer:
        """Who has a slot."""
        for member in self.members(self._someone()):
            if "master" in member.flags and any(slot in part for part in member.slots):
                return self._by_port(member.port)
        raise AssertionError(f"nobody has the slot {slot}")

    def replica_of(self, master: RedisServer) -> RedisServer:
        """A replica of this one that is not taken for dead."""
        ident = self.ident(master)
        for member in self.members(self._someone()):
            if member.master == ident and not member.flags & {"fail", "fail?"}:
                return self._by_port(member.port)
        raise AssertionError("it has no replica")

    def _by_port(self, port: int) -> RedisServer:
        return next(server for server in self.nodes if server.port == port)

    def slot_of(self, key: bytes | str) -> int:
        """The slot of a key."""
        answer = self._someone().ask("CLUSTER", "KEYSLOT", key)
        assert isinstance(answer, int)
        return answer

    def fail_over(self, master: RedisServer) -> RedisServer:
        """A planned change of the master with its replica, which is returned; it is done then."""
        replica = self.replica_of(master)
        replica.ask("CLUSTER", "FAILOVER")
        self.wait_until(
            lambda: replica.info("replication")["role"] == "master" and master.info("replication")["role"] == "slave",
            "the two have changed places",
        )
        return replica

    def wait_for_takeover(self, slot: int, old: RedisServer) -> RedisServer:
        """Until another than `old` is the master of a slot; that one."""

        def taken() -> bool:
            with contextlib.suppress(AssertionError):
                return self.master_of(slot) is not old
            return False

        self.wait_until(taken, f"another master of slot {slot}", 30.0)
        return self.master_of(slot)

    def begin_migration(self, slot: int, to: RedisServer) -> None:
        """From now on what is not in the slot any more is asked for with ASK."""
        source = self.master_of(slot)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ident(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ident(to))

    def move_keys(self, slot: int, to: RedisServer) -> int:
        """Move all keys of a slot that is migrating; how many there were."""
        source = self.master_of(slot)
        count = 0
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            assert isinstance(keys, list)
            auth = ("AUTH", self.password) if self.password else ()
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, *auth, "KEYS", *keys)
            count += len(keys)
        return count

    def end_migration(self, slot: int, to: RedisServer) -> None:
        """The slot belongs to `to`, and everybody has been told."""
        ident = self.ident(to)
        to.ask("CLUSTER", "SETSLOT", slot, "NODE", ident)
        for server in self.nodes:
            if server is not to and server.is_running:
                with contextlib.suppress(hiredis.ReplyError):  # replicas hear of it from their masters
                    server.ask("CLUSTER", "SETSLOT", slot, "NODE", ident)
        # Else what an old owner has said before is believed by those who do not know the new epoch, and whoever moves
        # the slot once more leaves it with nobody.
        self.wait_until(self._is_agreed, "all know of the slot that was moved")
        self._forget_migrations()

    def _forget_migrations(self) -> None:
        """Who still has keys refuses to be told that a slot is another's, and would go on with the migration if it got
        the slot again.
        """
        for server in self.nodes:
            text = server.ask("CLUSTER", "NODES") if server.is_running else b""
            assert isinstance(text, bytes)
            for slot in re.findall(r"\[(\d+)-[<>]-", text.decode()):
                server.ask("CLUSTER", "SETSLOT", slot, "STABLE")

    def _is_agreed(self) -> bool:
        """Whether all see the same masters, with the same slots and epochs."""
        views = [self.members(server) for server in self.nodes if server.is_running]
        masters = [frozenset((m.port, m.epoch, m.slots) for m in view if "master" in m.flags) for view in views]
        return len(set(masters)) == 1

    def migrate(self, slot: int, to: RedisServer) -> int:
        """Move a slot with all its keys, as `redis-cli --cluster reshard` does; how many keys there were."""
        self.begin_migration(slot, to)
        count = 0
        while True:  # what is written between the last key and the end is moved as well
            moved = self.move_keys(slot, to)
            if not moved:
                break
            count += moved
        self.end_migration(slot, to)
        return count

    def heal(self) -> None:
        """Go on and start what was paused or stopped; waits until everything is in order. Masters stay where they are
        by now, and slots too.
        """
        for server in self.nodes:
            if server.is_running:
                server.resume()
            else:
                server.process = None
                server.launch()
        for server in self.nodes:
            server.wait_for_start()
        self.wait_until_whole()
        self._forget_migrations()

    def wait_until_whole(self) -> None:
        """Until all members say that all slots are served, and the replicas are in sync."""
        self.wait_until(self._is_whole, "the cluster is in order", 30.0)

    def _is_whole(self) -> bool:
        views = set()
        for server in self.nodes:
            state = fields_of(server.ask("CLUSTER", "INFO"))
            if state["cluster_state"] != "ok" or state["cluster_slots_ok"] != str(SLOTS):
                return False
            members = self.members(server)
            if len(members) != len(self.nodes) or any(member.flags & {"fail", "fail?"} for member in members):
                return False
            if self._ports_in_slots(server) != self._ports_with_slots(members):
                return False  # replicas are not spoken of before it is known that they have something
            views.add(frozenset((member.port, member.slots) for member in members if "master" in member.flags))
            info = server.info("replication")
            if info["role"] == "slave" and info["master_link_status"] != "up":
                return False
            if info["role"] == "master" and self._replicas and self._lacks_replicas(members, server, info):
                return False
        return len(views) == 1 and self._is_agreed()

    @staticmethod
    def _ports_in_slots(server: RedisServer) -> set[int]:
        answer = server.ask("CLUSTER", "SLOTS")
        assert isinstance(answer, list)
        return {member[1] for entry in answer for member in entry[2:]}

    @staticmethod
    def _ports_with_slots(members: list[Member]) -> set[int]:
        masters = {member.ident for member in members if member.slots}
        return {member.port for member in members if member.ident in masters or member.master in masters}

    @staticmethod
    def _lacks_replicas(members: list[Member], server: RedisServer, info: dict[str, str]) -> bool:
        ident = next(member.ident for member in members if member.port == server.port)
        return int(info["connected_slaves"]) < sum(1 for member in members if member.master == ident)


def _member_of(line: str) -> Member:
    """<id> <ip:port@cport,hostname> <flags> <master> <ping-sent> <pong-recv> <config-epoch> <link-state> <slot> ..."""
    ident, address, flags, master, _, _, epoch, _, *slots = line.split()
    port = int(address.partition("@")[0].rpartition(":")[2] or 0)
    ranges = []
    for part in slots:
        if not part.startswith("["):  # else it is migrating, or being imported
            first, _, last = part.partition("-")
            ranges.append(range(int(first), int(last or first) + 1))
    return Member(ident, port, frozenset(flags.split(",")), "" if master == "-" else master, int(epoch), tuple(ranges))
