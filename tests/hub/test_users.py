"""Who is here: users with one connection, several and many; when connections came."""

from __future__ import annotations

import random

import pytest

from fastws.hub.users import Arrivals, Users
from tests.gateway.stage import staged


@pytest.mark.asyncio
async def test_users_have_one_connection_or_several_or_many() -> None:
    async with staged() as stage:
        users = Users(stage.loop_data)
        conns = [stage.connect().conn for _ in range(30)]
        for count, conn in enumerate(conns, 1):
            users.enter(conn, "", "u")
            assert list(users.connections_of("", "u")) == conns[:count]
        assert users.count == 1
        order = random.Random(5).sample(conns, len(conns))
        left = set(conns)
        for conn in order:
            assert users.leave(conn, "", "u") is (len(left) == 1)
            left.discard(conn)
            assert users.leave(conn, "", "u") is False
            assert set(users.connections_of("", "u")) == left
        assert users.count == 0
        assert list(users.audiences()) == []


@pytest.mark.asyncio
async def test_tenants_are_apart() -> None:
    async with staged() as stage:
        users = Users(stage.loop_data)
        conns = [stage.connect().conn for _ in range(4)]
        for conn, tenant, user in zip(conns, ("", "a", "a", "b"), ("u", "u", "", "u"), strict=True):
            users.enter(conn, tenant, user)
        assert [list(users.connections_of(tenant, "u")) for tenant in ("", "a", "b", "c")] == [
            [conns[0]],
            [conns[1]],
            [conns[3]],
            [],
        ]
        assert users.connections_of("a", "") == ()
        audience = users.audience_of("a")
        assert audience is not None
        assert set(audience.wires()) == set(conns[1:3])
        assert users.audience_of("c") is None
        assert users.leave(conns[3], "c", "u") is False
        assert users.leave(conns[2], "a", "") is False
        assert users.leave(conns[1], "a", "u") is True
        assert users.audience_of("a") is None


def test_when_connections_came(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000_000.0
    monkeypatch.setattr("fastws.hub.users.time", lambda: now_s)
    arrivals = Arrivals()
    assert arrivals.when_ms(1) == 0
    came: dict[int, int] = {}
    for number in range(1, 200_000):
        now_s += 0.1
        arrivals.note(number)
        came[number] = int(now_s * 1000)
    arrivals.note(7)  # one that took long to be welcomed
    assert len(arrivals._numbers) <= 4096
    for number in (199_999, 199_500, 190_000, 100_000, 5_000, 1):
        assert -100 <= came[number] - arrivals.when_ms(number) <= 2_000 + (came[199_999] - came[number]) // 100


def test_a_year_of_arrivals_fits_in(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000_000.0
    monkeypatch.setattr("fastws.hub.users.time", lambda: now_s)
    arrivals = Arrivals()
    for number in range(1, 50_000):
        now_s += 631.0
        arrivals.note(number)
    thinned = arrivals._numbers[:]
    assert len(thinned) <= 4096
    arrivals._thin_out(int(now_s * 1000))
    assert len(arrivals._numbers) <= 2048


def test_who_had_come_until_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000_000.0
    monkeypatch.setattr("fastws.hub.users.time", lambda: now_s)
    arrivals = Arrivals()
    assert arrivals.last_until(5) == float("inf")
    for number in range(1, 2000):
        now_s += 0.3
        arrivals.note(number)
    for ms in (0, 1_000_000_000, 1_000_001_500, 1_000_300_000, 1_000_500_000, 2_000_000_000):
        last = arrivals.last_until(ms)
        assert [number for number in range(1, 2000) if (arrivals.when_ms(number) <= ms) != (number <= last)] == []
