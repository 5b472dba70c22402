"""What is counted for a client is given back however it ends: a count that stays would lock its address out."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from fastws.core.upgrade import UpgradeRules
from fastws.errors import Reject
from fastws.net.http import HttpRequest

from .serving import TRANSPORTS, Client, Server, frame, run, serving, until, upgrade
from .test_ingress import Route

CONNECTS = 10_000
AT_ONCE = 50
BEHIND_PROXY = "X-Forwarded-For: 203.0.113.{}\r\n"


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def decide(request: HttpRequest) -> None:
    """An upgrade hook with every outcome."""
    how = request.query.get("hook")
    if how in ("late", "late-refusal"):
        await asyncio.sleep(0.002)
    if how in ("refusal", "late-refusal"):
        raise Reject(403)
    if how == "failure":
        raise RuntimeError("on purpose")


async def answer(request: HttpRequest) -> dict[str, int]:
    """An http handler that sometimes waits and sometimes fails."""
    if request.body.startswith(b"late"):
        await asyncio.sleep(0.002)
    if request.body.endswith(b"failure"):
        raise RuntimeError("on purpose")
    return {"size": len(request.body)}


async def echo(conn: Any, message: Any) -> None:
    if message == "failure":
        raise RuntimeError("on purpose")
    if message == "late":
        await asyncio.sleep(0.002)
    conn.send(message)


def post(path: str, body: bytes, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def requests(dice: random.Random) -> list[bytes]:
    """One of each kind, from an address that a proxy names or from the peer's own."""
    behind = BEHIND_PROXY.format(dice.randrange(1, 5)) if dice.random() < 0.5 else ""
    head = behind.encode()

    def asked(request: bytes) -> bytes:
        return request.replace(b"\r\n", b"\r\n" + head, 1)

    whole = [upgrade("/echo" + query) for query in ("", *(f"?hook={how}" for how in HOOKS))]
    whole += [upgrade("/echo", Origin="http://elsewhere"), upgrade("/echo", Sec_WebSocket_Key="x")]
    whole += [upgrade("/nowhere"), upgrade("/up"), b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n"]
    whole += [post("/up", body) for body in (b"", b"now", b"late", b"failure", b"late failure")]
    whole += [post("/up", b"x" * 100)[:-50], post("/up", b"", "Expect: x\r\n"), b"GET /echo HT", b""]
    return [asked(request) for request in whole]


HOOKS = ("late", "refusal", "late-refusal", "failure")
MESSAGES = ("now", "late", "failure")


async def come_and_go(server: Server, dice: random.Random) -> None:
    """One connection that says something and ends in one of the ways there are."""
    client = await server.client()
    client.write(dice.choice(requests(dice)))
    for message in dice.sample(MESSAGES, dice.randrange(len(MESSAGES) + 1)):
        client.send(message)
    ending = dice.choice(ENDINGS)
    if ending == "answer":
        # Until the answer's first bytes, or the end.
        client.write(frame(8, b"\x03\xe8"))
        try:
            await asyncio.wait_for(client.reader.read(64), 0.05)
        except (TimeoutError, OSError):
            pass
    elif ending == "pause":
        await asyncio.sleep(dice.random() * 0.004)
    await leave(client, dice)


ENDINGS = ("answer", "pause", "at once")


async def leave(client: Client, dice: random.Random) -> None:
    if dice.random() < 0.5:
        client.abort()
        await client.close()
        return
    try:
        if dice.random() < 0.5 and client.writer.can_write_eof():
            client.writer.write_eof()
    except OSError:
        pass
    await client.close()


@pytest.mark.timeout(120)
def test_every_way_to_end_gives_back_what_was_counted(transport: str) -> None:
    count = CONNECTS if transport == "reactor" else CONNECTS // 10
    dice = random.Random(20_000)

    async def test() -> None:
        options: dict[str, Any] = {
            "raw": {"/echo": echo},
            "site": {"http": {b"/up": Route(answer, ("POST",))}, "upgrade_hooks": [decide]},
            "rules": UpgradeRules(),
            "admission": {"max_per_address": 40, "loopback_exempt": False},
            "timeout_s": 1,
        }
        async with serving(transport, **options) as server:

            async def some(number: int) -> None:
                for _ in range(number):
                    await come_and_go(server, dice)

            await asyncio.gather(*(some(count // AT_ONCE) for _ in range(AT_ONCE)))
            await until(lambda: server.ingress.connections == 0 and server.ingress.pending == 0)
            runner = server.runners["/echo"]
            await until(lambda: not runner.tasks)
            admission, ingress = server.admission, server.ingress
            assert server.endpoints["/echo"].opened > count // 20
            assert (admission.admitted, vars(admission._counts)) == (0, {"_total": 0, "_per_address": {}})
            assert (ingress._counted, ingress._awaiting_body, ingress._tasks, ingress._upgrading) == ({}, {}, {}, set())
            assert server.listeners.connections() == []

    run(transport, test, within_s=110)
