"""What sentinels say of a master: each is asked again and again, and says by itself when there is another one.

A sentinel may be cut off from the others and know an old master only. Each change of the master has an epoch that is
larger than the one before (Redis Sentinel documentation, "Configuration epochs"), so the largest epoch is believed. A
smaller one than was known is believed only if most sentinels say it, and none the other: then somebody has set them up
anew.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

from fastws.engine.redis.resp.address import Address
from fastws.engine.redis.resp.errors import AwayError, ReplyError, safe_text
from fastws.engine.redis.resp.link import Link, Tuning, pack
from fastws.engine.redis.resp.opening import open_link
from fastws.errors import EngineError

_log: Final = logging.getLogger("fastws.engine")

# What a sentinel says when there is, or soon will be, another master. On one of them it is promoted before the others
# are told.
_SUBSCRIBE: Final = pack("SUBSCRIBE", "+switch-master", "+promoted-slave") + pack("PING")

CALM_S: Final = 1.0
"""Seconds between two questions while the master is there."""
WITHOUT_SIGNS_S: Final = 0.3
"""The same for a sentinel that says nothing by itself."""
HURRY_S: Final = 0.1
"""The same while the master is away."""
ANSWER_S: Final = 0.5
"""Seconds that a sentinel has to answer."""
_ALL_HEARD_S: Final = 0.3  # how long, after the first has answered, the others are waited for
_LONGEST_PAUSE_S: Final = 1.0  # before a sentinel that does not answer is tried again
_LONGEST_HOST: Final = 255
_TUNING: Final = Tuning(connect_s=1.0, largest_answer=1 << 20)


class Report(NamedTuple):
    """What one sentinel says of the master."""

    epoch: int
    host: str
    port: int


class _Following:
    """One sentinel. It is what its link calls."""

    def __init__(self, address: Address) -> None:
        self.address: Final = address
        self.report: Report | None = None
        """What it says now; nothing while it does not answer."""
        self.error: EngineError | None = None
        """Why there is no report."""
        self.hurry: Final = asyncio.Event()
        self.has_signs = False
        """It says by itself when something has changed."""

    def on_message(self, channel: bytes, payload: bytes) -> None:  # noqa: ARG002 - the sign is enough
        """A sign; what it means is asked."""
        self.hurry.set()

    def on_push(self, kind: bytes, push: list[Any]) -> None:
        """That it is subscribed."""

    def on_lost(self, link: Link, reason: str) -> None:  # noqa: ARG002 - there is one
        """The link has ended."""
        self.error = AwayError(f"the sentinel {self.address} is away: {reason}")
        self.hurry.set()


class _Subscribed:
    """Takes the answer of the ping behind the subscription, and before it that this was refused, if it was."""

    def __init__(self, following: _Following, link: Link) -> None:
        self._following: Final = following
        self._link: Final = link

    def take(self, answer: object) -> None:
        """Of the ping, or a refusal."""
        following = self._following
        if isinstance(answer, ReplyError) and following.has_signs:
            following.has_signs = False
            _log.info("the sentinel %s is asked often, as it does not let itself be listened to", following.address)
            self._link.put_back(self)

    def lose(self, error: AwayError) -> None:
        """Whoever asks next finds out."""


class Watch:
    """Of one master, by all sentinels that were named. `on_master` is called on the loop each time another host and
    port than before are believed to be its address.
    """

    def __init__(self, sentinels: Sequence[Address], name: str, on_master: Callable[[str, int], None]) -> None:
        """`name`: under which the sentinels know the master."""
        self._name: Final = name
        self._on_master: Final = on_master
        self._followings: Final = [_Following(address) for address in sentinels]
        self._tasks: list[asyncio.Task[None]] = []
        self._is_hurried = True
        self._believed: Report | None = None
        self._heard: Final = asyncio.Event()
        """Something was heard of a sentinel; set again and again."""

    @property
    def place(self) -> tuple[str, int] | None:
        """Where the master is, as far as is known."""
        believed = self._believed
        return (believed.host, believed.port) if believed is not None else None

    async def start(self, within_s: float) -> tuple[str, int]:
        """Begin; the master's host and port. Raises `EngineError` if no sentinel tells it in time."""
        loop = asyncio.get_running_loop()
        tls = self._followings[0].address.tls  # that of all
        context = tls.context() if tls is not None else None
        self._tasks = [loop.create_task(self._follow(following, context)) for following in self._followings]
        deadline = loop.time() + within_s
        is_told = False
        while not all(following.report is not None for following in self._followings):
            self._heard.clear()
            if self.place is not None and not is_told:
                is_told = True
                deadline = min(deadline, loop.time() + _ALL_HEARD_S)
            if self._is_hopeless():
                break
            try:
                async with asyncio.timeout_at(deadline):
                    await self._heard.wait()
            except TimeoutError:
                break
        if self.place is None:
            raise self._reason()
        return self.place

    async def stop(self) -> None:
        """End; nothing is called after this."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def hurry(self, is_hurried: bool) -> None:
        """Ask often: the master is away."""
        self._is_hurried = is_hurried
        if is_hurried:
            for following in self._followings:
                following.hurry.set()

    # One sentinel.

    async def _follow(self, following: _Following, context: ssl.SSLContext | None) -> None:
        pause_s = HURRY_S
        while True:
            try:
                link = await open_link(following.address, context, _TUNING, name="fastws-watch", hears=True)
                try:
                    link.own(following)
                    await self._listen(following, link)
                finally:
                    await link.close()
            except EngineError as error:
                problem = error
            except Exception as error:
                _log.exception("what the sentinel %s says cannot be used", following.address)
                problem = EngineError(f"what it says cannot be used: {safe_text(repr(error))}")
            pause_s = HURRY_S if following.report is not None else min(pause_s * 2, _LONGEST_PAUSE_S)
            if str(following.error) != str(problem):  # not each time again
                _log.info("the sentinel %s: %s", following.address, problem)
            following.error = problem
            following.report = None
            self._heard.set()
            await asyncio.sleep(pause_s)

    async def _listen(self, following: _Following, link: Link) -> None:
        """Until the link breaks."""
        # In RESP2 nothing may be asked on a connection that is subscribed.
        following.has_signs = following.address.protocol == 3
        if following.has_signs:
            link.send_packed(_Subscribed(following, link), _SUBSCRIBE)
        while True:
            following.hurry.clear()
            # In this order: while both change, the address may be newer than its epoch, never older.
            asked = asyncio.gather(
                link.ask("SENTINEL", "MASTER", self._name), link.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
            )
            try:
                async with asyncio.timeout(ANSWER_S):
                    state, place = await asked
            except TimeoutError:
                raise AwayError(f"no answer within {ANSWER_S:g} s") from None
            following.report = report = _report(state, place)
            if following.error is not None:
                _log.info("the sentinel %s is back", following.address)
                following.error = None
            self._judge()
            self._heard.set()
            is_settled = (report.host, report.port) == self.place and not self._is_hurried
            calm_s = CALM_S if following.has_signs else WITHOUT_SIGNS_S
            try:
                async with asyncio.timeout(calm_s if is_settled else HURRY_S):
                    await following.hurry.wait()
            except TimeoutError:
                pass

    # All of them.

    def _judge(self) -> None:
        """Believe what is the newest of all that is said."""
        reports = [following.report for following in self._followings if following.report is not None]
        newest = max(reports)
        believed = self._believed
        if believed is not None and newest.epoch <= believed.epoch:
            # Whoever has made the change knows it first: as long as one says what is believed, the others are late.
            newest, count = Counter(reports).most_common(1)[0]
            if believed in reports or count * 2 <= len(self._followings):
                return
        self._believed = newest
        if believed is None or (believed.host, believed.port) != (newest.host, newest.port):
            self._on_master(newest.host, newest.port)

    def _is_hopeless(self) -> bool:
        """Whether all have answered, and none will say anything else soon."""
        return all(
            isinstance(following.error, ReplyError) and following.report is None for following in self._followings
        )

    def _reason(self) -> EngineError:
        """Why nobody knows the master."""
        errors = [following.error for following in self._followings if following.error is not None]
        refused = [error for error in errors if isinstance(error, ReplyError)]
        if any("no such master" in error.text.lower() for error in refused):
            return EngineError(
                f"no sentinel knows a master called {self._name!a}: check sentinel_master_name in the URL of Redis",
                temporary=False,
            )
        if refused:
            return EngineError(f"the sentinels do not answer: {refused[0]}", temporary=refused[0].temporary)
        return EngineError(f"no sentinel answers: {errors[0]}" if errors else "no sentinel answers")


def _report(state: object, place: object) -> Report:
    """What a sentinel has said. Raises `EngineError` if that cannot be."""
    if isinstance(state, list):  # of RESP2
        state = dict(zip(state[::2], state[1::2], strict=False))
    epoch = state.get(b"config-epoch") if isinstance(state, dict) else None
    if isinstance(place, list) and len(place) == 2:
        host, port = place
        if isinstance(host, bytes) and 0 < len(host) <= _LONGEST_HOST and _is_number(epoch, 20) and _is_number(port, 5):
            number = int(port)
            if 0 < number <= 65535:
                return Report(int(epoch), host.decode("ascii", "replace"), number)
    raise EngineError("a sentinel names no address of a master")


def _is_number(text: object, digits: int) -> TypeGuard[bytes]:
    return isinstance(text, bytes) and text.isdigit() and len(text) <= digits
