"""A real `fastws-server` whose system calls fail: it tells clients why, rests when they do, and ends as it should."""

import errno
import os
import random
import socket
import time
from collections.abc import Callable

import pytest

from tests.support.frames import BINARY, CLOSE, TEXT, build_frame, close_frame
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until
from tests.torture.peers import Peer
from tests.torture.shim import FATAL, HARMLESS, Shim, Weather, prepared_shim

SECONDS = float(os.environ.get("FASTWS_TEST_TORTURE_S", "2"))
SEED = int(os.environ.get("FASTWS_TEST_TORTURE_SEED", "1"))
LIMIT = 65_536
PEERS = 16
QUIET_SHARE = 0.05
APP = """
import os

from fastws import FastWS

app = FastWS()


@app.raw("/witness")
def obey(conn, message):
    if message == "raise":
        raise ValueError(message)
    if message == "close":
        conn.close(4000, "bye")
    elif message == "fork":
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        conn.send("forked")
    else:
        conn.send(message)
"""
OFFENCES = {
    1002: build_frame(TEXT, b"x", mask=None),
    1007: build_frame(TEXT, b"\xff"),
    1009: build_frame(BINARY, bytes(LIMIT + 1)),
    1011: build_frame(TEXT, b"raise"),
    4000: build_frame(TEXT, b"close"),
}


def offend(client: RawClient, choices: random.Random) -> None:
    """A message comes back; then one that ends the connection, with more behind it, and a code for it."""
    client.upgrade("/witness")
    message = choices.randbytes(choices.choice((0, 126, 60_000)))
    client.send_frame(BINARY, message)
    assert client.read_message() == message
    code, offence = choices.choice(list(OFFENCES.items()))
    client.send(offence)
    for _ in range(20):
        client.send(build_frame(TEXT, b"still writing" * 100))
    while (frame := client.read_frame()).opcode != CLOSE:
        pass
    assert frame.close_code == code
    client.send(close_frame(code))
    assert client.read_until_eof() == b""


def fork(client: RawClient, choices: random.Random) -> None:
    """A handler forks, and the connection goes on."""
    client.upgrade("/witness")
    for _ in range(2):
        client.send_text("fork")
        assert client.read_message() == "forked"


def hear(client: RawClient, choices: random.Random) -> None:
    """A publication is heard by who published it."""
    client.upgrade("/ws")
    topic = f"t{choices.randrange(10**9)}"
    client.send_json({"id": 1, "cmd": "sub", "topic": topic})
    client.send_json({"id": 2, "cmd": "pub", "topic": topic, "data": "x" * 3000})
    wait_until(lambda: "x" * 3000 in str(client.read_json()), what="the publication")


def be_refused(client: RawClient, choices: random.Random) -> None:
    """No upgrade: an answer, and a clean end behind it."""
    client.send(b"GET /witness HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(20):
        client.send(b"still writing" * 100)
    assert 400 <= client.read_response().status < 500
    assert client.read_until_eof() == b""


SCENARIOS: tuple[Callable[[RawClient, random.Random], None], ...] = (offend, offend, offend, fork, hear, be_refused)


def bear_witness(server: ServerProcess, shim: Shim, choices: random.Random, *, exhausted: bool) -> bool:
    """Play one scenario; False if a fault had ended its connection, so that nothing is known."""
    try:
        client = RawClient(server.host, server.port)
    except ConnectionError:
        return False  # refused so quickly that connect() told; which fault it was nobody can tell
    with client:
        port = client.socket.getsockname()[1]
        try:
            choices.choice(SCENARIOS)(client, choices)
        except (OSError, EOFError, AssertionError):
            if not exhausted and not shim.broken(port):
                raise
            return False
        finally:
            shim.mend(port)
    return True


def forecast(choices: random.Random) -> Weather:
    """Some calls fail often and harmlessly, and now and then some for good."""
    weather: dict[str, tuple[float, tuple[int, ...]]] = {}
    for name, faults in HARMLESS.items():
        if choices.random() < 0.6:
            weather[name] = choices.choice((0.02, 0.2, 0.5)), faults
    for name, faults in FATAL.items():
        if choices.random() < 0.15:
            weather[name] = 0.05, faults
    return weather


def rests(server: ServerProcess) -> bool:
    """Whether the process does next to nothing for a while."""
    cpu, start = server.cpu_s(), time.monotonic()
    time.sleep(0.5)
    return (server.cpu_s() - cpu) / (time.monotonic() - start) < QUIET_SHARE


@pytest.mark.timeout(SECONDS * 3 + 120)
def test_a_server_under_faults() -> None:
    choices = random.Random(SEED)
    peers: list[Peer] = []
    options = ("--dev", "--max-message-size", str(LIMIT), "--ping-interval", "0")
    with (
        prepared_shim() as (environment, shim),
        ServerProcess(*options, source=APP, env=environment) as server,
    ):
        every_scenario(server, choices)
        wait_until(lambda: rests(server), what="the process rests before")
        base = server.descriptors()
        shim.aim(server.pid, seed=SEED)
        try:
            attack(server, shim, choices, peers)
            exhaust(server, shim)
            shim.calm()
            every_scenario(server, choices)
            wait_until(lambda: rests(server), what="the process rests beside what is left of its peers")
        finally:
            for peer in peers:
                peer.leave(reset=False)
        wait_until(lambda: server.descriptors() == base, what="every descriptor is given back")
        assert "fastws: internal error" not in server.stderr()
        assert "Fatal" not in server.stderr()


def attack(server: ServerProcess, shim: Shim, choices: random.Random, peers: list[Peer]) -> None:
    """Peers do anything and witnesses look on in changing weather."""
    known = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        weather = forecast(choices)
        shim.weather(weather)
        for _ in range(10):
            peers[:] = [peer for peer in peers if not peer.gone]
            peers += [Peer((server.host, server.port), choices) for _ in range(PEERS - len(peers))]
            for peer in peers:
                peer.step()
        known += bear_witness(server, shim, choices, exhausted="accept4" in weather)
    assert known


def every_scenario(server: ServerProcess, choices: random.Random) -> None:
    """Nothing fails."""
    for scenario in SCENARIOS:
        with RawClient(server.host, server.port) as client:
            scenario(client, choices)


def exhaust(server: ServerProcess, shim: Shim) -> None:
    """Descriptors are out while clients knock: that is no reason to be busy."""
    shim.weather({"accept4": (1.0, (errno.EMFILE,)), "epoll_ctl": (0.5, (errno.ENOMEM,))})
    knocking = [socket.create_connection((server.host, server.port)) for _ in range(3)]
    wait_until(lambda: rests(server), what="the process rests while descriptors are out")
    for sock in knocking:
        sock.close()
