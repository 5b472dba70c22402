"""Every close code, from what earns it, in both codecs; the reason is the word of the table."""

from __future__ import annotations

import re
import signal
import time
from typing import Any

import pytest

from fastws import closes
from tests.contract.serving import APP, SECRET, token
from tests.contract.shown import CODECS, shows
from tests.contract.talking import Talker
from tests.support.frames import BINARY, CLOSE, TEXT, build_frame
from tests.support.server import ServerProcess
from tests.support.waiting import Stopwatch


def ends(client: Talker, code: int) -> None:
    """The server says goodbye with this code and the table's word for it, whatever it has said before."""
    last = client.frames_until_close()[-1]
    assert (last.close_code, last.close_reason) == (code, closes.CLOSES[code].reason)


def upgraded(server: ServerProcess, codec: str, query: str = "", **options: Any) -> Talker:
    client = Talker(server, codec, **options)
    client.upgrade(f"/ws{query}", [("Sec-WebSocket-Protocol", codec)])
    return client


@CODECS
@shows("close 1000")
def test_normal(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        client.send_close(1000)
        assert client.read_close()[0] == 1000
        assert client.ending() == "fin"
    with Talker.welcomed(gateway, codec) as client:
        client.say("rpc", method="close", data={"code": 1000})
        ends(client, 1000)


@CODECS
@shows("close 1001", "close 1012")
def test_drained_and_stopped_at_once(codec: str) -> None:
    with (
        ServerProcess("--drain-timeout", "30", "--drain-rate", "1") as server,
        Talker.welcomed(server, codec) as first,
        Talker.welcomed(server, codec) as second,
    ):
        server.signal(signal.SIGTERM)
        heard = {}
        code, reason = first.read_close()
        heard[code] = reason
        server.signal(signal.SIGTERM)
        code, reason = second.read_close()
        heard[code] = reason
        assert heard.keys() == {1012, 1001}
        assert re.fullmatch(r"restarting retry_ms=\d+", heard[1012])
        assert heard[1001] == "going_away"
        assert server.wait() == 1


@CODECS
@shows("close 1002")
def test_protocol(gateway: ServerProcess, codec: str) -> None:
    for wrong in (build_frame(TEXT, b"{}", mask=None), build_frame(3, b""), build_frame(TEXT, b"{}", rsv=4)):
        with Talker.welcomed(gateway, codec) as client:
            client.send(wrong)
            ends(client, 1002)


@CODECS
@shows("close 1003")
def test_unsupported(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        client.send_frame(TEXT if "msgpack" in codec else BINARY, b'{"cmd":"ping"}')
        ends(client, 1003)


@CODECS
@shows("close 1007")
def test_bad_utf8(gateway: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        client.send_frame(TEXT, b'{"cmd":"\xff"}')
        ends(client, 1007)


@CODECS
@shows("close 1008")
def test_policy(gateway: ServerProcess, codec: str) -> None:
    with upgraded(gateway, codec, "?connect=1008") as client:
        ends(client, 1008)


@CODECS
@shows("close 1009")
def test_too_big(gateway: ServerProcess, guarded: ServerProcess, codec: str) -> None:
    with Talker.welcomed(gateway, codec) as client:
        client.send_frame(BINARY if "msgpack" in codec else TEXT, b" " * 65_537)
        ends(client, 1009)
    with upgraded(guarded, codec) as client:
        client.send_frame(BINARY if "msgpack" in codec else TEXT, b" " * 16_385)
        ends(client, 1009)


@CODECS
@shows("close 1011")
def test_internal(gateway: ServerProcess, codec: str) -> None:
    with upgraded(gateway, codec, "?connect=fail") as client:
        ends(client, 1011)


@CODECS
@shows("close 4001")
def test_token_expired(guarded: ServerProcess, codec: str) -> None:
    with upgraded(guarded, codec, f"?token={token(ttl_s=-10)}") as client:
        ends(client, 4001)
    begun, watch = time.time(), Stopwatch()
    with Talker.welcomed(guarded, codec, f"/ws?token={token(ttl_s=4)}") as client:
        assert client.welcome["expires"] <= begun + 5
        ends(client, 4001)
        assert -1 <= time.time() - client.welcome["expires"] <= 2 + watch.held_up_s


@CODECS
@shows("close 4002")
def test_no_pong(hasty: ServerProcess, codec: str) -> None:
    with upgraded(hasty, codec) as client:
        client.hears_pings = True  # and does not answer them
        ends(client, 4002)


@CODECS
@shows("close 4003")
def test_slow_consumer(gateway: ServerProcess, codec: str) -> None:
    with (
        Talker.welcomed(gateway, codec, receive_buffer=8192) as slow,
        Talker.welcomed(gateway, codec) as publisher,
    ):
        slow.ask("sub", topic="plain:4003")
        for number in range(400):
            publisher.ask("pub", topic="plain:4003", data=[number, "x" * 16_000])
        ends(slow, 4003)


@CODECS
@shows("close 4005")
def test_too_many_requests(hasty: ServerProcess, codec: str) -> None:
    with Talker.welcomed(hasty, codec) as client:
        for _ in range(250):
            client.say("ping")
        ends(client, 4005)


@CODECS
@pytest.mark.parametrize("code", [4006, 4503])
@shows("close 4006", "close 4503")
def test_what_operators_say(gateway: ServerProcess, codec: str, code: int) -> None:
    with Talker.welcomed(gateway, codec) as client:
        client.say("rpc", method="close", data={"code": code} if code != 4503 else {})
        ends(client, code)


@CODECS
@shows("close 4500")
def test_invalid_token(guarded: ServerProcess, codec: str) -> None:
    with upgraded(guarded, codec, "?token=x") as client:
        ends(client, 4500)
    with upgraded(guarded, codec) as client:
        assert client.ask("auth", token=token() + "x") == 101
        ends(client, 4500)
    with Talker.welcomed(guarded, codec, f"/ws?token={token('42')}") as client:
        assert client.ask("refresh", token=token("43")) == 101
        ends(client, 4500)


@CODECS
@shows("close 4501")
def test_bad_request(gateway: ServerProcess, codec: str) -> None:
    for data in (b"\xc1", b"\x90", b"\x01") if "msgpack" in codec else (b"{", b"[]", b"1"):
        with Talker.welcomed(gateway, codec) as client:
            client.send_frame(BINARY if "msgpack" in codec else TEXT, data)
            ends(client, 4501)


@CODECS
@shows("close 4502")
def test_auth_timeout(guarded: ServerProcess, codec: str) -> None:
    with upgraded(guarded, codec) as client:
        watch = Stopwatch()
        client.say("ping", id=1)
        assert client.hear()["id"] == 1
        ends(client, 4502)
        assert watch.own_s < 3


@CODECS
@shows("close 4507")
def test_permission_denied(gateway: ServerProcess, codec: str) -> None:
    with upgraded(gateway, codec, "?connect=4507") as client:
        ends(client, 4507)


@CODECS
@pytest.mark.parametrize("code", [3000, 4000, 4321, 4999])
def test_codes_of_the_application(gateway: ServerProcess, codec: str, code: int) -> None:
    with Talker.welcomed(gateway, codec) as client:
        client.say("rpc", method="close", data={"code": code, "reason": "because é"})
        last = client.frames_until_close()[-1]
        assert (last.opcode, last.close_code, last.close_reason) == (CLOSE, code, "because é")


def test_the_secret_is_nowhere() -> None:
    """Neither the key nor a token is in what the server writes."""
    with ServerProcess("--jwt-secret", SECRET, "--log-level", "debug", "--access-log", source=APP) as server:
        good, bad = token(), token(ttl_s=-5)
        with Talker.welcomed(server, path=f"/ws?token={good}"):
            pass
        with upgraded(server, "fastws.json.v1", f"?token={bad}") as client:
            ends(client, 4001)
        for text in (SECRET, good, bad):
            assert text not in server.stderr()
