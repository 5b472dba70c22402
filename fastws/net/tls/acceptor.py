"""Accepting for TLS: from a listening socket to the protocol of a connection whose handshake is done.

The loop's own servers accept without limit, and spend a TLS object on whoever connects. Here somebody who connects and
says nothing costs a socket and a timer, and a storm of newcomers gets a few handshakes in each turn of the loop, so
that it does not stop everybody else.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from fastws.net.connection import Connection
from fastws.net.http import error_answer

_log: Final = logging.getLogger("fastws.tls")

SHUTDOWN_TIMEOUT_S: Final = 5.0
"""How long a peer may take to answer the close_notify, and to read what was sent before it."""

_ACCEPTS_A_TURN: Final = 64
_HANDSHAKES_A_TURN: Final = 4  # of 0.2 ms (ECDSA) to 1 ms (RSA 2048) of CPU
_REST_S: Final = 0.1
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_HANDSHAKE_RECORD: Final = 22  # RFC 8446 5.1: the first byte of every ClientHello
_FOREVER_S: Final = 365 * 86400.0
_NOT_TLS: Final = error_answer(400, "this port speaks TLS: use https:// or wss://")


class TlsAcceptor:
    """Serves the listening sockets that are given to `listen`, until `close`.

    `make` is called when a client was accepted, so that its deadline runs from there; `take` is given the connection
    when the handshake is done. `timeout_s`: from accept to the end of the handshake, 0 = no limit. `has_room`: told how
    many newcomers are between the two, says whether one more socket may be open; if not, it is closed at once, as it
    could not read an answer.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: ssl.SSLContext,
        make: Callable[[], Connection],
        take: Callable[[Connection], None],
        *,
        timeout_s: float,
        has_room: Callable[[int], bool],
    ) -> None:
        self.failed = 0
        """Handshakes that did not come to an end, silence included."""
        self.turned_away = 0
        """Sockets that there was no room for."""
        self._loop = loop
        self._context = context
        self._make = make
        self._take = take
        self._timeout_s = timeout_s
        self._has_room = has_room
        self._listening: list[socket.socket] = []
        self._silent: dict[socket.socket, _Newcomer] = {}
        self._ready: deque[_Newcomer] = deque()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None

    @property
    def under_way(self) -> int:
        """Newcomers that are not connections yet."""
        return len(self._silent) + len(self._ready) + len(self._handshakes)

    def listen(self, sock: socket.socket, backlog: int) -> None:
        """Accept on a bound socket, which stays the caller's to close."""
        sock.listen(backlog)
        self._listening.append(sock)
        self._loop.add_reader(sock, self._accept, sock)

    def renew(self, context: ssl.SSLContext) -> None:
        """Make handshakes with this from now on, those of who has not begun included."""
        self._context = context

    def stop_accepting(self) -> None:
        """Accept no more; whoever was accepted goes on."""
        if self._rest is not None:
            self._rest.cancel()
        for sock in self._listening:
            self._loop.remove_reader(sock)
        self._listening.clear()

    async def close(self) -> None:
        """Accept no more, and drop whoever is not a connection yet."""
        self.stop_accepting()
        if self._turn is not None:
            self._turn.cancel()
        for newcomer in [*self._silent.values(), *self._ready]:
            self._drop(newcomer)
        self._silent.clear()
        self._ready.clear()
        await asyncio.sleep(0)  # a task that is cancelled before its first step would not close its socket
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, _ = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause()
                    return
                continue  # of one client: it has gone again
            if not self._has_room(self.under_way):
                self.turned_away += 1
                sock.close()
                continue
            sock.setblocking(False)
            newcomer = _Newcomer(sock, self._make(), self._loop.time() + (self._timeout_s or _FOREVER_S))
            if self._timeout_s:
                newcomer.timer = self._loop.call_later(self._timeout_s, self._give_up, newcomer)
            self._silent[sock] = newcomer
            self._loop.add_reader(sock, self._hear, newcomer)

    def _pause(self) -> None:
        """Nothing can be accepted now, and an epoll that goes on saying so would spin."""
        for sock in self._listening:
            self._loop.remove_reader(sock)
        if self._rest is not None:
            self._rest.cancel()
        self._rest = self._loop.call_later(_REST_S, self._resume)

    def _resume(self) -> None:
        for sock in self._listening:
            self._loop.add_reader(sock, self._accept, sock)

    def _hear(self, newcomer: _Newcomer) -> None:
        """The first bytes have come, or the end."""
        try:
            first = newcomer.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            first = b""
        self._loop.remove_reader(newcomer.sock)
        if not first:
            self._give_up(newcomer)
        elif first[0] != _HANDSHAKE_RECORD:
            self._refuse(newcomer)
        else:
            del self._silent[newcomer.sock]
            self._ready.append(newcomer)
            if self._turn is None:
                self._turn = self._loop.call_soon(self._begin_some)

    def _begin_some(self) -> None:
        self._turn = None
        for _ in range(min(_HANDSHAKES_A_TURN, len(self._ready))):
            task = self._loop.create_task(self._shake_hands(self._ready.popleft()))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)
        if self._ready:
            self._turn = self._loop.call_soon(self._begin_some)

    async def _shake_hands(self, newcomer: _Newcomer) -> None:
        if newcomer.timer is not None:
            newcomer.timer.cancel()
        try:
            await self._loop.connect_accepted_socket(
                lambda: cast("asyncio.Protocol", newcomer.connection),
                newcomer.sock,
                ssl=self._context,
                ssl_handshake_timeout=max(newcomer.deadline - self._loop.time(), 0.001),
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )
        except OSError as error:
            # Whoever scans ports or has no trust in the certificate ends here: no news for the log of a server.
            self.failed += 1
            _log.debug("TLS handshake failed: %s", error)
        else:
            self._take(newcomer.connection)

    def _refuse(self, newcomer: _Newcomer) -> None:
        """Tell whoever speaks HTTP to this port; what it has sent is read, as a reset would swallow the answer."""
        with suppress(OSError):
            if newcomer.sock.recv(65536)[:1].isalpha():
                newcomer.sock.send(_NOT_TLS)
                newcomer.sock.shutdown(socket.SHUT_WR)
        self._give_up(newcomer)

    def _give_up(self, newcomer: _Newcomer) -> None:
        self.failed += 1
        self._silent.pop(newcomer.sock, None)
        if newcomer in self._ready:
            self._ready.remove(newcomer)
        self._drop(newcomer)

    def _drop(self, newcomer: _Newcomer) -> None:
        if newcomer.timer is not None:
            newcomer.timer.cancel()
        self._loop.remove_reader(newcomer.sock)
        newcomer.sock.close()


class _Newcomer:
    """A socket that was accepted and has no transport yet."""

    __slots__ = ("connection", "deadline", "sock", "timer")

    def __init__(self, sock: socket.socket, connection: Connection, deadline: float) -> None:
        self.sock = sock
        self.connection = connection
        self.deadline = deadline
        self.timer: asyncio.TimerHandle | None = None
