"""Clients that keep to the protocol up to a point and go on writing after it: the server has to tell them why it ends
the connection, whatever else happens there, and no reset may take the word away.

A witness is excused when a fault has ended its connection, or when everything was closed.
"""

import asyncio
import collections
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from tests.fastws_ext.client import Client
from tests.fastws_ext.harness import turns, upgrade_request
from tests.support.frames import BINARY, CLOSE, TEXT, build_frame, close_frame
from tests.torture.handlers import WITNESS, Handlers
from tests.torture.servers import TorturedServer
from tests.torture.shim import Shim

PIECE = build_frame(TEXT, b"still writing" * 100)
PIECES = 40  # 52 KB; up to 256 KiB are read for nothing
PATIENCE_S = 30.0


def offence(path: str, first: bytes, then: bytes = PIECE) -> Callable[["Witness"], Awaitable[int]]:
    """A client that echoes, sends `first`, and goes on sending `then`; returns the code it is told."""

    async def play(witness: "Witness") -> int:
        await witness.open(path)
        await witness.client.send(first)
        return await witness.write_and_listen(then)

    return play


async def slow(witness: "Witness") -> int:
    """Asks for more than it reads."""
    await witness.open("/witness", receive_buffer=32_768)
    await witness.client.send(build_frame(TEXT, b"flood"))
    await witness.write(PIECE)
    return await witness.part(await witness.listen())


async def silent(witness: "Witness") -> int:
    """Asks to be pinged, and says nothing after that."""
    await witness.open("/impatient")
    await witness.client.send(build_frame(TEXT, b"ping"))
    return await witness.part(await witness.listen())


async def endless(witness: "Witness") -> int:
    """A message that never ends, a few bytes at a time; even an answer to the close frame would be a part of it."""
    await witness.open("/impatient")
    await witness.client.send(build_frame(BINARY, b"", declared_length=60_000))
    async with asyncio.TaskGroup() as group:
        group.create_task(witness.write(b"x" * 10, pause_s=0.01))
        told = group.create_task(witness.listen())
    witness.client.shutdown_write()
    return await witness.part(told.result(), answer=False)


async def refused(witness: "Witness") -> int:
    """No request for an upgrade, and more behind it."""
    await witness.connect()
    await witness.client.send(b"GET /witness HTTP/1.1\r\nHost: a\r\n" + WITNESS + b"1\r\n\r\n")
    await witness.write(PIECE)
    status, _ = await witness.client.read_response()
    witness.answered = status != 503
    return await witness.part(status, answer=False)


SCENARIOS: dict[str, tuple[int, Callable[["Witness"], Awaitable[int]]]] = {
    "unmasked": (1002, offence("/witness", build_frame(TEXT, b"x", mask=None))),
    "bad text": (1007, offence("/witness", build_frame(TEXT, b"\xff"))),
    "too big": (1009, offence("/witness", build_frame(BINARY, bytes(70_001)))),
    "handler raises": (1011, offence("/witness", build_frame(TEXT, b"raise"))),
    "handler closes": (4000, offence("/witness", build_frame(TEXT, b"close"))),
    "client closes": (3000, offence("/witness", close_frame(3000, b"enough"), b"")),
    "reads too slowly": (4003, slow),
    "never answers pings": (4002, silent),
    "never ends a message": (1008, endless),
    "no upgrade": (400, refused),
}


class Witness:
    """One client of a scenario."""

    def __init__(self, server: TorturedServer, choices: random.Random, shim: Shim | None) -> None:
        self.server = server
        self.choices = choices
        self.shim = shim
        self.port = 0
        self.refused_before = refused_by(server)
        self.answered = False  # by somebody who has a descriptor for us
        self.client: Client

    async def connect(self, receive_buffer: int | None = None) -> None:
        """Connect from a port of which nothing is noted."""
        sock = socket.socket()
        sock.setblocking(False)
        self.client = Client(sock)
        self.server.clients.append(self.client)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.bind(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        if self.shim is not None:
            self.shim.mend(self.port)
        await self.server.loop.sock_connect(sock, self.server.address)

    async def open(self, path: str, receive_buffer: int | None = None) -> None:
        """Upgrade, in pieces, and have one message echoed."""
        await self.connect(receive_buffer)
        head = upgrade_request(path)
        cut = self.choices.randrange(len(head))
        await self.client.send_in_pieces(head[:cut], head[cut:])
        status, _ = await self.client.read_response()
        assert status == 101, status
        self.answered = True
        message = self.choices.randbytes(self.choices.choice((0, 125, 126, 3000, 65_000)))
        await self.client.send(build_frame(BINARY, message))
        assert await self.client.read_message() == message

    async def write(self, piece: bytes, pause_s: float = 0.0) -> None:
        """Send pieces, whatever comes back."""
        for _ in range(PIECES if piece else 0):
            await self.client.send(piece)
            await (asyncio.sleep(pause_s) if pause_s else turns(self.choices.randrange(3)))

    async def write_and_listen(self, piece: bytes) -> int:
        """Send pieces while listening; the code that is told."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.write(piece))
            told = group.create_task(self.listen())
        return await self.part(told.result())

    async def listen(self) -> int:
        """Read up to the close frame; its code."""
        while (frame := await self.client.read_frame()).opcode != CLOSE:
            pass
        return frame.close_code

    async def part(self, told: int, *, answer: bool = True) -> int:
        """Answer the close frame, and read up to the end, which has to be a clean one."""
        if answer:
            await self.client.send(close_frame(told))
        rest = await self.client.read_until_eof()
        assert not rest, rest[:50]
        return told

    def excused(self, handlers: Handlers) -> bool:
        """Whether its end was the doing of somebody else: of a fault, of a handler that closed everything, or of
        descriptors that ran out, when the server has one word for a client and no means to wait until that is read.
        """
        if handlers.ended or (self.shim is not None and self.shim.broken(self.port)):
            return True
        return not self.answered and self.refused_before != refused_by(self.server)


def refused_by(server: TorturedServer) -> int:
    """How often descriptors ran out."""
    return int(server.reactor.refused_descriptors) if server.reactor is not None else 0


async def testify(
    server: TorturedServer,
    handlers: Handlers,
    choices: random.Random,
    shim: Shim | None,
    outcomes: "collections.Counter[str]",
) -> None:
    """Play one scenario drawn from all; what was seen is counted in `outcomes`.

    :raises AssertionError: the server did not tell what it should have told.
    """
    name = choices.choice(list(SCENARIOS))
    wanted, play = SCENARIOS[name]
    witness = Witness(server, choices, shim)
    told: Any = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            told = await play(witness)
    except (Exception, BaseExceptionGroup) as error:
        told = error
    excused = told != wanted and witness.excused(handlers)
    witness.client.close()
    if told == wanted or excused:
        outcomes["excused" if excused else name] += 1
    else:
        raise AssertionError(f"{name}: told {told!r} instead of {wanted}") from (
            told if isinstance(told, BaseException) else None
        )
