"""Every error code, from a command that earns it, in both codecs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastws import closes
from fastws.core.codecs.commands import NOT_BUILT
from tests.contract.serving import SECRET, token
from tests.contract.shown import CODECS, shows
from tests.contract.talking import Talker
from tests.support.frames import PING
from tests.support.server import ServerProcess


def fails(client: Talker, code: int, cmd: str, **fields: Any) -> None:
    """The command answers this error, with every field that an error has; the connection goes on."""
    client.say(cmd, id=5, **fields)
    answer = client.hear()
    assert answer.keys() == {"id", "error"}, answer
    message = answer["error"].pop("message")
    assert isinstance(message, str)
    assert "secret" not in message
    known = closes.ERRORS[code]
    assert answer["error"] == {"code": code, "reason": known.reason, "temporary": known.temporary}
    client.say("ping", id=6)
    assert client.hear()["id"] == 6


@CODECS
@shows("error 100")
def test_internal(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        fails(client, 100, "rpc", method="raise")


@CODECS
@shows("error 101")
def test_unauthorized(guarded: ServerProcess, codec: str) -> None:
    with Talker(guarded, codec) as client:
        client.upgrade("/ws", [("Sec-WebSocket-Protocol", codec)])
        for cmd, fields in (("sub", {"topic": "open:a"}), ("rpc", {"method": "echo"}), ("status", {"users": []})):
            fails(client, 101, cmd, **fields)


@CODECS
@shows("error 102")
def test_unknown_topic(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        for cmd in ("sub", "pub", "history", "presence", "presence_stats"):
            fails(client, 102, cmd, topic="undeclared:a", data=1)


@CODECS
@shows("error 103")
def test_permission_denied(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        for topic in ("closed:a", "members:a", "token:a"):
            for cmd in ("sub", "pub", "history", "presence", "presence_stats"):
                fails(client, 103, cmd, topic=topic, data=1)


@CODECS
@shows("error 104")
def test_unknown_command(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        for cmd in ("", "SUB", "subscribe", "x" * 1000, "é"):
            fails(client, 104, cmd)


@CODECS
@shows("error 105")
def test_already_subscribed(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        client.ask("sub", topic="plain:105")
        fails(client, 105, "sub", topic="plain:105")


@CODECS
@shows("error 106")
def test_limit_exceeded(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client, Talker.welcomed(gateway, codec) as other:
        other.ask("sub", topic=f"small:{codec}")
        fails(client, 106, "sub", topic=f"small:{codec}")
        for number in range(3):
            client.ask("sub", topic=f"plain:{number}")
        fails(client, 106, "sub", topic="plain:3")
        fails(client, 106, "history", topic="open:a", limit=1001)
        fails(client, 106, "status", users=["a"] * 501)


@CODECS
@shows("error 107")
def test_bad_request(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        for cmd in ("sub", "unsub", "pub", "history", "presence", "presence_stats"):
            fails(client, 107, cmd, topic="a\n", data=1)
            fails(client, 107, cmd, topic=7, data=1)
        fails(client, 107, "status", users="42")
        fails(client, 107, "rpc", method=7)


@CODECS
@shows("error 108", *(f"cmd {name}" for name in NOT_BUILT))
def test_not_available(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        for cmd in ("history", "presence", "presence_stats"):
            fails(client, 108, cmd, topic="plain:a")
        for cmd in sorted(NOT_BUILT):
            fails(client, 108, cmd)


@CODECS
@shows("error 109")
def test_token_expired(guarded: ServerProcess, codec: str) -> None:
    with Talker(guarded, codec) as client:
        client.upgrade("/ws", [("Sec-WebSocket-Protocol", codec)])
        fails(client, 109, "auth", token=token(ttl_s=-10))
    with Talker.welcomed(guarded, codec, f"/ws?token={token()}") as client:
        fails(client, 109, "refresh", token=token(ttl_s=-10))
        fails(client, 109, "sub", topic="token:a", token=token(topic="token:a", ttl_s=-10))


@CODECS
@shows("error 110")
def test_payload_too_large(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        # What clients send is never too large for a topic: the application makes it grow.
        fails(client, 110, "rpc", method="publish", data={"topic": "plain:a", "data": "x" * 1000, "times": 66})


@CODECS
@shows("error 111")
def test_too_many_requests(hasty: ServerProcess, codec: str) -> None:
    with Talker.welcomed(hasty, codec) as client:
        for number in range(40):
            client.say("ping", id=number)
        frames = [client.read_frame() for _ in range(40)]
        payloads = [frame.payload for frame in frames if frame.opcode != PING]
        decode = msgspec.msgpack.decode if "msgpack" in codec else msgspec.json.decode
        refused = [answer["error"] for answer in map(decode, payloads) if "error" in answer]
        assert refused
        for error in refused:
            assert error.pop("message")
            assert error == {"code": 111, "reason": "too_many_requests", "temporary": True}


@CODECS
@shows("error 112")
def test_unrecoverable_position(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        fails(client, 112, "history", topic="open:a", since={"epoch": "another", "offset": 0})
        assert client.ask("sub", topic="open:a", recover={"epoch": "another", "offset": 0})["recovered"] is False


@CODECS
@shows("error 113")
def test_engine_unavailable(gateway: ServerProcess, codec: str) -> None:
    """The engine in memory is never away; the application says that it is."""
    with Talker.welcomed(gateway, codec) as client:
        fails(client, 113, "rpc", method="raise", data="engine")


@CODECS
@pytest.mark.parametrize("code", [1000, 1234, 4999])
def test_codes_of_the_application(gateway: ServerProcess, codec: str, code: int) -> None:
    with Talker.welcomed(gateway, codec) as client:
        client.say("rpc", id=1, method="raise", data=code)
        error = client.hear()["error"]
        assert (error["code"], error["message"], error["temporary"]) == (code, "as asked", False)


@CODECS
def test_errors_without_id_are_pushed(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        client.say("sub", topic="closed:a")
        pushed = client.hear()
        assert pushed.keys() == {"event", "cmd", "error"}
        assert (pushed["event"], pushed["cmd"], pushed["error"]["code"]) == ("error", "sub", 103)


@CODECS
@shows("push error")
def test_a_secret_is_in_no_error(guarded: ServerProcess, codec: str) -> None:
    """Tokens are not quoted, in whatever way they are wrong."""
    with Talker.welcomed(guarded, codec, f"/ws?token={token()}") as client:
        client.say("refresh", token=token("43") + "x" + SECRET)
        pushed = client.hear()
        assert (pushed["event"], pushed["cmd"], pushed["error"]["code"]) == ("error", "refresh", 101)
        assert SECRET not in str(pushed)
        assert client.closed_with()[0] == 4500
