"""Places for the connections of one user; from outside see `tests/contract/test_user_limits.py`."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest

from fastws import FastWS
from fastws.config import Settings
from fastws.engine.contract import Admission, Cap
from fastws.engine.memory import MemoryEngine
from fastws.gateway.auth.identity import Identity, identity_of
from fastws.gateway.places import Places
from tests.gateway.stage import Player, Stage, staged

pytestmark = pytest.mark.asyncio

SECRET = "a secret that is long enough for HS256"


def token(user: str = "u", **claims: Any) -> str:
    return jwt.encode({"sub": user, **claims}, SECRET, "HS256")


class Waiting(MemoryEngine):
    """Its answers about places come when a test gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, str, Cap]] = []
        self.answers: list[asyncio.Future[Admission]] = []
        self.noted: list[tuple[str, str]] = []

    def admit(self, user: str, conn: str, device: str, cap: Cap) -> Any:
        self.asked.append((user, conn, device, cap))
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    def attach(self, user: str, conn: str, device: str) -> None:
        self.noted.append(("attach", conn))

    def detach(self, user: str, conn: str, *, is_last: bool) -> bool:
        self.noted.append(("detach", conn))
        return True


def limited(engine: Any = None, app: FastWS | None = None, **settings: Any) -> Any:
    return staged(app, engine, jwt_secret=SECRET, anonymous=True, max_connections_per_user=1, **settings)


def come(stage: Stage, user: str = "u", **claims: Any) -> Player:
    return stage.connect(query=f"token={token(user, **claims)}".encode(), welcomed=False)


@pytest.mark.parametrize(
    ("limit", "replaces", "identity", "expected"),
    [
        (0, False, identity_of("u", device="web"), False),
        (0, True, identity_of("u"), False),
        (0, True, identity_of("u", device="web"), True),
        (1, False, identity_of("u"), True),
        (1, True, identity_of("", device="web"), False),
        (1, False, Identity(), False),
    ],
)
async def test_who_has_to_ask(limit: int, replaces: bool, identity: Identity, expected: bool) -> None:
    settings = Settings(max_connections_per_user=limit, user_limit_policy="replace" if replaces else "reject")
    assert Places(MemoryEngine(), settings).are_limited_for(identity) is expected


async def test_where_nothing_is_limited_nobody_is_asked() -> None:
    engine = Waiting()
    async with staged(None, engine, jwt_secret=SECRET) as stage:
        player = come(stage, device="web")
        assert player.hear_one()["event"] == "welcome"
        assert engine.asked == []


async def test_it_is_welcomed_when_there_is_a_place() -> None:
    engine = Waiting()
    async with limited(engine) as stage:
        player = come(stage, tenant="t", device="web")
        player.say({"id": 1, "cmd": "ping"})
        await stage.settle()
        assert player.hear() == []
        assert engine.asked == [("t\0u", player.conn.id, "web", Cap(1, replaces=False))]
        engine.answers[0].set_result(Admission(admitted=True))
        await stage.settle()
        welcome, pong = player.hear()
        assert (welcome["event"], pong["id"]) == ("welcome", 1)
        assert engine.noted == [("attach", player.conn.id)]


async def test_it_is_closed_when_there_is_none() -> None:
    engine = Waiting()
    async with limited(engine) as stage:
        player = come(stage)
        await stage.settle()
        engine.answers[0].set_result(Admission(admitted=False))
        await stage.settle()
        assert player.hear() == []
        assert player.closed == (4504, "connection_limit")
        player.vanish()
        await stage.settle()
        assert engine.noted == []


async def test_who_has_gone_meanwhile_gives_its_place_back() -> None:
    engine = Waiting()
    async with limited(engine) as stage:
        player = come(stage)
        await stage.settle()
        player.vanish()
        await stage.settle()
        engine.answers[0].set_result(Admission(admitted=True))
        await stage.settle()
        assert engine.noted == [("detach", player.conn.id)]


async def test_an_anonymous_client_stays_that_until_it_has_a_place() -> None:
    engine = Waiting()
    async with limited(engine) as stage:
        player = stage.connect()
        player.say({"id": 1, "cmd": "auth", "token": token()})
        await stage.settle()
        assert player.conn.user == ""
        engine.answers[0].set_result(Admission(admitted=True))
        await stage.settle()
        assert player.conn.user == "u"
        assert [said.get("event") for said in player.hear()] == [None, "welcome"]
        gone = stage.connect()
        gone.say({"id": 1, "cmd": "auth", "token": token()})
        await stage.settle()
        gone.vanish()
        await stage.settle()
        engine.answers[1].set_result(Admission(admitted=True))
        await stage.settle()
        assert engine.noted == [("attach", player.conn.id), ("detach", gone.conn.id)]


@pytest.mark.parametrize("admitted", [True, False])
async def test_a_stranger_asks_before_it_is_answered(admitted: bool) -> None:
    engine = Waiting()
    ended: list[int] = []
    app = FastWS()
    app.on_connect(lambda conn: None)
    app.on_disconnect(lambda info, close: ended.append(close.code))
    async with staged(app, engine, jwt_secret=SECRET, dev=False, max_connections_per_user=1) as stage:
        player = stage.connect(welcomed=False)
        player.say({"id": 1, "cmd": "auth", "token": token()})
        await stage.settle()
        assert player.hear() == []
        engine.answers[0].set_result(Admission(admitted=admitted))
        await stage.settle()
        heard = player.hear()
        if admitted:
            assert [said.get("event") for said in heard] == [None, "welcome"]
            assert ended == []
        else:
            assert not [said for said in heard if "result" in said]
            assert player.closed == (4504, "connection_limit")
            assert ended == [4504]


async def test_another_device_goes_where_a_token_is_renewed() -> None:
    async with limited(user_limit_policy="replace") as stage:
        other = come(stage, device="web")
        assert other.hear_one()["device"] == "web"
        player = come(stage, device="tv")
        assert player.hear_one()["device"] == "tv"
        assert other.hear() == []
        assert other.closed == (4506, "replaced")
    engine = Waiting()
    async with limited(engine, user_limit_policy="replace") as stage:
        player = come(stage, device="tv")
        await stage.settle()
        engine.answers[0].set_result(Admission(admitted=True))
        await stage.settle()
        player.hear()
        for device, asked in (("tv", 1), ("web", 2), ("default", 2)):
            player.say({"id": 1, "cmd": "refresh", "token": token(device=device)})
            await stage.settle()
            assert len(engine.asked) == asked
            if not engine.answers[-1].done():
                engine.answers[-1].set_result(Admission(admitted=False))  # it keeps the one that it has
                await stage.settle()
            assert player.hear_one()["result"] == {}
            assert player.conn.device == device
        assert {what for what, _ in engine.noted} == {"attach"}
