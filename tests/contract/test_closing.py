"""How connections end: rates, readers that stop, exceptions of the application, close handshakes, goodbyes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.talking import Talker, get, http, upgrade
from tests.support.frames import build_frame
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import Stopwatch, wait_until

APP = """
import asyncio
from fastws import FastWS, Reject

app = FastWS(namespaces={"all": {"subscribe": "all", "publish": "all"}})
notes = []

@app.on_upgrade
def judge(request):
    code = request.query.get("upgrade")
    if code == "fail":
        raise RuntimeError("secret")
    if code:
        raise Reject(int(code))

@app.on_connect
async def connect(conn):
    code = conn.query.get("connect")
    if code == "fail":
        raise RuntimeError("secret")
    if code:
        raise Reject(int(code))
    notes.append(["connect", conn.path])

@app.on_disconnect
def bye(info, close):
    notes.append(["disconnect", close.code])

@app.raw("/echo")
def echo(conn, message):
    if message == "fail":
        raise RuntimeError("secret")
    if message == "later":
        return fail(conn)
    conn.send(message)

async def fail(conn):
    await asyncio.sleep(0)
    conn.send("before")
    raise RuntimeError("secret")

@app.raw("/three")
async def three(conn):
    async for message in conn:
        conn.send(message)
        if message == "3":
            return

@app.raw("/private", auth=True)
def private(conn, message):
    conn.send(message)

@app.http("/notes")
def read_notes(request):
    found = list(notes)
    notes.clear()
    return found

@app.http("/fail")
def http_fail(request):
    raise RuntimeError("secret")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--dev", source=APP) as process:
        yield process


def notes_of(server: ServerProcess) -> list[list[Any]]:
    found: list[list[Any]] = json.loads(http(server, get("/notes")).body)
    return found


def test_exceptions_close_1011_and_only_that_connection(server: ServerProcess) -> None:
    with RawClient(server.host, server.port) as other:
        other.upgrade("/echo")
        for message, before in (("fail", []), ("later", ["before"])):
            with Talker(server) as client:
                client.upgrade("/echo")
                client.send_text(message)
                assert [client.read_message() for _ in before] == before
                assert client.closed_with() == (1011, "internal")
        with Talker(server) as client:
            client.upgrade("/ws?connect=fail")
            assert client.closed_with() == (1011, "internal")
        for request in (get("/fail"), upgrade("/ws?upgrade=fail"), upgrade("/echo?upgrade=fail")):
            response = http(server, request)
            assert response.status == 500
            assert b"secret" not in response.body
        other.send_text("still here")
        assert other.read_message() == "still here"


@pytest.mark.parametrize("code", [400, 403, 429, 503, 599])
def test_refusing_an_upgrade(server: ServerProcess, code: int) -> None:
    for path in ("/ws", "/echo"):
        response = http(server, upgrade(f"{path}?upgrade={code}"))
        assert (response.status, response.headers["connection"]) == (code, "close")


@pytest.mark.parametrize("code", [1000, 1008, 3000, 4000, 4507, 4999])
def test_refusing_a_connection(server: ServerProcess, code: int) -> None:
    with Talker(server) as client:
        client.upgrade(f"/ws?connect={code}")
        assert client.closed_with()[0] == code


def test_goodbyes_have_the_code_received_or_sent(server: ServerProcess) -> None:
    notes_of(server)
    for close, code in ((4321, 4321), (1000, 1000), (None, 1005)):
        with Talker.welcomed(server) as client:
            client.send_close(close)
            assert client.read_close()[0] == code
            assert client.ending() == "fin"
        expected = [["connect", "/ws"], ["disconnect", code]]
        assert wait_for_notes(server, 2) == expected
    Talker.welcomed(server).reset()
    assert wait_for_notes(server, 2)[1] == ["disconnect", 1006]
    Talker.welcomed(server).close()
    assert wait_for_notes(server, 2)[1] == ["disconnect", 1006]
    with Talker.welcomed(server) as client:
        client.send_text("{")
        assert client.closed_with()[0] == 4501
    assert wait_for_notes(server, 2)[1] == ["disconnect", 4501]
    with Talker(server) as client:
        client.upgrade("/ws?connect=4000")
        client.closed_with()
    with Talker(server) as client:
        client.upgrade("/echo")
        client.send_close()
        client.read_close()
    assert notes_of(server) == []


def wait_for_notes(server: ServerProcess, count: int) -> list[list[Any]]:
    found: list[list[Any]] = []

    def enough() -> bool:
        found.extend(notes_of(server))
        return len(found) >= count

    wait_until(enough)
    return found


def test_a_raw_coroutine_that_returns_closes_1000(server: ServerProcess) -> None:
    with Talker(server) as client:
        client.upgrade("/three")
        for text in "123":
            client.send_text(text)
            assert client.read_message() == text
        assert client.closed_with()[0] == 1000


def test_a_close_that_is_not_answered_waits_at_most_five_seconds(server: ServerProcess) -> None:
    with Talker(server) as client:
        client.upgrade("/three")
        client.send_text("3")
        client.read_message()
        watch = Stopwatch()
        assert client.read_close()[0] == 1000
        assert client.ending() in ("fin", "rst")
        assert watch.s > 3.5
        assert watch.own_s < 6.5


def test_rates_of_commands() -> None:
    with ServerProcess("--messages-per-second", "20") as server, Talker.welcomed(server) as client:
        said = [json.dumps({"cmd": "ping", "id": number}).encode() for number in range(400)]
        client.send(b"".join(build_frame(1, content) for content in said))  # at once, however busy the machine is
        answers: list[Any] = []
        while len(answers) < len(said):
            frame = client.read_frame()
            if frame.opcode == 8:
                assert (frame.close_code, frame.close_reason) == (4005, "too_many_requests")
                break
            answers.append(json.loads(frame.payload))
        refused = [answer for answer in answers if "error" in answer]
        assert len(answers) - len(refused) >= 20
        assert len(refused) in (99, 100)
        assert refused[0]["error"] == refused[0]["error"] | {
            "code": 111,
            "reason": "too_many_requests",
            "temporary": True,
        }
        assert frame.opcode == 8


def test_rates_of_bytes() -> None:
    with ServerProcess("--bytes-per-second", "1000") as server, Talker.welcomed(server) as client:
        client.say("pub", topic="a", data="x" * 800, id=1)
        client.say("pub", topic="a", data="x" * 800, id=2)
        # A refusal waits for nothing, so it may come before the answer of what is under way.
        answers = {answer["id"]: answer for answer in (client.hear(), client.hear())}
        assert "result" in answers[1]
        assert answers[2]["error"]["code"] == 111


@pytest.mark.parametrize("options", [("--messages-per-second", "10"), ("--bytes-per-second", "1000")])
def test_raw_endpoints_close_4005_at_the_first_message_too_many(options: tuple[str, str]) -> None:
    with ServerProcess(*options, source=APP) as server, Talker(server) as client:
        client.upgrade("/echo")
        client.send(build_frame(1, b"x" * 100) * 11)  # at once, however busy the machine is
        heard = 0
        while (frame := client.read_frame()).opcode == 1:
            heard += 1
        assert (frame.close_code, frame.close_reason) == (4005, "too_many_requests")
        assert heard == 10


def test_a_reader_that_stops_is_closed_4003_and_others_hear_everything() -> None:
    count, size = 700, 16_000  # more than the kernel takes for a socket
    with (
        ServerProcess("--max-outbox", "200000", "--max-connections-per-ip", "0") as server,
        Talker.welcomed(server, receive_buffer=8192) as slow,
        Talker.welcomed(server) as quick,
        Talker.welcomed(server) as publisher,
    ):
        for client in (slow, quick):
            client.ask("sub", topic="t")
        memory = server.rss()
        for number in range(count):
            publisher.ask("pub", topic="t", data=[number, "x" * size])
            assert quick.hear()["data"][0] == number
        assert server.rss() - memory < 8_000_000
        heard = slow.frames_until_close()
        assert (heard[-1].close_code, heard[-1].close_reason) == (4003, "slow_consumer")
        numbers = [json.loads(frame.payload)["data"][0] for frame in heard[:-1]]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) < count
        with Talker.welcomed(server) as again:
            assert again.ask("sub", topic="t") != 105


@pytest.mark.parametrize("path", ["/ws", "/echo"])
def test_silence_after_a_ping_closes_4002_and_any_byte_is_life(path: str) -> None:
    with ServerProcess("--ping-interval", "0.4", "--ping-timeout", "2", source=APP) as server:
        with Talker(server) as silent:
            silent.hears_pings = True
            silent.upgrade(path)
            frames = silent.frames_until_close()
            assert frames[-2].opcode == 9
            assert (frames[-1].close_code, frames[-1].close_reason) == (4002, "no_pong")
        with Talker(server) as talking:
            talking.hears_pings = True
            talking.upgrade(path)
            begun = time.monotonic()
            one_byte_at_a_time = iter(build_frame(9) * 10)
            pings = 0
            while time.monotonic() - begun < 2:
                frame = talking.read_frame()
                assert frame.opcode != 8
                if frame.opcode == 9:
                    pings += 1
                    talking.send(bytes([next(one_byte_at_a_time)]))
            assert 2 <= pings <= 8
