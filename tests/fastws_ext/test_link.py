"""Pausing, half-open peers and floods: what a connection asks of its transport, and transports that are not TCP."""

import asyncio
import datetime
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fastws_ext.wire import Wire
from tests.fastws_ext.harness import (
    GONE,
    HANDSHAKING,
    OPEN,
    Client,
    Server,
    every_transport,
    on_reactor,
    over,
    serving,
    turns,
    until,
    upgrade_request,
)
from tests.support.frames import BINARY, PING, PONG, TEXT, Frame, build_frame
from tests.support.waiting import Stopwatch

QUIET_S = 0.15


async def wakes(server: Server) -> int:
    """How often the reactor looks at its sockets while nothing happens; one look per tick of the wheel is none."""
    before = server.reactor.waits
    await asyncio.sleep(QUIET_S)
    count: int = server.reactor.waits - before
    return count


# Pausing


@every_transport
async def test_nothing_is_handled_while_paused_and_all_of_it_in_order_after(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        (conn,) = server.conns
        conn.pause_reading()
        assert conn.paused
        await client.send_in_pieces(*(build_frame(TEXT, b"%d" % number) for number in range(20)))
        await client.send(build_frame(PING, b"p"))
        await turns(5)
        assert server.messages == []
        assert client.heard_nothing()
        conn.resume_reading()
        assert not conn.paused
        assert [await client.read_message() for _ in range(20)] == [f"{number}" for number in range(20)]
        assert await client.read_frame() == Frame(PONG, b"p")


@every_transport
async def test_a_handler_that_pauses_stops_the_frames_behind_its_own(transport: str) -> None:
    def handle(conn: Any, message: str | bytes) -> None:
        if len(server.messages) % 3 == 0:
            conn.pause_reading()

    async with serving(transport, on_message=handle) as server:
        client = await server.connect()
        (conn,) = server.conns
        client.send_now(b"".join(build_frame(TEXT, b"%d" % number) for number in range(10)))
        for expected in (3, 6, 9, 10):
            await until(lambda expected=expected: len(server.messages) >= expected)  # type: ignore[misc]
            await turns(5)
            assert len(server.messages) == expected
            conn.resume_reading()
        assert server.messages == [f"{number}" for number in range(10)]


@every_transport
async def test_a_paused_peer_is_slowed_down_by_its_socket(transport: str) -> None:
    """It can fill buffers of the kernel, never memory of ours."""
    async with serving(transport, listener_options=((socket.SOL_SOCKET, socket.SO_RCVBUF, 16384),)) as server:
        client = await server.connect(send_buffer=16384)
        (conn,) = server.conns
        conn.pause_reading()
        frame = build_frame(BINARY, bytes(10_000))
        taken = 0
        for _ in range(400):
            taken += client.send_now(frame[taken % len(frame) :])
            await turns(1)
        assert taken < 2_000_000
        conn.resume_reading()
        await client.send(frame[taken % len(frame) :])
        await until(lambda: len(server.messages) == taken // len(frame) + 1)


@every_transport
async def test_pausing_and_resuming_again_and_again_changes_nothing(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        (conn,) = server.conns
        for _ in range(3):
            conn.pause_reading()
            conn.pause_reading()
            conn.resume_reading()
            conn.resume_reading()
        await client.send_frame(TEXT, b"x")
        assert await client.read_message() == "x"
        client.close()
        await server.all_closed()
        conn.pause_reading()
        conn.resume_reading()


@on_reactor
@pytest.mark.parametrize("ending", ["fin", "data and fin"])
async def test_a_paused_reader_whose_peer_says_fin_does_not_spin(ending: str) -> None:
    """Level-triggered, the end of the peer's half would wake us for ever; it is noticed when reading goes on."""
    async with serving("reactor") as server:
        client = await server.connect()
        (conn,) = server.conns
        conn.pause_reading()
        if ending != "fin":
            await client.send_frame(TEXT, b"unread")
        client.shutdown_write()
        await turns(5)
        assert await wakes(server) < 5
        assert (conn.state, server.closes) == (OPEN, [])
        conn.resume_reading()
        await until(lambda: server.closes)
        assert server.closes == [(1006, "")]
        assert server.messages == ([] if ending == "fin" else ["unread"])


@on_reactor
@pytest.mark.parametrize("unread", [False, True])
async def test_a_paused_reader_whose_peer_resets_is_closed_at_once(unread: bool) -> None:
    """HUP and ERR cannot be masked: to leave them unserved is to spin."""
    async with serving("reactor") as server:
        client = await server.connect()
        server.conns[0].pause_reading()
        if unread:
            await client.send_frame(TEXT, b"unread")
            await turns(5)
        client.reset()
        await server.all_closed()
        assert server.closes == [(1006, "")]
        assert await wakes(server) < 5


@on_reactor
async def test_a_request_that_waits_for_its_decision_does_not_spin() -> None:
    async with serving("reactor") as server:
        waiting: list[Any] = []
        server.on_request = lambda conn, data: waiting.append(conn)
        client = await server.client()
        await client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + b"more")
        await until(lambda: waiting)
        client.shutdown_write()
        assert await wakes(server) < 5
        assert waiting[0].state == HANDSHAKING
        waiting[0].respond(b"HTTP/1.1 200 OK\r\n\r\nlate")
        assert await client.read_until_eof() == b"HTTP/1.1 200 OK\r\n\r\nlate"


@on_reactor
async def test_idle_and_lingering_connections_do_not_spin() -> None:
    async with serving("reactor") as server:
        idle, lingering, closing = await server.connect_many(3)
        await lingering.send_close()
        await lingering.read_close()
        next(conn for conn in server.conns if conn.remote == closing.socket.getsockname()).close(4000)
        await turns(5)
        assert await wakes(server) < 5
        await idle.send_frame(TEXT, b"x")
        assert await idle.read_message() == "x"


# Floods


@every_transport
async def test_a_peer_that_sends_faster_than_is_handled_is_slowed_down(transport: str) -> None:
    """100,000 tiny frames: what is received and not handled yet stays within what the sockets hold and one read."""
    frame = build_frame(TEXT, b"")
    total = 100_000
    ahead = 0

    async with serving(
        transport,
        on_message=lambda *_: None,
        keep=False,
        listener_options=((socket.SOL_SOCKET, socket.SO_RCVBUF, 16384),),
    ) as server:
        client = await server.connect(send_buffer=16384)
        server.loop_data.pass_ns = 0
        taken = 0
        while taken < total * len(frame):
            taken += client.send_now((frame * 2000)[taken % len(frame) :][: total * len(frame) - taken])
            await turns(1)
            ahead = max(ahead, taken - server.endpoint.messages_in * len(frame))
        await until(lambda: server.endpoint.messages_in == total)
        assert ahead < 420_000, "of 600,000 bytes"


@over("uvloop", "asyncio")
async def test_a_close_behind_a_flood_is_heard(transport: str) -> None:
    """Reading was held up while frames waited, and goes on when they are done."""
    async with serving(transport) as server:
        client = await server.connect()
        client.send_now(build_frame(TEXT, b"x") * 5000)
        await turns(3)
        await client.send_close(4000)
        for _ in range(5000):
            assert await client.read_message() == "x"
        assert await client.read_close() == (4000, "")
        assert await client.read_until_eof() == b""


@over("uvloop", "asyncio")
@pytest.mark.parametrize("ending", ["fin", "reset", "bad frame"])
async def test_the_end_of_a_flood_is_noticed(transport: str, ending: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        client.send_now(build_frame(TEXT, b"x") * 5000)
        await turns(3)
        if ending == "fin":
            client.shutdown_write()
            await client.read_until_eof()
        elif ending == "bad frame":
            await client.send(build_frame(3))
            await client.read_until_eof()
        else:
            client.reset()
        client.close()
        await server.all_closed()
        assert server.closes[0][0] == (1002 if ending == "bad frame" else 1006)
        assert len(server.messages) == 5000 or ending == "reset"


@over("uvloop", "asyncio")
async def test_a_transport_does_not_outlive_the_time_we_give_a_peer_that_never_reads(transport: str) -> None:
    """To close a transport of the loop is to flush it first, for which such a peer takes for ever."""
    gone: list[Any] = []

    class Noted(Wire):
        def connection_lost(self, error: Exception | None) -> None:
            gone.append(self)
            super().connection_lost(error)

    async with serving(transport, connection_class=Noted, close_timeout=0.3, max_outbox=64 << 20) as server:
        await server.connect(receive_buffer=4096)
        (conn,) = server.conns
        for _ in range(100):
            conn.send(bytes(100_000))
        await turns(3)
        conn.close(4000)
        await until(lambda: gone == [conn])


@over("uvloop", "asyncio")
async def test_a_transport_that_ended_by_itself_is_not_aborted_as_well(transport: str) -> None:
    """After `connection_lost` asyncio's transport knows its loop no more, and raises if it had only been closed."""
    async with serving(transport, max_outbox=60_000) as server:
        client = await server.connect(receive_buffer=4096)
        (conn,) = server.conns
        while conn.send(bytes(30_000)) != GONE:  # a slow consumer: to be reset in the end
            pass
        conn.transport.close()  # when it has sent what it took
        await client.read_until_eof()
        await server.all_closed()
        assert server.closes == [(4003, "slow_consumer")]


# Transports that are not TCP


@over("uvloop", "asyncio")
async def test_unix_sockets(transport: str, tmp_path: Path) -> None:
    async with serving(transport) as server:
        path = str(tmp_path / "socket")
        unix = await server.loop.create_unix_server(partial(server.connection_class, server.ingress), path)
        clients = []
        for _ in range(3):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            await server.loop.sock_connect(sock, path)
            client = Client(sock)
            server.clients.append(client)
            clients.append(client)
            await client.send(upgrade_request() + build_frame(BINARY, bytes(60_000)))
            assert (await client.read_response())[0] == 101
            assert await client.read_message() == bytes(60_000)
        polite, leaving, aborted = clients
        assert [conn.remote for conn in server.conns] == [None] * 3
        await polite.send_close(4000)
        assert await polite.read_close() == (4000, "")
        assert await polite.read_until_eof() == b""
        polite.close()
        leaving.close()
        server.conns[2].abort()
        assert await aborted.ending() in ("fin", "rst")
        await server.all_closed()
        assert sorted(server.closes) == [(1006, ""), (1006, ""), (4000, "")]
        unix.close()


@over("uvloop", "asyncio")
async def test_tls(transport: str, tmp_path: Path) -> None:
    """TLS cannot close one half: after the last word the transport is closed."""
    certificate = make_certificate(tmp_path)
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(certificate)
    outside = ssl.create_default_context(cafile=str(certificate))
    async with serving(transport) as server:
        tls = await server.loop.create_server(
            partial(server.connection_class, server.ingress), "127.0.0.1", 0, ssl=inside
        )
        port = tls.sockets[0].getsockname()[1]
        readers = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=outside, server_hostname="localhost")
            readers.append((reader, writer))
            writer.write(upgrade_request() + build_frame(BINARY, bytes(200)))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            assert await reader.readexactly(204) == b"\x82\x7e\x00\xc8" + bytes(200)
        assert server.conns[0].remote == readers[0][1].get_extra_info("sockname")[:2]
        watch = Stopwatch()
        readers[0][1].write(build_frame(8, b"\x0f\xa0"))
        assert await readers[0][0].read() == b"\x88\x02\x0f\xa0"
        server.conns[1].close(4001)
        assert await readers[1][0].readexactly(4) == b"\x88\x02\x0f\xa1"
        readers[1][1].write(build_frame(8, b"\x0f\xa1"))
        assert await readers[1][0].read() == b""
        assert watch.own_s < 1.5, "the end came by itself, not by a deadline"
        server.conns[2].abort()
        with pytest.raises(ConnectionError):
            await read_or_raise(readers[2][0])
        for _, writer in readers:
            writer.transport.abort()
        await server.all_closed()
        assert sorted(server.closes) == [(1006, ""), (4000, ""), (4001, "")]
        tls.close()
        await turns(5)


async def read_or_raise(reader: asyncio.StreamReader) -> None:
    """Read to an end that must not be a clean one: TLS tells a truncated stream in several ways."""
    try:
        data = await reader.read()
    except (OSError, ssl.SSLError) as error:
        raise ConnectionResetError from error
    if not data:
        raise ConnectionResetError


def make_certificate(folder: Path) -> Path:
    """A key and a certificate for localhost in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
