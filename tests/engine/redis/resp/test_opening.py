"""Connecting to real servers of all kinds, and that nothing stays open of what did not come to be."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote

import pytest

from fastws.engine.redis.resp import opening
from fastws.engine.redis.resp.address import Address, Tls, parse_address
from fastws.engine.redis.resp.errors import AbsentError, AwayError, ReplyError
from fastws.engine.redis.resp.link import DEFAULT_TUNING, Link, Tuning
from fastws.engine.redis.resp.opening import open_link
from fastws.errors import EngineError
from tests.engine.redis.loops import on_loops
from tests.engine.redis.resp.fakes import FakeServer, politely
from tests.support.certificates import Certificate, self_signed
from tests.support.redis import RedisServer

ODD = "p@ss:w/ö?#%&+ \"'\\d"
SOON = Tuning(connect_s=0.1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    users = {"ann": "on >secret ~* &* +@all", "ben": "on >secret ~* &* +ping +hello +client"}
    with RedisServer(users=users) as server:
        yield server


@pytest.fixture(scope="module")
def locked(certificate: Certificate) -> Iterator[RedisServer]:
    with RedisServer(password=ODD, tls=certificate) as server:
        yield server


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


context_of = cache(Tls.context)


async def connect(url: str, tuning: Tuning = DEFAULT_TUNING) -> Link:
    address = parse_address(url)
    return await open_link(address, context_of(address.tls) if address.tls else None, tuning, name="a-test")


async def facts(url: str) -> dict[bytes, bytes]:
    """What the server says of our connection."""
    link = await connect(url)
    said: bytes = await link.ask("CLIENT", "INFO")
    await link.close()
    return dict(word.split(b"=", 1) for word in said.split())  # type: ignore[misc]


@pytest.mark.parametrize("protocol", [2, 3])
@on_loops()
async def test_one_is_who_the_url_says(redis: RedisServer, protocol: int) -> None:
    said = await facts(f"redis://ann:secret@127.0.0.1:{redis.port}/5?protocol={protocol}")
    assert (said[b"user"], said[b"db"], said[b"name"], said[b"resp"]) == (b"ann", b"5", b"a-test", b"%d" % protocol)
    said = await facts(f"unix://{redis.unix}?db=3&protocol={protocol}")
    assert (said[b"user"], said[b"db"]) == (b"default", b"3")
    assert said[b"flags"] == b"U"


@pytest.mark.parametrize("protocol", [2, 3])
@on_loops()
async def test_tls_and_a_password_of_odd_letters(locked: RedisServer, certificate: Certificate, protocol: int) -> None:
    place = f"{quote(ODD, safe='')}@127.0.0.1:{locked.port}?protocol={protocol}"
    said = await facts(f"rediss://:{place}&ssl_ca_certs={certificate.certfile}")
    assert said[b"user"] == b"default"
    assert (await facts(f"rediss://:{place}&ssl_cert_reqs=none"))[b"resp"] == b"%d" % protocol
    with pytest.raises(AwayError, match=r"by TLS: .*certificate verify failed"):
        await connect(f"rediss://:{place}")


@on_loops()
async def test_what_is_refused_is_said(redis: RedisServer, locked: RedisServer) -> None:
    place = f"127.0.0.1:{locked.port}"
    for url, code in [
        (f"redis://ann:wrong@127.0.0.1:{redis.port}", "WRONGPASS"),
        (f"redis://ann:wrong@127.0.0.1:{redis.port}?protocol=2", "WRONGPASS"),
        (f"redis://:wrong@127.0.0.1:{redis.port}?protocol=2", "ERR"),  # AUTH without any password configured
        (f"rediss://{place}?ssl_cert_reqs=none", "NOAUTH"),
        (f"rediss://:wrong@{place}?ssl_cert_reqs=none", "WRONGPASS"),
        (f"redis://ben:secret@127.0.0.1:{redis.port}/1", "NOPERM"),
        (f"redis://127.0.0.1:{redis.port}/99", "ERR"),
    ]:
        with pytest.raises(ReplyError) as caught:
            await connect(url)
        assert caught.value.code == code
        assert "wrong@" not in str(caught.value)
    with pytest.raises(EngineError):
        await connect(f"redis://{place}", SOON)  # TLS is spoken there
    with pytest.raises(AwayError, match=r"SSL handshake is taking longer|does not answer"):
        await connect(f"rediss://127.0.0.1:{redis.port}?ssl_cert_reqs=none", SOON)


@on_loops()
async def test_a_server_that_takes_no_more_connections() -> None:
    for greeting, says in [
        (b"-ERR max number of clients reached\r\n", "max number of clients"),
        (b"-DENIED Redis is running in protected mode because\r\n", "set a password"),
    ]:
        async with FakeServer(lambda words: None, greeting) as server:
            with pytest.raises(EngineError, match=says):
                await open_link(server.address, None, DEFAULT_TUNING, name="test")
    with RedisServer("--maxclients", "1") as redis:
        other = socket.create_connection(redis.address)
        with pytest.raises(EngineError, match="max number of clients"):
            await connect(redis.url)
        other.close()


@on_loops()
async def test_a_server_of_the_old_protocol() -> None:
    for refusal in (b"-NOPROTO unsupported protocol version\r\n", b"-ERR unknown command `HELLO`\r\n"):

        def answer(words: list[bytes], refusal: bytes = refusal) -> bytes:
            return refusal if words[0] == b"HELLO" else b"-ERR no\r\n" if words[0] == b"CLIENT" else politely(words)

        async with FakeServer(answer) as server:
            address = server.address
            link = await open_link(
                Address(address.host, address.port, db=4, username="ann", password="pw"),
                None,
                DEFAULT_TUNING,
                name="me",
            )
            assert await link.ask("PING") == b"PONG"
            assert server.commands[1:4] == [[b"AUTH", b"ann", b"pw"], [b"CLIENT", b"SETNAME", b"me"], [b"SELECT", b"4"]]
            await link.close()


@on_loops("uvloop")
async def test_nothing_stays_open_of_connections_that_did_not_come_to_be(
    locked: RedisServer, redis: RedisServer, tmp_path: Path
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))  # accepts and says nothing
    silent = f"127.0.0.1:{listener.getsockname()[1]}"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    # Whoever fails by himself has time to: where both come at once, uvloop complains of an error that nobody took.
    tries = [
        (f"redis://{nobody}", DEFAULT_TUNING),
        (f"unix://{tmp_path}/nothing", DEFAULT_TUNING),
        (f"rediss://127.0.0.1:{locked.port}", DEFAULT_TUNING),
        (f"rediss://:wrong@127.0.0.1:{locked.port}?ssl_cert_reqs=none", DEFAULT_TUNING),
        (f"redis://ann:wrong@127.0.0.1:{redis.port}", DEFAULT_TUNING),
        (f"redis://{silent}", SOON),
        (f"rediss://{silent}", SOON),
        (f"rediss://127.0.0.1:{redis.port}", SOON),
    ]
    for url, tuning in [*tries, ("redis://does.not.exist.invalid", DEFAULT_TUNING)]:
        with pytest.raises(EngineError):  # once for what is kept for good, such as threads that look up names
            await connect(url, tuning)
    before = descriptors()
    for _ in range(25):
        results = await asyncio.gather(*(connect(*each) for each in tries), return_exceptions=True)
        assert all(isinstance(result, EngineError) for result in results), results
    await settled(before)
    listener.close()


@on_loops("uvloop")
async def test_nothing_stays_open_of_connections_that_were_given_up(
    locked: RedisServer, redis: RedisServer, certificate: Certificate
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    urls = [
        f"redis://127.0.0.1:{listener.getsockname()[1]}",
        f"rediss://127.0.0.1:{listener.getsockname()[1]}",
        f"redis://ann:secret@127.0.0.1:{redis.port}/3",
        f"unix://{redis.unix}",
        f"rediss://:{quote(ODD, safe='')}@127.0.0.1:{locked.port}?ssl_ca_certs={certificate.certfile}",
    ]
    await (await connect(redis.url)).close()
    await asyncio.sleep(0.01)  # a loop opens something for itself when it waits for the first time
    before = descriptors()
    for number in range(200):
        task = asyncio.create_task(connect(urls[number % len(urls)]))
        for _ in range(number // len(urls) % 12):
            await asyncio.sleep(0)
        if number % 7 == 0:
            await asyncio.sleep(0.001)
        if not task.done():
            task.cancel()
        try:
            link = await task
        except asyncio.CancelledError:
            pass
        else:
            await link.close()
    await settled(before)
    listener.close()


async def settled(before: int) -> None:
    """Wait until no more descriptors are open than there were."""
    for _ in range(500):
        if descriptors() <= before:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{descriptors() - before} descriptors stayed open")


@on_loops()
async def test_a_connection_over_tcp_does_not_wait_and_is_watched(redis: RedisServer) -> None:
    link = await connect(redis.url)
    transport = link._transport
    assert transport is not None
    sock = transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
    await link.close()


@on_loops()
async def test_where_nobody_listens(redis: RedisServer, tmp_path: Path) -> None:
    """It is told apart from everything that takes a server's time; `localhost` may be two addresses."""
    with socket.socket() as kept:  # it does not listen, and nobody else gets its port
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        for url in (f"redis://127.0.0.1:{port}", f"redis://localhost:{port}", f"unix://{tmp_path}/nothing"):
            with pytest.raises(AbsentError, match="cannot be reached"):
                await connect(url)
    with pytest.raises(AwayError) as caught:
        await connect(f"rediss://127.0.0.1:{redis.port}", SOON)
    assert not isinstance(caught.value, AbsentError)


@pytest.mark.parametrize(
    ("error", "is_absent"),
    [
        (ConnectionRefusedError(111, "refused"), True),
        (FileNotFoundError(2, "no such socket"), True),
        (OSError("Multiple exceptions: [Errno 111] ('::1', 1, 0, 0), [Errno 111] ('127.0.0.1', 1)"), True),
        (OSError("Multiple exceptions: [Errno 99] ('::1', 1, 0, 0), [Errno 111] ('127.0.0.1', 1)"), True),
        (OSError("Multiple exceptions: [Errno 113] ('::1', 1, 0, 0), [Errno 111] ('127.0.0.1', 1)"), False),
        (OSError(113, "no route to host"), False),
        (OSError("something else"), False),
        (socket.gaierror(-2, "unknown name"), False),
        (UnicodeError("a name that cannot be"), False),
    ],
)
def test_what_says_that_nobody_listens(error: Exception, is_absent: bool) -> None:
    assert opening._is_nobody_there(error) is is_absent
