"""The two connections to one Redis server, one for commands and one for what is subscribed to, kept up for ever.

A server is up while both stand and every channel is heard. If one of them is lost the other is closed as well, and they
are made anew, at once at first and then as `resp.pauses` says.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from fastws.engine.contract import Answer
from fastws.engine.redis.backbone.commands import Commands, Waiter
from fastws.engine.redis.backbone.contract import Word
from fastws.engine.redis.backbone.replicas import Replicas
from fastws.engine.redis.backbone.subscriptions import Subscriptions
from fastws.engine.redis.names import Names
from fastws.engine.redis.resp.address import Address
from fastws.engine.redis.resp.errors import AwayError, safe_text
from fastws.engine.redis.resp.link import DEADLINE_S, DEFAULT_TUNING, Link, Tuning, fail
from fastws.engine.redis.resp.opening import open_link
from fastws.engine.redis.resp.pauses import Pauses
from fastws.engine.redis.scripts import Script
from fastws.errors import EngineError

_log: Final = logging.getLogger("fastws.engine")

OLDEST: Final = (7, 0)
"""The version of Redis that has what we need."""

_STEADY_S: Final = 2.0  # whoever was up for so long is tried again at once
_ASKED_SHARE: Final = 0.75  # of the time after which a link pings by itself, which a server that loads refuses
_STOP_S: Final = 1.0  # for what was given before `stop` to be answered


class ServerEvents(Protocol):
    """Called on the loop; must neither raise nor wait."""

    def on_message(self, channel: bytes, payload: bytes) -> None:
        """Something was said in a channel that was subscribed to."""

    def on_server_away(self, server: Server, reason: str) -> None:
        """It is away since now."""

    def on_server_back(self, server: Server) -> None:
        """It is back, and all channels are heard."""


class Server:
    """One server. It may be given another address while it runs."""

    def __init__(
        self,
        address: Address,
        events: ServerEvents,
        names: Names,
        *,
        name: str = "fastws",
        tuning: Tuning = DEFAULT_TUNING,
        rng: random.Random | None = None,
        on_moved: Callable[[Mapping[bytes, int]], None] | None = None,
    ) -> None:
        """Without a connection yet.

        :param name: how the server lists our connections.
        :param rng: of the pauses between attempts to connect.
        :param on_moved: the server is one of a cluster; see `Subscriptions`.
        :raises ConfigError: a file that TLS needs cannot be used.
        """
        self._events: Final = events
        self._names: Final = names
        self._name: Final = name
        self._tuning: Final = tuning
        self._pauses: Final = Pauses(rng)
        self._subscriptions: Final = Subscriptions(on_moved)
        self._replicas: Final = Replicas(str(address), tuning)
        self._address = address
        self._context = _context(address)
        self._commands: Commands | None = None
        self._links: list[Link] = []
        self._is_up = False
        self._was_up = False
        """It was up at some time."""
        self._keeper: asyncio.Task[None] | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        """There is something to do for who keeps it up."""
        self._up_at = 0.0
        self._failure: EngineError | None = None
        """Why the last attempt failed."""
        self._waiters: list[asyncio.Future[None]] = []
        self.version = ""
        """Of the server, as it says; empty before the first connection."""

    @property
    def address(self) -> Address:
        """Where it is now."""
        return self._address

    @property
    def is_up(self) -> bool:
        """Whether commands are taken and channels are heard."""
        return self._is_up

    @property
    def channels(self) -> Mapping[bytes, int]:
        """What is subscribed to, each with its partition."""
        return self._subscriptions.wanted

    @property
    def failure(self) -> EngineError | None:
        """Why the last attempt to connect failed; None if it did not."""
        return self._failure

    async def start(self, within_s: float = DEADLINE_S) -> None:
        """Connect, and stay connected from then on. Raises `EngineError` if that cannot be done within `within_s`."""
        self.begin()
        try:
            await self.wait_up(within_s)
        except BaseException:
            await self.stop()
            raise

    def begin(self) -> None:
        """Try to connect from now on, without waiting for it."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep_up())

    async def wait_up(self, within_s: float) -> None:
        """Return when it is up. Raises `EngineError` if it is not in time, or if time does not help."""
        if self._is_up:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(within_s):
                await waiter
        except TimeoutError:
            raise self._failure or AwayError(f"{self._address} does not answer within {within_s:g} s") from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def stop(self) -> None:
        """Send what was given, wait for answers for a moment, and disconnect. Nothing is called after this."""
        keeper, self._keeper = self._keeper, None
        attempt, self._attempt = self._attempt, None
        for task in (keeper, attempt):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if attempt is not None and not attempt.cancelled():
            attempt.exception()  # nobody wants to know it any more
        self._is_up = False
        self._subscriptions.end()
        commands, self._commands = self._commands, None
        links, self._links = self._links, []
        for link in links:
            await link.close(_STOP_S if commands is not None and link is commands.link else 0.0)
        self._tell_waiters(AwayError("the connection to Redis was stopped"))

    def move_to(self, address: Address) -> None:
        """Be another server from now on; the same does nothing. Raises `ConfigError`."""
        if address == self._address:
            return
        self._context = _context(address) if address.tls != self._address.tls else self._context
        self._address = address
        self.reconnect(f"it is at {address} now")

    def reconnect(self, reason: str) -> None:
        """Connect anew at once, whether it is up or waits for its next attempt."""
        self._pauses.reset()
        if self._attempt is not None:
            self._attempt.cancel()  # it may be waiting for an address that does not answer
        if self._links:
            self._links[0].abort(reason)
        self._wake.set()

    # What is asked of it.

    def call(self, partition: int, *words: Word) -> asyncio.Future[Any]:
        """One command; see `Backbone.call`."""
        return self._up().call(partition, words)

    def give(self, receiver: Waiter, partition: int, words: Sequence[Word]) -> None:
        """The same for who takes the answer without a future. Raises `AwayError` or `BusyError` at once."""
        self._up().give(receiver, partition, words)

    def run(self, script: Script, partition: int, keys: Sequence[bytes], words: Sequence[Word]) -> asyncio.Future[Any]:
        """One script; see `Backbone.run`."""
        return self._up().run(script, partition, keys, words)

    def subscribe(self, partition: int, channel: bytes) -> Answer[None]:
        """Hear a channel; see `Backbone.subscribe`."""
        return self._subscriptions.subscribe(partition, channel)

    def unsubscribe(self, channel: bytes) -> None:
        """Hear it no longer."""
        self._subscriptions.unsubscribe(channel)

    def forget(self, partition: int) -> None:
        """The partition was another server's meanwhile, or will be: what is known of it does not hold any more."""
        if self._commands is not None:
            self._commands.forget(partition)

    def _up(self) -> Commands:
        if not self._is_up or self._commands is None:
            raise AwayError(f"Redis is away: {self._failure}" if self._failure is not None else "Redis is away")
        return self._commands

    # What its links tell.

    def on_message(self, channel: bytes, payload: bytes) -> None:
        """Something was said in a channel."""
        if self._is_up:
            self._events.on_message(channel, payload)

    def on_push(self, kind: bytes, push: list[Any]) -> None:
        """Something else was pushed."""
        self._subscriptions.on_push(kind, push)

    def on_lost(self, link: Link, reason: str) -> None:
        """One of the links has ended."""
        if link not in self._links:
            return  # its attempt was given up
        self._links.remove(link)
        was_up, self._is_up = self._is_up, False
        self._failure = AwayError(f"{self._address}: {reason}")
        if was_up:
            if asyncio.get_running_loop().time() - self._up_at >= _STEADY_S:
                self._pauses.reset()
            self._wake.set()
            self._events.on_server_away(self, f"{self._address}: {reason}")
        self._commands = None
        self._subscriptions.end()
        for other in list(self._links):
            other.abort(reason)

    # How it is kept up.

    async def _keep_up(self) -> None:
        while True:
            self._wake.clear()
            self._attempt = attempt = asyncio.get_running_loop().create_task(self._connect())
            await asyncio.wait([attempt])
            if attempt.cancelled():
                continue  # somebody wants it to begin anew
            error = attempt.exception()
            if error is not None:
                await self._pause(self._note_failure(error))
                continue
            while self._is_up:
                await self._wake.wait()
                self._wake.clear()
            if self._pauses.is_fresh:
                self._pauses.note()
            else:
                self._wake.clear()  # of its loss
                await self._pause(None)

    async def _connect(self) -> None:
        """Both links, and all that has to be before the server is up. Raises `EngineError`."""
        address = self._address
        try:
            link = await self._open(address, hears=False)
            identity = await self._judge(link)
            commands = Commands(link, self._names, identity, self._replicas)
            await commands.begin()
            await self._replicas.greet(link, str(address))
            hears = await self._open(address, hears=True)
            if not identity.startswith(f"{(await _facts(hears, 'server')).get('run_id', '')}:"):
                raise AwayError("its two connections are to different servers")
            await self._subscriptions.begin(hears)
            if len(self._links) < 2:
                raise AwayError("a connection broke at once")
            self._rise(commands)
        except BaseException as error:
            links, self._links = self._links, []
            for each in links:
                each.abort("it was given up")
            self._subscriptions.end()
            if isinstance(error, EngineError) and str(address) not in str(error):
                raise EngineError(f"{address}: {error}", temporary=error.temporary) from None
            raise

    def _rise(self, commands: Commands) -> None:
        """It is up."""
        self._commands = commands
        self._up_at = asyncio.get_running_loop().time()
        self._failure = None
        self._is_up = True
        if self._was_up:
            self._events.on_server_back(self)
        self._was_up = True
        self._tell_waiters(None)

    async def _open(self, address: Address, *, hears: bool) -> Link:
        link = await open_link(address, self._context, self._tuning, name=self._name, hears=hears)
        link.own(self)
        self._links.append(link)
        return link

    async def _judge(self, link: Link) -> str:
        """Find out who the server is: a text for this life of this master. Raises `EngineError` if it is none."""
        facts = await _facts(link, "server", "replication", "persistence")
        self.version = version = facts.get("redis_version", "")
        if _numbers(version) < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            said = f"is Redis {version}" if version else "does not say which Redis it is"
            raise EngineError(f"{self._address} {said}: {wanted} or newer is needed", temporary=False)
        if facts.get("role") != "master":
            raise AwayError(f"{self._address} is a replica: the address of its master is needed")
        if facts.get("loading") == "1":
            await self._wait_for_data(link, facts)
            facts = await _facts(link, "server", "replication")
        return f"{facts.get('run_id', '')}:{facts.get('master_replid', '')}"

    async def _wait_for_data(self, link: Link, facts: Mapping[str, str]) -> None:
        """Ask a server that still reads its data until it has: an attempt each time would keep it from that."""
        while facts.get("loading") == "1":
            self._note_failure(AwayError(f"{self._address} still reads its data"))
            remaining = facts.get("loading_eta_seconds", "")
            remaining_s = int(remaining) if remaining.isascii() and remaining.isdigit() and len(remaining) < 9 else 0
            await asyncio.sleep(self._pauses.while_loading(remaining_s, self._tuning.idle_s * _ASKED_SHARE))
            facts = await _facts(link, "persistence")

    def _note_failure(self, error: BaseException) -> EngineError:
        if not isinstance(error, EngineError):
            _log.error("no connection to Redis, for a fault of ours", exc_info=error)
            error = EngineError(f"{self._address} cannot be used: {type(error).__name__}")
        is_news = self._failure is None or str(error) != str(self._failure)
        _log.log(logging.WARNING if is_news else logging.DEBUG, "no connection to Redis: %s", error)
        self._failure = error
        if not error.temporary:
            self._tell_waiters(error)
        return error

    async def _pause(self, failure: EngineError | None) -> None:
        """Wait for the next attempt, or until somebody wants one at once."""
        try:
            async with asyncio.timeout(self._pauses.after(failure)):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _tell_waiters(self, error: EngineError | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if error is not None:
                fail(waiter, error)
            elif not waiter.done():
                waiter.set_result(None)


def _context(address: Address) -> ssl.SSLContext | None:
    return address.tls.context() if address.tls is not None else None


async def _facts(link: Link, *sections: str) -> dict[str, str]:
    """What a server says of itself."""
    facts: dict[str, str] = {}
    for answer in [link.ask("INFO", section) for section in sections]:
        said = await answer
        for line in said.decode("utf-8", "replace").splitlines() if isinstance(said, bytes) else ():
            name, _, value = line.partition(":")
            facts[name] = safe_text(value.strip())
    return facts


def _numbers(version: str) -> tuple[int, ...]:
    """Of "7.0.15"."""
    return tuple(int(part) for part in version.split(".") if part.isascii() and part.isdigit() and len(part) < 9)
