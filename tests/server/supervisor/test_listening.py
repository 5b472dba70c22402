"""Doors: sockets that the kernel chooses among, opened, weighed and closed one by one."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fastws.config import Settings
from fastws.errors import StartError
from fastws.server.supervisor.listening import Door, Doors


@pytest.fixture
def doors() -> Iterator[Doors]:
    doors = Doors(Settings(port=0, backlog=500))
    yield doors
    doors.close()


def opened(doors: Doors, count: int) -> list[Door]:
    made = [doors.make() for _ in range(count)]
    for door in made:
        doors.open(door)
    return made


def knock(doors: Doors, among: list[Door], count: int) -> list[int]:
    """How many of so many clients come to each door."""
    host, _, port = doors.address.removeprefix("http://").partition(":")
    clients = [socket.create_connection((host, int(port)), timeout=10) for _ in range(count)]
    found = [door.queue() for door in among]
    for client in clients:
        client.close()
    for door in among:
        for sock in door.sockets:
            while True:
                try:
                    sock.accept()[0].close()
                except BlockingIOError:
                    break
    return found


def close(doors: list[Door]) -> None:
    for door in doors:
        for sock in door.sockets:
            sock.close()


def test_all_have_one_port_and_newcomers_go_where_they_are_sent(doors: Doors) -> None:
    made = opened(doors, 3)
    assert doors.may_choose
    assert len({door.sockets[0].getsockname() for door in made}) == 1
    doors.weigh({made[0]: 1, made[2]: 3})
    found = knock(doors, made, 200)
    assert found[1] == 0
    assert sum(found) == 200
    assert 20 < found[0] < 80
    close(made)


def test_the_order_is_kept_when_one_goes(doors: Doors) -> None:
    made = opened(doors, 4)
    doors.weigh(dict.fromkeys(made, 1))
    doors.remove(made[1])
    assert made[1].sockets == []
    left = [made[0], made[2], made[3]]
    for door in left:
        doors.weigh({door: 1})
        assert knock(doors, left, 20) == [20 * (other is door) for other in left]
    made.append(doors.make())
    doors.open(made[-1])
    assert knock(doors, [*left, made[-1]], 20)[-1] == 0  # nobody has said that it gets any
    doors.weigh({made[-1]: 1})
    assert knock(doors, [*left, made[-1]], 20)[-1] == 20
    close(made)


def test_a_door_that_is_not_open_lets_nobody_in(doors: Doors) -> None:
    door = doors.make()
    with pytest.raises(ConnectionRefusedError):
        knock(doors, [door], 1)
    doors.remove(door)


def test_a_port_of_somebody_else() -> None:
    other = socket.create_server(("127.0.0.1", 0), reuse_port=True)
    with closing(other), pytest.raises(StartError, match="in use"):
        Doors(Settings(port=other.getsockname()[1]))


def test_where_no_program_may_be_attached_the_kernel_chooses_its_own_way(
    doors: Doors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = opened(doors, 2)
    monkeypatch.setattr("fastws.server.supervisor.listening._SO_ATTACH_REUSEPORT_CBPF", 9999)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            doors.weigh({made[0]: 1})
    assert not doors.may_choose
    assert [record.message for record in caplog.records if "by a hash" in record.message] != []
    assert len(caplog.records) == 1
    assert all(knock(doors, made, 100))
    close(made)


def test_a_unix_socket_is_one_door_for_all(tmp_path: Path) -> None:
    place = tmp_path / "socket"
    doors = Doors(Settings(uds=str(place)))
    door = doors.make()
    assert doors.make() is door
    doors.open(door)
    assert not doors.may_choose
    assert door.queue() == 0
    doors.weigh({door: 1})
    doors.remove(door)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))
    doors.close()
    assert not place.exists()
