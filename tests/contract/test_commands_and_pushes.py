"""Every command that succeeds and every push, with all of its fields and none besides, in both codecs."""

from __future__ import annotations

import signal
import time
from typing import Any

from fastws import __version__
from tests.contract.serving import APP, SECRET, token
from tests.contract.shown import CODECS, shows
from tests.contract.talking import Talker
from tests.support.server import ServerProcess


def recent(ms: int) -> bool:
    """Whether this is a time of just now, in Unix milliseconds."""
    return isinstance(ms, int) and abs(ms - time.time() * 1000) < 60_000


def welcomed(guarded: ServerProcess, codec: str, user: str = "42", **claims: Any) -> Talker:
    return Talker.welcomed(guarded, codec, f"/ws?token={token(user, **claims)}")


def hear_until(client: Talker, event: str) -> list[Any]:
    """What is heard up to the first push of that name, that included."""
    heard = [client.hear()]
    while heard[-1].get("event") != event:
        heard.append(client.hear())
    return heard


@CODECS
@shows("cmd auth", "cmd refresh", "push welcome")
def test_auth_and_refresh(guarded: ServerProcess, codec: str) -> None:
    with Talker(guarded, codec) as client:
        client.upgrade("/ws", [("Sec-WebSocket-Protocol", codec)])
        first, second = int(time.time()) + 100, int(time.time()) + 200
        assert client.ask("auth", token=token(exp=first, device="web", info={"name": "Ann"})) == {"expires": first}
        welcome = client.hear()
        assert isinstance(welcome.pop("conn"), str)
        assert welcome == {
            "event": "welcome",
            "user": "42",
            "tenant": "",
            "device": "web",
            "node": "n1",
            "ping": 25,
            "server": f"fastws/{__version__}",
            "expires": first,
        }
        assert client.ask("refresh", token=token(exp=second)) == {"expires": second}
        assert client.ask("refresh", token=token()) == {}
        assert client.ask("auth", token=token()) == 107


@CODECS
@shows("cmd sub", "cmd unsub", "cmd pub", "push publication")
def test_topics(guarded: ServerProcess, codec: str) -> None:
    topic = f"open:topics-{codec}"
    with welcomed(guarded, codec) as client, welcomed(guarded, codec, "43") as other:
        begun = client.ask("sub", topic=topic)
        epoch = begun.pop("epoch")
        assert begun == {"topic": topic, "offset": 0, "recovered": False, "publications": []}
        assert isinstance(epoch, str)
        data = {"text": "hällo", "list": [1, -2, 2.5, None, True, {"a": []}]}
        published = other.ask("pub", topic=topic, data=data, key="a")
        assert published == {"offset": 1, "epoch": epoch, "duplicate": False}
        assert other.ask("pub", topic=topic, data="again", key="a") == {**published, "duplicate": True}
        heard = client.hear()
        assert recent(heard.pop("ts"))
        origin = {"user": "43", "conn": other.welcome["conn"]}
        assert heard == {"event": "publication", "topic": topic, "data": data, "offset": 1, "from": origin}
        assert client.ask("pub", topic=topic, data="not to me", echo=False)["offset"] == 2
        assert client.ask("unsub", topic=topic) == {}
        other.ask("pub", topic=topic, data="unheard")
        assert client.ask("unsub", topic=topic) == {}
        recovered = client.ask("sub", topic=topic, recover={"epoch": epoch, "offset": 1})
        missed = recovered.pop("publications")
        assert recovered == {"topic": topic, "offset": 3, "epoch": epoch, "recovered": True}
        assert [(entry["data"], entry["offset"], entry["from"]["user"]) for entry in missed] == [
            ("not to me", 2, "42"),
            ("unheard", 3, "43"),
        ]
        assert all(entry.keys() == {"data", "offset", "ts", "from"} and recent(entry["ts"]) for entry in missed)
        client.say("rpc", method="publish", data={"topic": topic, "data": "of the server"})
        assert hear_until(client, "publication")[-1].keys() == {"event", "topic", "data", "offset", "ts"}


@CODECS
def test_topics_without_history(guarded: ServerProcess, codec: str) -> None:
    with welcomed(guarded, codec) as client:
        begun = client.ask("sub", topic="plain:a", recover={"epoch": "x", "offset": 3})
        assert begun == {"topic": "plain:a", "recovered": False, "publications": []}
        assert client.ask("pub", topic="plain:a", data=1, echo=False) == {"duplicate": False}


@CODECS
@shows("cmd history")
def test_history(guarded: ServerProcess, codec: str) -> None:
    topic = f"open:history-{codec}"
    with welcomed(guarded, codec) as client:
        for number in range(3):
            epoch = client.ask("pub", topic=topic, data=number)["epoch"]
        page = client.ask("history", topic=topic)
        assert (page.keys(), page["epoch"], page["offset"]) == ({"publications", "epoch", "offset"}, epoch, 3)
        assert all(entry.keys() == {"data", "offset", "ts", "from"} for entry in page["publications"])
        since = {"epoch": epoch, "offset": 2}
        assert [e["data"] for e in client.ask("history", topic=topic, since=since)["publications"]] == [2]
        newest = client.ask("history", topic=topic, since=since, reverse=True, limit=1)
        assert [e["data"] for e in newest["publications"]] == [0]


@CODECS
@shows("cmd presence", "cmd presence_stats", "push join", "push leave")
def test_presence(guarded: ServerProcess, codec: str) -> None:
    topic = f"open:presence-{codec}"
    with welcomed(guarded, codec) as watcher, welcomed(guarded, codec, "43", info={"name": "Ben"}) as other:
        assert watcher.ask("presence_stats", topic=topic) == {"connections": 0, "users": 0}
        watcher.ask("sub", topic=topic, presence=True)
        other.ask("sub", topic=topic)
        about = {"topic": topic, "user": "43", "conn": other.welcome["conn"], "info": {"name": "Ben"}}
        assert watcher.hear() == {"event": "join", **about}
        members = {
            watcher.welcome["conn"]: {"user": "42", "device": "default"},
            other.welcome["conn"]: {"user": "43", "device": "default", "info": {"name": "Ben"}},
        }
        assert watcher.ask("presence", topic=topic) == {"members": members, "connections": 2, "users": 2}
        other.close()
        assert watcher.hear() == {"event": "leave", **about}
        assert watcher.ask("presence_stats", topic=topic) == {"connections": 1, "users": 1}


@CODECS
@shows("push presence")
def test_joins_of_many_are_counted(codec: str) -> None:
    with (
        ServerProcess("--dev", "--max-connections-per-ip", "0", "--ping-interval", "0") as server,
        Talker.welcomed(server, codec) as watcher,
    ):
        watcher.ask("sub", topic="crowd", presence=True)
        crowd = [Talker.welcomed(server, codec) for _ in range(120)]
        try:
            # All within the 50 ms for which joins are collected, as a rule: a busy machine may need another try.
            for round_ in range(20):
                server.signal(signal.SIGSTOP)
                for member in crowd:
                    member.say("sub" if round_ % 2 == 0 else "unsub", topic="crowd", id=1)
                server.signal(signal.SIGCONT)
                for member in crowd:
                    member.hear()
                counted = [heard for heard in told(watcher) if heard["event"] == "presence"]
                if counted:
                    break
            assert counted
        finally:
            for member in crowd:
                member.close()
        summary = counted[0]
        assert summary.keys() == {"event", "topic", "connections", "users", "joined", "left"}
        assert (summary["topic"], summary["users"]) == ("crowd", 0)
        assert summary["joined"] + summary["left"] > 100


def told(client: Talker) -> list[Any]:
    """Everything that was pushed until joins that are collected now are told."""
    time.sleep(0.1)
    client.say("ping", id="until here")
    heard = [client.hear()]
    while "id" not in heard[-1]:
        heard.append(client.hear())
    return heard[:-1]


@CODECS
@shows("cmd status")
def test_status(guarded: ServerProcess, codec: str) -> None:
    with welcomed(guarded, codec) as client:
        with welcomed(guarded, codec, "s-1", device="web"), welcomed(guarded, codec, "s-1", device="phone"):
            here = client.ask("status", users=["s-1", "s-2"])
            assert recent(here["users"]["s-1"].pop("last_seen"))
            assert here == {
                "users": {
                    "s-1": {"online": True, "devices": ["phone", "web"]},
                    "s-2": {"online": False, "devices": []},
                }
            }
        for _ in range(100):
            gone = client.ask("status", users=["s-1"])["users"]["s-1"]
            if not gone["online"]:
                break
            time.sleep(0.02)
        assert recent(gone.pop("last_seen"))
        assert gone == {"online": False, "devices": []}


@CODECS
@shows("cmd rpc")
def test_rpc(guarded: ServerProcess, codec: str) -> None:
    with welcomed(guarded, codec) as client:
        for data in ({"a": [1, 2.5, None]}, "text", 0, None):
            assert client.ask("rpc", method="echo", data=data) == {"data": data}
        assert client.ask("rpc", method="echo") == {"data": None}


@CODECS
@shows("cmd heartbeat", "cmd ping")
def test_signs_of_life(guarded: ServerProcess, codec: str) -> None:
    with welcomed(guarded, codec) as client:
        assert client.ask("heartbeat", interval=30) == {"interval": 30}
        answer = client.ask("ping")
        assert (answer.keys(), recent(answer["ts"])) == ({"ts"}, True)


@CODECS
@shows("push message")
def test_messages(guarded: ServerProcess, codec: str) -> None:
    with welcomed(guarded, codec) as client, welcomed(guarded, codec) as other:
        other.say("rpc", method="announce", data={"a": [1]})
        for hearer in (client, other):
            heard = hearer.hear()
            assert recent(heard.pop("ts"))
            assert heard == {"event": "message", "data": {"a": [1]}}


@CODECS
@shows("push subscribed", "push unsubscribed", "unsubscribed 2000")
def test_subscriptions_of_the_server(guarded: ServerProcess, codec: str) -> None:
    user, topic = f"served-{codec}", f"open:served-{codec}"
    with welcomed(guarded, codec, user) as client, welcomed(guarded, codec) as other:
        assert other.ask("rpc", method="subscribe", data={"user": user, "topic": topic}) == {"data": 1}
        pushed = client.hear()
        assert isinstance(pushed.pop("epoch"), str)
        assert pushed == {"event": "subscribed", "topic": topic, "offset": 0}
        assert other.ask("rpc", method="subscribe", data={"user": user, "topic": topic}) == {"data": 0}
        other.ask("pub", topic=topic, data=1)
        assert client.hear()["event"] == "publication"
        assert other.ask("rpc", method="unsubscribe", data={"user": user, "topic": topic}) == {"data": 1}
        end = {"code": 2000, "reason": "server_unsubscribe", "resubscribe": False}
        assert client.hear() == {"event": "unsubscribed", "topic": topic, **end}
    with welcomed(guarded, codec, topics=["plain:claimed"]) as client:
        assert client.hear() == {"event": "subscribed", "topic": "plain:claimed"}


@CODECS
@shows("unsubscribed 2002")
def test_permission_revoked(guarded: ServerProcess, codec: str) -> None:
    with welcomed(guarded, codec, permissions={"sub": ["plain:*"]}) as client:
        client.ask("sub", topic="plain:a")
        client.say("refresh", token=token(permissions={"sub": []}), id=1)
        assert client.hear()["id"] == 1
        end = {"code": 2002, "reason": "permission_revoked", "resubscribe": False}
        assert client.hear() == {"event": "unsubscribed", "topic": "plain:a", **end}


@CODECS
@shows("unsubscribed 2500")
def test_insufficient_state(codec: str) -> None:
    """Who gets a tenant keeps no subscription of before: a topic of that name is another one there."""
    with (
        ServerProcess("--anonymous", "--jwt-secret", SECRET, source=APP) as server,
        Talker.welcomed(server, codec) as client,
    ):
        client.ask("sub", topic="plain:a")
        client.say("auth", token=token(tenant="acme"), id=1)
        heard = hear_until(client, "unsubscribed")
        assert [message.get("event", message.get("id")) for message in heard] == [1, "welcome", "unsubscribed"]
        end = {"code": 2500, "reason": "insufficient_state", "resubscribe": True}
        assert heard[-1] == {"event": "unsubscribed", "topic": "plain:a", **end}


@CODECS
@shows("unsubscribed 2501")
def test_token_of_a_topic_expired(guarded: ServerProcess, codec: str) -> None:
    with welcomed(guarded, codec) as client:
        assert client.ask("sub", topic="token:a", token=token(topic="token:a", ttl_s=2))["topic"] == "token:a"
        end = {"code": 2501, "reason": "token_expired", "resubscribe": True}
        assert client.hear() == {"event": "unsubscribed", "topic": "token:a", **end}
        assert client.ask("ping").keys() == {"ts"}
