"""What is received and what comes of it, over every kind of transport."""

from typing import Any

import pytest

from tests.fastws_ext.harness import (
    ANSWERS,
    CLOSED,
    LINGERING,
    STREAM,
    Client,
    every_transport,
    on_reactor,
    serving,
    turns,
    until,
)
from tests.support.frames import (
    BINARY,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    Frame,
    build_frame,
    close_frame,
    xor,
)

SIZES = (0, 1, 125, 126, 127, 65535, 65536, 65537, 1_000_000)

# Messages


@every_transport
@pytest.mark.parametrize("size", SIZES)
async def test_echo_of_every_size(transport: str, size: int) -> None:
    async with serving(transport, max_message_size=1_000_000) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"t" * size)
        assert await client.read_message() == "t" * size
        await client.send_frame(BINARY, b"\x00\xff" * (size // 2))
        assert await client.read_message() == b"\x00\xff" * (size // 2)


@every_transport
@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x80\x7f\xfe"])
async def test_every_mask_and_alignment(transport: str, mask: bytes) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        payloads = [bytes(range(size)) for size in range(40)]
        await client.send(b"".join(build_frame(BINARY, payload, mask=mask) for payload in payloads))
        assert [await client.read_message() for _ in payloads] == payloads


@every_transport
async def test_fragments_with_pings_between(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        await client.send(b"".join(STREAM))
        assert [await client.read_frame() for _ in ANSWERS] == ANSWERS


@every_transport
async def test_the_same_answers_wherever_the_stream_is_cut(transport: str) -> None:
    stream = b"".join(STREAM)
    async with serving(transport) as server:
        client = await server.connect()
        for cut in range(1, len(stream)):
            await client.send_in_pieces(stream[:cut], stream[cut:])
            assert [await client.read_frame() for _ in ANSWERS] == ANSWERS, f"cut at {cut}"


@every_transport
async def test_the_same_answers_byte_by_byte(transport: str) -> None:
    stream = b"".join(STREAM)
    async with serving(transport) as server:
        client = await server.connect()
        await client.send_in_pieces(*(stream[i : i + 1] for i in range(len(stream))))
        assert [await client.read_frame() for _ in ANSWERS] == ANSWERS
        await client.send_in_pieces(*(bytes([byte]) for byte in close_frame(4123, b"why")))
        assert await client.read_close() == (4123, "")
        await until(lambda: server.closes)
        assert server.closes == [(4123, "why")]


@every_transport
async def test_a_big_message_in_pieces_is_not_copied_away_or_mixed_up(transport: str) -> None:
    payload = b"".join(number.to_bytes(4, "big") for number in range(100_000))
    frame = build_frame(BINARY, payload)
    async with serving(transport, max_message_size=400_000) as server:
        client = await server.connect()
        await client.send_in_pieces(*(frame[i : i + 33_333] for i in range(0, len(frame), 33_333)))
        assert await client.read_message() == payload


@every_transport
async def test_frames_pipelined_with_the_request_are_served(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect(pipelined=build_frame(TEXT, b"early") + build_frame(PING, b"p") + b"\x81")
        assert await client.read_message() == "early"
        assert await client.read_frame() == Frame(PONG, b"p")
        await client.send(build_frame(TEXT, b"late")[1:])
        assert await client.read_message() == "late"


@every_transport
async def test_what_is_received_is_counted(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        await client.send(b"".join(STREAM))
        for _ in ANSWERS:
            await client.read_frame()
        size = len("grüße €".encode()) + len("frag-€".encode()) + 130
        endpoint = server.endpoint
        assert (endpoint.opened, endpoint.messages_in, endpoint.bytes_in) == (1, 4, size)
        assert (endpoint.messages_out, endpoint.bytes_out, endpoint.pongs_received) == (4, size, 1)


# Handlers


@every_transport
async def test_a_failing_handler_closes_its_connection_and_no_other(transport: str) -> None:
    """What it had sent goes out before the close frame, frames after it are ignored, and the batch goes on."""

    def handle(conn: Any, message: str | bytes) -> None:
        conn.send(f"got {message!r}")
        if message == "bad":
            raise ValueError("on purpose")

    async with serving(transport, on_message=handle) as server:
        clients = await server.connect_many(10)
        for index, client in enumerate(clients):
            text = b"bad" if index % 2 else b"good"
            client.send_now(build_frame(TEXT, b"first") + build_frame(TEXT, text) + build_frame(TEXT, b"last"))
        for index, client in enumerate(clients):
            assert await client.read_message() == "got 'first'"
            if index % 2:
                assert await client.read_message() == "got 'bad'"
                assert await client.read_close() == (1011, "internal")
            else:
                assert [await client.read_message() for _ in range(2)] == ["got 'good'", "got 'last'"]
        assert [(where, str(error)) for where, error in server.errors] == [("message", "on purpose")] * 5
        assert server.messages.count("last") == 5


@every_transport
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_whatever_a_handler_raises_stays_with_its_connection(transport: str, error: type[BaseException]) -> None:
    def handle(conn: Any, message: str | bytes) -> None:
        raise error

    async with serving(transport, on_message=handle) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"x")
        assert await client.read_close() == (1011, "internal")
        assert await server.connect()


@every_transport
async def test_a_failing_on_open_closes_and_on_close_is_called(transport: str) -> None:
    def fail(conn: Any) -> None:
        conn.send("hello")
        raise ValueError

    async with serving(transport, on_open=fail) as server:
        client = await server.connect(pipelined=build_frame(TEXT, b"early"))
        assert await client.read_message() == "hello"
        assert await client.read_close() == (1011, "internal")
        await client.send_close(1011)
        await until(lambda: server.closes)
        assert [where for where, _ in server.errors] == ["open"]
        assert server.closes == [(1011, "internal")]
        assert server.messages == []


@every_transport
async def test_a_failing_on_close_is_reported(transport: str) -> None:
    def fail(conn: Any, code: int, reason: str) -> None:
        raise ValueError

    async with serving(transport, on_close=fail) as server:
        client = await server.connect()
        await client.send_close(1001)
        assert await client.read_close() == (1001, "")
        assert await client.ending() == "fin"
        client.close()
        await server.all_closed()
        assert [where for where, _ in server.errors] == ["close"]
        assert (server.closes, server.ingress.released) == ([(1001, "")], 1)


@every_transport
async def test_a_failing_on_error_is_reported_to_the_loop(transport: str) -> None:
    def fail(*arguments: Any) -> None:
        raise ValueError

    async with serving(transport, on_message=fail, on_error=fail, internal_errors=True) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"x")
        assert await client.read_close() == (1011, "internal")
        assert len(server.internal) == server.loop_data.errors == 1


@every_transport
async def test_results_that_are_not_none_are_handed_on(transport: str) -> None:
    async def answer(conn: Any) -> None:
        conn.send("later")

    given: list[Any] = []

    def take(conn: Any, result: Any) -> None:
        given.append(result)
        if hasattr(result, "send"):
            server.loop.create_task(result)

    async with serving(
        transport,
        on_open=lambda conn: "opened",
        on_message=lambda conn, message: answer(conn) if message == "async" else None,
        on_close=lambda conn, code, reason: "closed",
        on_result=take,
    ) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"plain")
        await client.send_frame(TEXT, b"async")
        assert await client.read_message() == "later"
        await client.send_close()
        await client.ending()
        await until(lambda: len(given) == 3)
        assert (given[0], given[2]) == ("opened", "closed")


@every_transport
async def test_a_law_that_fails_by_itself_closes_1011(transport: str) -> None:
    class BrokenLaw:
        def __init__(self, *arguments: int) -> None:
            raise RuntimeError("cannot")

    async with serving(transport, law_factory=BrokenLaw) as server:
        client = await server.connect()
        await client.send(build_frame(TEXT, b"wrong", rsv=1))
        assert await client.read_close() == (1011, "internal")
        assert [where for where, _ in server.errors] == ["law"]


@every_transport
async def test_our_own_failure_costs_one_connection_and_leaves_nothing_behind(transport: str) -> None:
    """A law that answers nonsense breaks the reading itself: one connection is reset, its neighbour is not mixed up."""

    class NonsenseLaw:
        def __init__(self, *arguments: int) -> None:
            pass

        def receive_data(self, data: bytes) -> int:
            return 5

    async with serving(transport, law_factory=NonsenseLaw, internal_errors=True) as server:
        bad, good = await server.connect_many(2)
        await bad.send(build_frame(TEXT, b"unsent") + build_frame(TEXT, b"wrong", rsv=1))
        await bad.ending()
        assert await echoes(good)
        await until(lambda: server.closes)
        assert server.closes == [(1006, "")]
        assert len(server.internal) == 1


async def echoes(client: Client) -> bool:
    """Whether the connection works."""
    await client.send_frame(TEXT, b"still here")
    return await client.read_message() == "still here"


# Control frames


@every_transport
@pytest.mark.parametrize("payload", [b"", b"x", bytes(125)])
async def test_pings_are_answered_with_their_payload(transport: str, payload: bytes) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        await client.send_frame(PING, payload)
        assert await client.read_frame() == Frame(PONG, payload)
        await client.send(build_frame(PONG, payload) + build_frame(TEXT, b"on"))
        assert await client.read_message() == "on"


@on_reactor
async def test_of_pings_to_a_full_socket_only_the_latest_is_answered() -> None:
    """RFC 6455 5.5.3: a flood of pings by a peer that does not read queues one pong."""
    async with serving("reactor", max_outbox=1 << 22) as server:
        client = await server.connect(receive_buffer=4096)
        (conn,) = server.conns
        while not conn.buffered:
            conn.send(bytes(65536))
            await turns(2)
        waiting = conn.buffered
        for number in range(2000):
            await client.send_frame(PING, b"%04d" % number)
        await until(lambda: server.reactor.receives > 0 and conn.buffered > waiting)
        await turns(20)
        assert conn.buffered <= waiting + 6
        pongs: list[Frame] = []
        while not pongs:
            frame = await client.read_frame()
            pongs = [frame] if frame.opcode == PONG else []
        assert pongs == [Frame(PONG, b"1999")]


@every_transport
async def test_frames_after_our_close_are_ignored_until_the_peers(transport: str) -> None:
    def handle(conn: Any, message: str | bytes) -> None:
        conn.send(message)
        if message == "enough":
            conn.close(4001, "bye")
            conn.send("never")

    async with serving(transport, on_message=handle) as server:
        client = await server.connect()
        rest = build_frame(TEXT, b"more") + build_frame(PING, b"p") + build_frame(BINARY, bytes(300), fin=False)
        await client.send(build_frame(TEXT, b"enough") + rest)
        assert await client.read_message() == "enough"
        assert await client.read_close() == (4001, "bye")
        await turns(4)
        assert client.heard_nothing()
        assert server.ingress.connections == 1, "the peer's close frame is awaited"
        await client.send(build_frame(CONTINUATION, bytes(70_000)) + close_frame(4001))
        assert await client.read_until_eof() == b""
        await until(lambda: server.closes)
        assert server.closes == [(4001, "bye")]
        assert server.messages == ["enough"]


@every_transport
@pytest.mark.parametrize("kind", ["plain", "for the law"])
async def test_a_close_in_the_middle_of_the_peers_message_waits_for_its_end(transport: str, kind: str) -> None:
    """The rest of that message looks like a close frame, which it is not."""
    payload = b"\x88\x80\x00\x00\x00\x00" * 100
    frame = build_frame(BINARY, payload, fin=kind == "plain", mask=b"\0\0\0\0")
    async with serving(transport) as server:
        client = await server.connect()
        (conn,) = server.conns
        await client.send_in_pieces(frame[:104])
        conn.close(4000, "server")
        assert await client.read_close() == (4000, "server")
        await client.send_in_pieces(frame[104:300], frame[300:])
        await turns(4)
        assert client.heard_nothing(), "no FIN: the peer's close frame is still awaited"
        await client.send_close(4000)
        assert await client.read_until_eof() == b""


@every_transport
async def test_a_broken_frame_after_our_close_ends_the_wait(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        server.conns[0].close(4000)
        assert await client.read_close() == (4000, "")
        await client.send(build_frame(3, b"x"))
        assert await client.read_until_eof() == b""
        await until(lambda: server.conns[0].state in (LINGERING, CLOSED))


@on_reactor
async def test_masking_key_is_applied_across_pieces_of_any_size() -> None:
    """The phase of the key goes on where the piece before it ended."""
    payload = bytes(range(256)) * 4
    async with serving("reactor") as server:
        client = await server.connect()
        for piece in (1, 2, 3, 5, 7, 64):
            frame = build_frame(BINARY, payload)
            head, body = frame[:-1024], xor(payload, MASK)
            parts = [body[i : i + piece] for i in range(0, 20 * piece, piece)]
            await client.send_in_pieces(head, *parts, body[20 * piece :])
            assert await client.read_message() == payload


@on_reactor
async def test_a_closed_connection_is_not_read_any_more() -> None:
    """The handler resets its own connection in the middle of what it received."""

    def handle(conn: Any, message: str | bytes) -> None:
        conn.abort()

    async with serving("reactor", on_message=handle) as server:
        client = await server.connect()
        await client.send(build_frame(TEXT, b"x") * 10)
        assert await client.ending() == "rst"
        assert server.messages == ["x"]
