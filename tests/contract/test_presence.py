"""Presence as clients see it: who is announced to whom, in which order, once."""

from __future__ import annotations

from typing import Any

from tests.contract.serving import token
from tests.contract.shown import CODECS
from tests.contract.talking import JSON, MSGPACK, Talker
from tests.support.server import ServerProcess


def comes(server: ServerProcess, user: str, codec: str = JSON, **claims: Any) -> Talker:
    return Talker.welcomed(server, codec, f"/ws?token={token(user, **claims)}")


def test_a_join_comes_before_anything_that_who_joined_publishes(guarded: ServerProcess) -> None:
    with comes(guarded, "1") as watcher:
        watcher.ask("sub", topic="open:order", presence=True)
        for _ in range(5):
            with comes(guarded, "2", MSGPACK) as other:
                other.say("sub", topic="open:order")
                other.say("pub", topic="open:order", data=1)
                heard = [watcher.hear(), watcher.hear()]
                assert [message["event"] for message in heard] == ["join", "publication"]
                assert heard[0]["conn"] == heard[1]["from"]["conn"] == other.welcome["conn"]
            assert watcher.hear()["event"] == "leave"


@CODECS
def test_each_is_announced_once_for_each_time_it_comes(guarded: ServerProcess, codec: str) -> None:
    topic = f"open:once-{codec}"
    with comes(guarded, "1", codec) as watcher, comes(guarded, "2", codec) as other:
        watcher.ask("sub", topic=topic, presence=True)
        for _ in range(2):
            other.ask("sub", topic=topic)
            assert other.ask("sub", topic=topic) == 105
            assert watcher.hear()["event"] == "join"
            other.ask("unsub", topic=topic)
            other.ask("unsub", topic=topic)
            left = watcher.hear()
            assert (left["event"], left["conn"]) == ("leave", other.welcome["conn"])
        assert watcher.ask("ping").keys() == {"ts"}


def test_however_it_ends_a_connection_has_left(guarded: ServerProcess) -> None:
    with comes(guarded, "1") as watcher:
        watcher.ask("sub", topic="open:ends", presence=True)
        for ending in ("reset", "close", "polite", "kicked", "broken"):
            with comes(guarded, "2") as other:
                other.ask("sub", topic="open:ends")
                assert watcher.hear()["event"] == "join"
                if ending == "reset":
                    other.reset()
                elif ending == "close":
                    other.close()
                elif ending == "polite":
                    other.send_close()
                elif ending == "kicked":
                    other.say("rpc", method="close", data={})
                    other.closed_with()
                else:
                    other.send_text("{")
                    other.closed_with()
                assert watcher.hear()["event"] == "leave", ending
        assert watcher.ask("presence_stats", topic="open:ends") == {"connections": 1, "users": 1}


def test_two_connections_of_one_user(guarded: ServerProcess) -> None:
    with (
        comes(guarded, "1") as watcher,
        comes(guarded, "2", device="a") as first,
        comes(guarded, "2", device="b") as two,
    ):
        watcher.ask("sub", topic="open:two", presence=True)
        for other in (first, two):
            other.ask("sub", topic="open:two")
            joined = watcher.hear()
            assert (joined["event"], joined["user"], joined["conn"]) == ("join", "2", other.welcome["conn"])
        assert watcher.ask("presence_stats", topic="open:two") == {"connections": 3, "users": 2}
        listed = watcher.ask("presence", topic="open:two")["members"]
        assert [listed[other.welcome["conn"]]["device"] for other in (first, two)] == ["a", "b"]


def test_tenants_do_not_see_each_other(guarded: ServerProcess) -> None:
    with comes(guarded, "1", tenant="red") as red, comes(guarded, "1", tenant="blue") as blue:
        for client in (red, blue):
            client.ask("sub", topic="open:tenants", presence=True)
        for client in (red, blue):
            assert client.ask("presence", topic="open:tenants")["members"].keys() == {client.welcome["conn"]}
            assert client.ask("status", users=["2", "blue\0001"])["users"]["blue\0001"]["online"] is False
        blue.close()
        assert red.ask("ping").keys() == {"ts"}


def test_looking_needs_the_permission_to_subscribe_and_no_subscription(guarded: ServerProcess) -> None:
    with comes(guarded, "1", permissions={"sub": ["open:mine*"]}) as client:
        for cmd in ("presence", "presence_stats", "history"):
            assert isinstance(client.ask(cmd, topic="open:mine/a"), dict)
            assert client.ask(cmd, topic="open:other") == 103
