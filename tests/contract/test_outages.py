"""The engine away and back, as clients see it: they stay, and are not told that something was done that was not."""

from __future__ import annotations

import pytest

from tests.contract.serving import APP
from tests.contract.shown import CODECS, shows
from tests.contract.talking import JSON, MSGPACK, Talker
from tests.support.redis import RedisServer
from tests.support.server import ServerProcess


def other(codec: str) -> str:
    return MSGPACK if codec == JSON else JSON


@CODECS
@shows("push degraded", "push restored", "error 113")
def test_an_outage_is_told_once_to_everybody(codec: str) -> None:
    with (
        RedisServer() as redis,
        ServerProcess("--redis", redis.url, "--dev", source=APP) as server,
        Talker.welcomed(server, codec) as one,
        Talker.welcomed(server, other(codec)) as two,
    ):
        for client in (one, two):
            assert isinstance(client.ask("sub", topic="plain:a"), dict)
        before = one.ask("sub", topic="open:a")
        redis.stop()
        told = one.hear()
        assert (told.keys(), told["event"]) == ({"event", "ts"}, "degraded")
        assert two.hear() == told
        assert one.ask("ping").keys() == {"ts"}
        # What is here goes on.
        one.say("pub", id="p", topic="plain:a", data=1)
        heard = [one.hear(), one.hear()]
        assert {"id": "p", "result": {"duplicate": False, "degraded": True}} in heard
        assert [message["data"] for message in heard if "event" in message] == [1]
        assert two.hear()["data"] == 1
        # What needs the engine is refused.
        for cmd, fields in {
            "pub": {"topic": "open:a", "data": 1},
            "history": {"topic": "open:a"},
            "presence": {"topic": "open:a"},
            "presence_stats": {"topic": "open:a"},
            "sub": {"topic": "open:b", "recover": {"epoch": "e", "offset": 1}},
            "status": {"users": ["1"]},
        }.items():
            assert one.ask(cmd, **fields) == 113, cmd
        assert one.ask("pub", topic="plain:a", data=1, key="k") == 113
        # Who comes now is welcome, and knows as much.
        with Talker.welcomed(server, codec) as late:
            assert late.hear()["event"] == "degraded"
            assert isinstance(late.ask("sub", topic="plain:late"), dict)
            redis.start()
            # That Redis has forgotten everything: whoever follows a history has to begin again.
            lost = one.hear()
            assert (lost["event"], lost["topic"], lost["code"], lost["resubscribe"]) == (
                "unsubscribed",
                "open:a",
                2500,
                True,
            )
            back = one.hear()
            assert (back.keys(), back["event"]) == ({"event", "ts"}, "restored")
            assert back["ts"] >= told["ts"]
            assert two.hear() == late.hear() == back
            two.say("pub", topic="plain:late", data=2)
            assert late.hear()["data"] == 2
        again = one.ask("sub", topic="open:a", recover={"epoch": before["epoch"], "offset": before["offset"]})
        assert (again["recovered"], again["publications"]) == (False, [])
        assert again["epoch"] != before["epoch"]
        assert one.ask("presence_stats", topic="open:a") == {"connections": 1, "users": 0}


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
def test_a_link_that_is_cut_costs_nothing_that_is_kept(kind: str) -> None:
    with (
        RedisServer() as redis,
        ServerProcess("--redis", redis.url, "--dev", source=APP) as server,
        Talker.welcomed(server) as one,
        Talker.welcomed(server, MSGPACK) as two,
    ):
        for client in (one, two):
            client.ask("sub", topic="open:a")
        for number in range(3):
            redis.kill_clients(kind)
            assert [one.hear()["event"] for _ in range(2)] == ["degraded", "restored"]
            assert [two.hear()["event"] for _ in range(2)] == ["degraded", "restored"]
            one.say("pub", topic="open:a", data=number)
            for client in (one, two):
                heard = client.hear()
                assert (heard["event"], heard["data"], heard["offset"]) == ("publication", number, number + 1)
