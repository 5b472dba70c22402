"""Sockets that are listened on, and the connections made from them.

TCP under uvloop goes through the reactor. TLS, Unix sockets and other event loops use the loop's own transports, with
the same protocol on them.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from fastws.errors import StartError
from fastws.net.connection import CLOSED, HANDSHAKING, Connection
from fastws.net.ingress import Ingress
from fastws.net.tls.acceptor import TlsAcceptor
from fastws_ext.loop_data import LoopData
from fastws_ext.reactor import Reactor

KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_INTERVAL_S: Final = 20
KEEPALIVE_PROBES: Final = 3
USER_TIMEOUT_MS: Final = 60_000
"""How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT): a peer that vanished is noticed by then."""

_UNIX_MODE: Final = 0o666  # a proxy of another user connects; who may is decided by the directory


def bind_tcp(host: str, port: int, *, keepalive: bool = True, shared: bool = False) -> list[socket.socket]:
    """Bind every address that `host` stands for, all to one port; 0 takes a free one.

    `shared`: others of this user may bind the same addresses in this way (socket(7), SO_REUSEPORT). What is set here is
    inherited by the connections. Raises `StartError` if the name is not known or the port is taken.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartError(f"cannot listen on {host}: {error.strerror or error}") from error
    except UnicodeError as error:
        raise StartError(f"cannot listen on {host}: this is no name of a host") from error
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            own_port = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_bind(family, kind, protocol, (address[0], own_port, *address[2:]), keepalive, shared))
            except OSError as error:
                # `localhost` is often ::1 as well where there is no IPv6; one address of the name is enough.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                absent = error
        if not sockets and absent is not None:
            raise absent
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return sockets


def _bind(
    family: int, kind: int, protocol: int, address: tuple[str | int | bytes, ...], keepalive: bool, shared: bool
) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        # SO_REUSEPORT among workers only: else a second server would start on the port and take half of the clients.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def start_listening(sock: socket.socket, backlog: int) -> None:
    """Listen on what was bound. Of two servers that have bound the same address before one of them listened, which
    `SO_REUSEADDR` allows, the second gets a `StartError`.
    """
    try:
        sock.listen(backlog)
    except OSError as error:
        raise StartError(f"cannot listen on {_written(sock)}: {error.strerror or error}") from error


def _written(sock: socket.socket) -> str:
    address = sock.getsockname()
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else f"unix:{address}"


def bind_unix(path: str) -> socket.socket:
    """Bind a Unix socket at `path`. A socket that a dead server left there is replaced.

    Raises `StartError` if something else is there, or a server that answers.
    """
    place = Path(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(place.stat().st_mode):
                raise StartError(f"cannot listen on unix:{path}: there is a file which is no socket")
            if _answers(path):
                raise StartError(f"cannot listen on unix:{path}: another server is listening there")
            place.unlink()
        sock.bind(path)
        place.chmod(_UNIX_MODE)
    except StartError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise StartError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    return sock


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        return True


class Listeners:
    """The listening sockets of one worker and every connection made from them.

    `through_reactor`: whether TCP is served by the reactor, which needs uvloop or another loop on epoll. `tls`: every
    listener speaks TLS with this context. `handshake_timeout_s`: from accept to the end of its handshake, 0 = no limit.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        loop_data: LoopData,
        ingress: Ingress,
        *,
        backlog: int,
        through_reactor: bool,
        tls: ssl.SSLContext | None = None,
        handshake_timeout_s: float = 0,
    ) -> None:
        self._loop = loop
        self._ingress = ingress
        self._backlog = backlog
        self._reactor = Reactor(loop_data, Connection, ingress) if through_reactor and tls is None else None
        self._acceptor: TlsAcceptor | None = None
        if tls is not None:
            self._acceptor = TlsAcceptor(
                loop,
                tls,
                lambda: Connection(ingress),
                self._remember,
                timeout_s=handshake_timeout_s,
                has_room=lambda newcomers: ingress.connections + newcomers < ingress.admission.capacity,
            )
        self._servers: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []
        self._is_bound = False
        self._on_loop: set[Connection] = set()

    @property
    def is_bound(self) -> bool:
        """Whether there was anything to listen on."""
        return self._is_bound

    def adopt(self, sock: socket.socket) -> None:
        """Take a bound socket, to be listened on by `listen` and closed by `close`."""
        self._is_bound = True
        self._sockets.append(sock)

    async def listen(self) -> None:
        """Serve every socket that was adopted. Raises `StartError` if somebody else listens there meanwhile."""
        factory = cast("Callable[[], asyncio.Protocol]", self.make_connection)
        for sock in self._sockets:
            # Here and not by uvloop, whose servers say nothing when they cannot.
            start_listening(sock, self._backlog)
            if self._acceptor is not None:
                self._acceptor.listen(sock, self._backlog)
            elif sock.family == socket.AF_UNIX:
                self._servers.append(await self._loop.create_unix_server(factory, sock=sock, backlog=self._backlog))
            elif self._reactor is None:
                self._servers.append(await self._loop.create_server(factory, sock=sock, backlog=self._backlog))
            else:
                self._reactor.listen(sock)

    def renew_tls(self, context: ssl.SSLContext) -> None:
        """Have newcomers see other certificates; without effect where no TLS is spoken."""
        if self._acceptor is not None:
            self._acceptor.renew(context)

    def make_connection(self) -> Connection:
        """A new connection; whoever has a transport for it calls its `connection_made` next."""
        conn = Connection(self._ingress)
        self._remember(conn)
        return conn

    def _remember(self, conn: Connection) -> None:
        if len(self._on_loop) > 2 * self._ingress.connections + 64:
            self._on_loop = {conn for conn in self._on_loop if conn.phase < CLOSED}
        self._on_loop.add(conn)

    def connections(self) -> list[Connection]:
        """Those that were accepted and are not closed yet."""
        on_reactor = self._reactor.connections() if self._reactor is not None else []
        return [*on_reactor, *(conn for conn in self._on_loop if conn.phase < CLOSED)]

    def websockets(self) -> list[Connection]:
        """Those that became WebSockets and have not ended."""
        return [conn for conn in self.connections() if conn.endpoint is not None and HANDSHAKING < conn.phase < CLOSED]

    @property
    def coming(self) -> int:
        """Those that were accepted and are no connections of the ingress yet: their TLS handshake is under way."""
        return self._acceptor.under_way if self._acceptor is not None else 0

    async def stop_accepting(self) -> None:
        """Let nobody else in, for good. Who was accepted stays; who waits to be accepted goes on waiting, for another
        process that listens on the same socket, or until its last owner has closed it.
        """
        await self._take_what_was_accepted()
        if self._reactor is not None:
            self._reactor.stop_accepting()
        if self._acceptor is not None:
            self._acceptor.stop_accepting()
        for server in self._servers:
            server.close()
        self._servers.clear()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    async def close(self) -> None:
        """Stop listening and reset what is left."""
        await self.stop_accepting()
        if self._acceptor is not None:
            await self._acceptor.close()
        if self._reactor is not None:
            self._reactor.close()
        for conn in self._on_loop:
            conn.abort()
        # The loop's transports report their end in the next turn.
        await asyncio.sleep(0)

    async def _take_what_was_accepted(self) -> None:
        """asyncio forgets, open, what it has accepted and not announced when its server is closed."""
        if self._reactor is not None or not self._servers:
            return
        for server in self._servers:
            for sock in server.sockets:
                self._loop.remove_reader(sock.fileno())
        # Its transport is made in the first turn, and is with us in the second.
        for _ in range(2):
            await asyncio.sleep(0)
