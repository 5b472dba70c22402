"""How a link comes to be: connecting, and what is said before the first command."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
import ssl
from typing import Final

from fastws.engine.redis.resp.address import Address
from fastws.engine.redis.resp.errors import AbsentError, AwayError, ReplyError, safe_text
from fastws.engine.redis.resp.link import Link, Tuning, Word

_log: Final = logging.getLogger("fastws.engine")
_HANDSHAKE_SHARE: Final = 0.9
_NOT_THERE: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT})
_NO_WAY: Final = frozenset({errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EAFNOSUPPORT})
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


async def open_link(
    address: Address, context: ssl.SSLContext | None, tuning: Tuning, *, name: str, hears: bool = False
) -> Link:
    """Connect. Within `tuning.connect_s` there is a link, or `AwayError` (`AbsentError` if nobody listens there,
    `ReplyError` if the server refused).

    :param context: of `address.tls`; read once, as it reads files.
    :param name: how the server lists this connection; no spaces.
    :param hears: the link is there for what is subscribed to.
    """
    try:
        async with asyncio.timeout(tuning.connect_s):
            link = await _connect(address, context, tuning, hears=hears)
            try:
                await _greet(link, address, name)
            except AwayError:
                raise AwayError(f"{address}: {link.reason}") from None
            except BaseException:
                link.abort("it was given up")
                raise
    except TimeoutError:
        raise AwayError(f"{address} does not answer within {tuning.connect_s:g} s") from None
    except (ssl.SSLError, ssl.CertificateError) as error:
        raise AwayError(f"{address} cannot be reached by TLS: {safe_text(str(error))}") from None
    except (OSError, UnicodeError) as error:
        kind = AbsentError if _is_nobody_there(error) else AwayError
        raise kind(f"{address} cannot be reached: {safe_text(str(error))}") from None
    return link


def _is_nobody_there(error: Exception) -> bool:
    """Whether connecting was refused at once; a name may have several addresses, whose errors come as one text."""
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror):
        return False
    if error.errno is not None:
        return error.errno in _NOT_THERE
    numbers = {int(digits) for digits in re.findall(r"\[Errno (\d{1,4})\]", str(error))}
    return bool(numbers & _NOT_THERE) and numbers <= _NOT_THERE | _NO_WAY


async def _connect(address: Address, context: ssl.SSLContext | None, tuning: Tuning, *, hears: bool) -> Link:
    loop = asyncio.get_running_loop()
    link = Link(tuning, hears=hears)
    try:
        if address.unix:
            await loop.create_unix_connection(lambda: link, address.unix)
            return link
        transport, _ = await loop.create_connection(
            lambda: link,
            address.host,
            address.port,
            ssl=context,
            # A little less than for all, as uvloop complains of whoever gives up before it does.
            ssl_handshake_timeout=tuning.connect_s * _HANDSHAKE_SHARE if context is not None else None,
        )
    except BaseException:
        link.abort("it was given up")  # who is cancelled here may have been connected already
        raise
    sock = transport.get_extra_info("socket")
    if sock is not None:
        _set_options(sock, tuning)
    return link


def _set_options(sock: socket.socket, tuning: Tuning) -> None:
    """Nothing waits to be sent together, and a peer that is gone is noticed even when nobody asks it anything."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(tuning.answer_s * 1000))
    except OSError:
        _log.debug("a connection to Redis without its options", exc_info=True)


async def _greet(link: Link, address: Address, name: str) -> None:
    if address.protocol == 2 or not await _greet_in_3(link, address, name):
        if address.password:
            await link.ask("AUTH", *((address.username,) if address.username else ()), address.password)
        try:
            await link.ask("CLIENT", "SETNAME", name)
        except ReplyError:
            _log.debug("a connection to Redis without a name", exc_info=True)
    if address.db:
        await link.ask("SELECT", address.db)


async def _greet_in_3(link: Link, address: Address, name: str) -> bool:
    """Whether the server speaks RESP3."""
    login: tuple[Word, ...] = ()
    if address.password:
        login = ("AUTH", address.username or "default", address.password)
    try:
        await link.ask("HELLO", 3, *login, "SETNAME", name)
    except ReplyError as error:
        if error.code == "NOPROTO" or "unknown command" in error.text.lower():
            return False
        raise
    return True
