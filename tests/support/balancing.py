"""A load balancer for tests: TCP, on loopback, with an order of preference."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

CONNECT_S = 2.0


class Balancer:
    """Each connection goes to the first of the servers that takes it. `servers` may change at any time."""

    def __init__(self, servers: Sequence[tuple[str, int]]) -> None:
        self.servers = list(servers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._changing = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def _spawn(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connect()
            if server is None:
                client.close()
                continue
            with self._changing:
                self._open |= {client, server}
            self._spawn(self._carry, client, server)
            self._spawn(self._carry, server, client)

    def _connect(self) -> socket.socket | None:
        for address in list(self.servers):
            with suppress(OSError):
                return socket.create_connection(address, CONNECT_S)
        return None

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        """Bytes from one to the other; when one side ends, so does the other."""
        with suppress(OSError):
            source.settimeout(None)
            while data := source.recv(65536):
                target.sendall(data)
        for sock in (source, target):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changing:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in self._open:
            sock.close()
