"""The counter of system calls, against a process whose calls are known."""

import socket

from bench import servers
from tests.support.syscalls import counted_syscalls


def test_counts_each_call_of_a_running_process() -> None:
    request = (
        b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    frame = b"\x82\x82\x01\x02\x03\x04" + bytes([ord("h") ^ 1, ord("i") ^ 2])
    with servers.peer("c_epoll") as server, socket.create_connection(("127.0.0.1", server.port), 10.0) as client:
        client.sendall(request)
        assert client.recv(4096).endswith(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        with counted_syscalls(server.pid) as calls:
            for _ in range(5):
                client.sendall(frame * 16)
                replies = b""
                while len(replies) < 16 * 4:
                    replies += client.recv(4096)
                assert replies == b"\x82\x02hi" * 16
    assert calls["sendto"] == 5  # sixteen replies in one
    assert calls.sends == 5
    assert calls["recvfrom"] == 5
    assert calls["nothing of the kind"] == 0
