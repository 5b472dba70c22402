"""C epoll echoes and spreads, and a subscriber that does not read holds up nobody."""

from tests.bench.peers import checks
from tests.support.raw_client import RawClient

MORE_THAN_A_SOCKET_TAKES = 8 << 20  # bytes; the kernel's default is 4 MiB at most


def test_echo() -> None:
    with checks.running("c_epoll") as server:
        checks.echoes(server)
        checks.bears_the_engine(server)


def test_fanout() -> None:
    with checks.running("c_epoll") as server:
        checks.spreads("c_epoll", server)
        checks.spreads_to_the_engine("c_epoll", server)


def test_a_slow_subscriber_gets_the_rest_once_it_reads() -> None:
    message = bytes(range(256)) * (MORE_THAN_A_SOCKET_TAKES // 256)
    with (
        checks.running("c_epoll") as server,
        RawClient("127.0.0.1", server.port, receive_buffer=4096) as slow,
        checks.client(server, "/publish") as publisher,
    ):
        assert slow.upgrade("/fanout").status == 101
        publisher.send(message)
        assert publisher.ping().wait(checks.TIMEOUT_S)  # the publication has been through
        slow.read_exactly(10)  # the header
        with slow.socket.makefile("rb") as rest:
            assert slow.received + rest.read(len(message) - len(slow.received)) == message
        slow.received = b""
        publisher.send("small")
        assert slow.read_message() == "small"


def test_a_subscriber_that_is_too_far_behind_is_dropped() -> None:
    with (
        checks.running("c_epoll") as server,
        RawClient("127.0.0.1", server.port, receive_buffer=4096) as slow,
        checks.client(server, "/publish") as publisher,
    ):
        assert slow.upgrade("/fanout").status == 101
        with checks.client(server, "/fanout") as healthy:
            for message in (bytes(MORE_THAN_A_SOCKET_TAKES), "small"):
                publisher.send(message)
                assert healthy.recv(timeout=checks.TIMEOUT_S) == message
        assert len(slow.read_until_eof()) < MORE_THAN_A_SOCKET_TAKES


def test_rooms() -> None:
    with checks.running("c_epoll") as server:
        checks.has_rooms("c_epoll", server)
