"""`python -m bench.bystander.client PORT SERVER_PID`: one echo client that notes how long each answer takes.

A line on standard input asks for the delays since the last one, which are printed as one line of JSON; the end of
standard input ends it. It exits 1, and says why, when the server ends the connection or answers wrongly.
"""

import base64
import json
import os
import select
import socket
import struct
import sys

from bench.bystander.probes import PERIOD_S, Delays, OwnClock, go_first

PATIENCE_S = 20.0


class EchoClient:
    """One connection to `/echo`, with one message on its way at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0
        self._received = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(upgrade_request(port, "/echo", key))
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            self.close()
            raise ConnectionError(f"not upgraded: {head[:60]!r}")

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server ended the connection")
        self._received += data

    def round_trip(self) -> None:
        """Send a message and wait until it is back; pings are answered.

        :raises OSError: the server ended the connection, sent something else, or nothing for 20 s.
        """
        self._number += 1
        payload = b"bystander %06d" % (self._number % 1_000_000)
        self._socket.sendall(client_frame(2, payload))
        while True:
            while len(self._received) < 2 or len(self._received) < 2 + self._received[1]:
                self._receive()
            opcode, end = self._received[0], 2 + self._received[1]
            answer, self._received = self._received[2:end], self._received[end:]
            if opcode == 0x89:
                self._socket.sendall(client_frame(10, answer))
            elif opcode == 0x82 and answer == payload:
                return
            else:
                raise ConnectionError(f"got {opcode:#x} {answer!r} for {payload!r}")

    def close(self) -> None:
        """Close the socket without a word."""
        self._socket.close()


def upgrade_request(port: int, path: str, key: str) -> bytes:
    """The head of an upgrade."""
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    )
    return "\r\n".join([*lines, "", ""]).encode()


def client_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A masked frame of less than 64 KiB (RFC 6455 5.2)."""
    key = os.urandom(4)
    masked = bytes(byte ^ key[i & 3] for i, byte in enumerate(payload))
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
    return bytes([fin << 7 | opcode]) + length + key + masked


def main(port: int, server_pid: int) -> None:
    """Ask and note until standard input ends."""
    go_first()
    client, delays = EchoClient(port), Delays()
    print("connected", flush=True)
    with OwnClock([server_pid]) as clock:
        while True:
            asked_own, asked_wall = clock.read()
            client.round_trip()
            own, wall = clock.read()
            delays.add(own - asked_own, wall - asked_wall)
            if select.select([sys.stdin], [], [], PERIOD_S)[0]:
                if not os.read(0, 100):
                    return
                print(json.dumps(delays.take()), flush=True)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except OSError as error:
        sys.exit(f"the echo client: {error}")
