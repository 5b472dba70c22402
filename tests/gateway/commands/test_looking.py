"""`presence`, `presence_stats`, `status`, and the joins and leaves that `sub` asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from fastws import FastWS
from fastws.core.codecs.commands import Presence as PresenceCommand
from fastws.engine.memory import MemoryEngine
from fastws.errors import EngineError
from fastws.gateway.auth.identity import identity_of
from fastws.types import Member, Presence, PresenceStats, UserStatus
from tests.gateway.stage import JSON, MSGPACK, Player, Stage, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])
LOOKS = pytest.mark.parametrize("cmd", ["presence", "presence_stats"])

NAMESPACES: dict[str, dict[str, Any]] = {
    "room": {"subscribe": "all", "publish": "all", "presence": True, "join_leave": True},
    "silent": {"subscribe": "all", "join_leave": True},
    "plain": {"subscribe": "all"},
    "closed": {"subscribe": "nobody", "presence": True},
}


def app() -> FastWS:
    return FastWS(namespaces=NAMESPACES)


def named(stage: Stage, user: str, tenant: str = "", info: Any = None, codec: str = "") -> Player:
    """A client that has a name."""
    player = stage.connect(subprotocol=codec)
    player.conn.session.identity = identity_of(user, tenant, "web", info)
    stage.hub.renamed(player.conn, "", "")
    return player


async def told(stage: Stage, player: Player, topic: str) -> list[Any]:
    roll = stage.hub.topics[topic].roll
    assert roll is not None
    if roll.news is not None:
        roll.news.flush()
    await stage.settle()
    heard: list[Any] = player.hear()
    return heard


@both_codecs
@LOOKS
async def test_who_may_look(codec: str, cmd: str) -> None:
    async with staged(app(), dev=False) as stage:
        player = stage.connect(subprotocol=codec)
        assert player.ask(cmd, topic="plain:a") == 108
        assert player.ask(cmd, topic="silent:a") == 108
        assert player.ask(cmd, topic="closed:a") == 103
        assert player.ask(cmd, topic="other:a") == 102
        assert player.ask(cmd, topic="a\0b") == 107
        assert player.ask(cmd) == 107
        assert isinstance(player.ask(cmd, topic="room:never heard"), dict)


@both_codecs
async def test_who_is_there(codec: str) -> None:
    async with staged(app()) as stage:
        ann = named(stage, "ann", info={"name": "Ann"})
        strangers = [stage.connect(subprotocol=name) for name in (JSON, MSGPACK)]
        for player in (ann, *strangers):
            player.ask("sub", topic="room:a")
        looker = stage.connect(subprotocol=codec)
        result = looker.ask("presence", topic="room:a")
        assert result == {
            "members": {
                ann.conn.id: {"user": "ann", "device": "web", "info": {"name": "Ann"}},
                **{player.conn.id: {"user": "", "device": "default"} for player in strangers},
            },
            "connections": 3,
            "users": 1,
        }
        assert looker.ask("presence_stats", topic="room:a") == {"connections": 3, "users": 1}
        assert looker.ask("presence", topic="room:b") == {"members": {}, "connections": 0, "users": 0}
        for player in strangers:
            player.vanish()
        ann.ask("unsub", topic="room:a")
        assert looker.ask("presence_stats", topic="room:a") == {"connections": 0, "users": 0}


async def test_tenants_apart() -> None:
    async with staged(app()) as stage:
        members = [named(stage, "ann", tenant) for tenant in ("", "acme", "acme", "other")]
        for member in members:
            member.ask("sub", topic="room:a", presence=True)
        for member, count in zip(members, (1, 2, 2, 1), strict=True):
            assert member.ask("presence_stats", topic="room:a") == {"connections": count, "users": 1}
            assert len(member.ask("presence", topic="room:a")["members"]) == count
            assert member.ask("status", users=["ann"])["users"]["ann"]["online"]
        members[1].vanish()
        await stage.settle()
        assert await told(stage, members[2], "acme\0room:a") != []
        assert members[0].hear() == members[3].hear() == []
        outsider = named(stage, "bob", "third")
        assert not outsider.ask("status", users=["ann"])["users"]["ann"]["online"]


async def test_a_listing_is_capped() -> None:
    async with staged(app(), max_connections_per_ip=0) as stage:
        for _ in range(1000):
            stage.connect().ask("sub", topic="room:a")
        looker = stage.connect()
        result = looker.ask("presence", topic="room:a")
        assert (len(result["members"]), result["connections"], "truncated" in result) == (1000, 1000, False)
        looker.ask("sub", topic="room:a")
        result = looker.ask("presence", topic="room:a")
        assert (len(result["members"]), result["connections"], result["truncated"]) == (1000, 1001, True)


@both_codecs
async def test_joins_and_leaves_for_those_who_ask(codec: str) -> None:
    async with staged(app()) as stage:
        watcher, quiet = stage.connect(subprotocol=codec), stage.connect()
        assert watcher.ask("sub", topic="room:a", presence=True)["topic"] == "room:a"
        quiet.ask("sub", topic="room:a", presence=False)
        ann = named(stage, "ann", info=[1])
        ann.ask("sub", topic="room:a")
        ann.ask("unsub", topic="room:a")
        ann.ask("sub", topic="room:a")
        assert [(heard["event"], heard["user"]) for heard in await told(stage, watcher, "room:a")] == [
            ("join", ""),
            ("join", "ann"),
        ]
        ann.go()
        about = {"topic": "room:a", "user": "ann", "conn": ann.conn.id, "info": [1]}
        assert await told(stage, watcher, "room:a") == [{"event": "leave", **about}]
        assert quiet.hear() == []


async def test_presence_in_sub_is_nothing_where_joins_are_not_told() -> None:
    async with staged(app()) as stage:
        player, other = stage.connect(), stage.connect()
        assert player.ask("sub", topic="plain:a", presence=True)["topic"] == "plain:a"
        other.ask("sub", topic="plain:a")
        await stage.settle()
        assert player.hear() == []


@both_codecs
async def test_status(codec: str) -> None:
    async with staged(app()) as stage:
        player = stage.connect(subprotocol=codec)
        ann = named(stage, "ann")
        named(stage, "bob", "acme")
        users = player.ask("status", users=["ann", "cat", "ann", "acme\0bob", ""])["users"]
        assert users.keys() == {"ann", "cat", "acme\0bob", ""}
        assert users["ann"].pop("last_seen") >= 1_000_000
        assert users["ann"] == {"online": True, "devices": ["web"]}
        offline: dict[str, Any] = {"online": False, "devices": []}
        assert users["cat"] == users["acme\0bob"] == users[""] == offline
        ann.vanish()
        await stage.settle()
        gone = player.ask("status", users=["ann"])["users"]["ann"]
        assert gone == {**offline, "last_seen": 1_000_000}
        assert player.ask("status", users=[]) == {"users": {}}
        assert player.ask("status", users=["x"] * 500) != 106
        assert player.ask("status", users=["x"] * 501) == 106
        assert player.ask("status") == 107
        assert player.ask("status", users="ann") == 107
        assert player.ask("status", users=["ann", 5]) == 107


class LateEngine(MemoryEngine):
    """Answers later, as one does that asks other processes."""

    fails = False

    async def presence(self, topic: str, limit: int) -> Presence:  # type: ignore[override]
        await self._turn()
        return Presence({"x-1": Member("ann", "web", None)}, limit + 5, 1, truncated=True)

    async def presence_stats(self, topic: str) -> PresenceStats:  # type: ignore[override]
        await self._turn()
        return PresenceStats(7, 3)

    async def status(self, users: Sequence[str]) -> Sequence[UserStatus]:  # type: ignore[override]
        await self._turn()
        return [UserStatus(True, ("web",), 5)] * len(users)

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise EngineError("away")


async def test_answers_of_other_processes() -> None:
    engine = LateEngine()
    async with staged(app(), engine=engine) as stage:
        player = stage.connect()

        async def ask(cmd: str, **fields: Any) -> Any:
            player.say({"id": 1, "cmd": cmd, **fields})
            await stage.settle()
            answer = player.hear_one()
            return answer.get("result") or answer["error"]["code"]

        listing = {"members": {"x-1": {"user": "ann", "device": "web"}}, "connections": 1005, "users": 1}
        assert await ask("presence", topic="room:a") == {**listing, "truncated": True}
        assert await ask("presence_stats", topic="room:a") == {"connections": 7, "users": 3}
        status = {"online": True, "devices": ["web"], "last_seen": 5}
        assert await ask("status", users=["ann"]) == {"users": {"ann": status}}
        engine.fails = True
        for cmd in ("presence", "presence_stats"):
            assert await ask(cmd, topic="room:a") == 113
        assert await ask("status", users=["ann"]) == 113


@LOOKS
async def test_rules_of_the_application_that_take_their_time(cmd: str) -> None:
    async with staged(app()) as stage:
        player = stage.connect()
        looking = stage.gateway._execution._handlers[PresenceCommand].__self__  # type: ignore[attr-defined]
        looking._access.check = lambda *_: asyncio.sleep(0)
        for topic, answered in (("room:a", True), ("plain:a", False)):
            player.say({"id": 1, "cmd": cmd, "topic": topic})
            await stage.settle()
            assert ("result" in player.hear_one()) is answered
