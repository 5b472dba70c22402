"""Processes that hear what is published: a node of fastws with one subscriber of each topic, and redis-py."""

import fcntl
import json
import os
import re
import selectors
import socket
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic
from types import TracebackType
from typing import IO, Self

from bench import measure
from bench.load import LoadError
from bench.servers import ROOT, Server, ending_with_parent

START_S = 20.0
READ_BYTES = 1 << 20


class Node:
    """A subscriber of all topics at a server, which counts by length: all frames of publications are equally long."""

    def __init__(self, server: Server, topics: Sequence[str]) -> None:
        self.pids = server.pids
        self._bytes = 0
        self._length = 0
        self._begun = b""
        self._sock = socket.create_connection(("127.0.0.1", server.port), timeout=START_S)
        self._sock.sendall(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        self._read_until(b'"welcome"')
        for number, topic in enumerate(topics, 1):
            self._say(json.dumps({"id": number, "cmd": "sub", "topic": topic}).encode())
            self._read_until(b'"id":%d,' % number)
        self._sock.setblocking(False)
        self._buffer = bytearray(READ_BYTES)

    def fileno(self) -> int:
        return self._sock.fileno()

    def count(self) -> int:
        while True:
            try:
                got = self._sock.recv_into(self._buffer)
            except BlockingIOError:
                break
            except OSError as error:
                raise LoadError(f"the subscriber was disconnected: {error}") from error
            if not got:
                raise LoadError("the subscriber was disconnected")
            if not self._length:
                self._begun += self._buffer[:got]
                self._length = _length_of(self._begun)
            self._bytes += got
        return self._bytes // self._length if self._length else 0

    def _say(self, text: bytes) -> None:
        """One text message, masked with zeros."""
        length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2)
        self._sock.sendall(b"\x81" + length + b"\0\0\0\0" + text)

    def _read_until(self, word: bytes) -> None:
        read = b""
        while word not in read:
            part = self._sock.recv(65536)
            if not part:
                raise LoadError(f"the subscriber was disconnected: {read[:200]!r}")
            read += part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sock.close()


def _length_of(begun: bytes) -> int:
    """Of the first frame, with its head; 0 if too little has come. RFC 6455 5.2."""
    if len(begun) < 4:
        return 0
    length = begun[1]
    if begun[0] != 0x81 or length > 126:
        raise LoadError(f"no publication: {begun[:200]!r}")
    return 2 + length if length < 126 else 4 + int.from_bytes(begun[2:4])


class RedisPy:
    """redis-py's client in a process of its own."""

    def __init__(self, redis_socket: str, channels: Sequence[str], cpus: set[int]) -> None:
        self._heard = 0
        self._rest = b""
        with measure.on_cpus(cpus):
            self._process = subprocess.Popen(
                [*ending_with_parent(), sys.executable, "-m", "bench.cluster.listener", redis_socket, *channels],
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
        self.pids = [self._process.pid]
        assert self._process.stdout is not None
        self._output: IO[bytes] = self._process.stdout
        fcntl.fcntl(self._output, fcntl.F_SETFL, fcntl.fcntl(self._output, fcntl.F_GETFL) | os.O_NONBLOCK)
        try:
            self._wait()
        except BaseException:
            self._end()
            raise

    def _wait(self) -> None:
        end = monotonic() + START_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while b"listening\n" not in self._rest:
                if monotonic() > end or not selector.select(START_S):
                    raise LoadError("redis-py does not listen")
                self._read()
        self._rest = b""

    def fileno(self) -> int:
        return self._output.fileno()

    def count(self) -> int:
        self._read()
        *lines, self._rest = self._rest.split(b"\n")
        if lines and re.fullmatch(rb"\d+", lines[-1]):
            self._heard = int(lines[-1])
        return self._heard

    def _read(self) -> None:
        try:
            part = os.read(self.fileno(), 65536)
        except BlockingIOError:
            return
        if not part:
            raise LoadError("redis-py has ended")
        self._rest += part

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()
