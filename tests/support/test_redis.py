"""The Redis processes of tests do what tests rely on."""

import socket
import ssl
from contextlib import closing
from pathlib import Path

import hiredis
import pytest

from tests.support.certificates import self_signed
from tests.support.cluster import ClusterFleet
from tests.support.redis import PROGRAMS, RedisServer, ask
from tests.support.sentinel import SentinelFleet
from tests.support.waiting import wait_until


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_keeps_its_data_if_told_to(program: str) -> None:
    with RedisServer(program=program, persistent=True) as server:
        server.ask("SET", "a", "1")
        server.stop()
        assert not server.answers()
        server.start()
        assert server.ask("GET", "a") == b"1"
        folder = server.folder
    assert not folder.exists()


def test_without_it_has_forgotten_everything() -> None:
    with RedisServer() as server:
        server.ask("SET", "a", "1")
        server.stop()
        server.heal()
        assert server.ask("GET", "a") is None


def test_a_password_and_users() -> None:
    with RedisServer(password="p@ss", users={"ann": "on >secret ~* &* +@all"}) as server:
        assert server.ask("PING") == b"PONG"
        assert ":p%40ss@" in server.url
        with pytest.raises(hiredis.ReplyError, match="NOAUTH"):
            ask(server.address, "PING")
        assert ask(server.address, "AUTH", "ann", "secret") == b"OK"


def test_tls(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with RedisServer(tls=certificate) as server:
        assert server.url.startswith("rediss://")
        context = ssl.create_default_context(cafile=certificate.certfile)
        with (
            closing(socket.create_connection(server.address, 5)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as sock,
        ):
            sock.sendall(b"PING\r\n")
            assert sock.recv(100) == b"+PONG\r\n"


def test_a_port_that_is_taken_meanwhile() -> None:
    server = RedisServer()
    with closing(socket.create_server(server.address)), server:
        assert server.answers()


def test_standing_still_and_cutting(redis_server: RedisServer) -> None:
    redis_server.pause()
    with pytest.raises(TimeoutError):
        redis_server.ask("PING", timeout=0.1)
    redis_server.resume()
    with closing(socket.create_connection(redis_server.address, 5)) as sock:
        sock.sendall(b"PING\r\n")
        assert sock.recv(100) == b"+PONG\r\n"
        wait_until(redis_server.kill_clients)
        assert sock.recv(100) == b""


def test_sentinels_name_another_master(sentinel_fleet: SentinelFleet) -> None:
    old = sentinel_fleet.master
    old.ask("SET", "a", "1")
    old.ask("WAIT", 2, 1000)
    old.stop()
    new = sentinel_fleet.wait_for_switch(old)
    assert new.ask("GET", "a") == b"1"
    sentinel_fleet.heal()
    assert old.info("replication")["role"] == "slave"
    assert len(sentinel_fleet.replicas) == 2


def test_a_replica_takes_over_the_slots(cluster_fleet: ClusterFleet) -> None:
    slot = cluster_fleet.slot_of("a")
    old = cluster_fleet.master_of(slot)
    old.stop()
    new = cluster_fleet.wait_for_takeover(slot, old)
    new.ask("SET", "a", "1")
    cluster_fleet.heal()
    assert old.info("replication")["role"] == "slave"
    assert cluster_fleet.fail_over(new) is old
    assert old.ask("GET", "a") == b"1"


def test_a_slot_moves(cluster_fleet: ClusterFleet) -> None:
    slot = cluster_fleet.slot_of("moved")
    source = cluster_fleet.master_of(slot)
    target = next(server for server in cluster_fleet.masters if server is not source)
    source.ask("SET", "moved", "1")
    cluster_fleet.begin_migration(slot, target)
    with pytest.raises(hiredis.ReplyError, match=f"ASK {slot}"):
        source.ask("GET", "{moved}nothing")
    assert cluster_fleet.move_keys(slot, target) == 1
    cluster_fleet.end_migration(slot, target)
    assert target.ask("GET", "moved") == b"1"
    with pytest.raises(hiredis.ReplyError, match=f"MOVED {slot}"):
        source.ask("GET", "moved")
    assert cluster_fleet.migrate(slot, source) == 1


def test_a_slot_that_was_left_half_moved(cluster_fleet: ClusterFleet) -> None:
    """Nobody goes on with the migration when the slot comes back, nor in the next test."""
    slot = cluster_fleet.slot_of("half")
    source = cluster_fleet.master_of(slot)
    target = next(server for server in cluster_fleet.masters if server is not source)
    source.ask("SET", "half", "1")
    cluster_fleet.begin_migration(slot, target)
    cluster_fleet.end_migration(slot, target)
    cluster_fleet.migrate(slot, source)
    assert source.ask("GET", "{half}nothing") is None
    cluster_fleet.begin_migration(slot, target)
    cluster_fleet.heal()
    assert source.ask("GET", "{half}nothing") is None
