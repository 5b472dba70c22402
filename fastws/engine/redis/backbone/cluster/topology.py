"""Which member of a cluster has which partition, as its members tell it.

Members hear of a change one after the other. Each change has an epoch that is larger than the one before (Redis Cluster
specification, "Cluster current epoch"), so of two that say different things the one with the larger epoch is believed.
"""

from __future__ import annotations

import asyncio
import ssl
from binascii import crc_hqx
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from fastws.engine.redis.names import PARTITIONS
from fastws.engine.redis.resp.address import Address
from fastws.engine.redis.resp.errors import AwayError, ReplyError
from fastws.engine.redis.resp.link import Link, Tuning
from fastws.engine.redis.resp.opening import open_link
from fastws.errors import EngineError

SLOTS: Final = 16384
SLOT_OF: Final = tuple(crc_hqx(str(partition).encode(), 0) % SLOTS for partition in range(PARTITIONS))
"""The slot of each partition, whose hash tag is its number (Redis Cluster specification, "Key distribution model")."""

_BY_SLOT: Final = sorted((slot, partition) for partition, slot in enumerate(SLOT_OF))

ANSWER_S: Final = 0.4
"""Seconds that a member has to answer."""
_LATE_S: Final = 0.05  # that the others have once one has answered
_MOST_NODES: Final = 4096
_LONGEST_HOST: Final = 255
_ASKED_AT_ONCE: Final = 2
_FORGET_EPOCH_S: Final = 10.0  # after which a smaller epoch is believed: the cluster was set up anew
_TUNING: Final = Tuning(silence_s=ANSWER_S * 2, answer_s=ANSWER_S * 4, largest_answer=64 << 20)

Place = tuple[str, int]
"""Host and port."""


class View(NamedTuple):
    """The cluster as one member sees it."""

    epoch: int
    owners: Sequence[Place | None]
    """Of each partition; None if nobody has its slot."""
    nodes: Sequence[Place]
    """All members that have slots, and their replicas."""


def read_view(asked: Place, info: object, slots: object) -> View:
    """Read what `CLUSTER INFO` and `CLUSTER SLOTS` answer. Raises `EngineError` if that cannot be.

    :param asked: the member that answers, which may not know how others call it.
    """
    if not isinstance(info, bytes) or not isinstance(slots, list) or len(slots) > SLOTS:
        raise EngineError("what it says of its cluster cannot be read")
    fields = dict(line.partition(":")[::2] for line in info.decode("ascii", "replace").splitlines())
    epoch = fields.get("cluster_current_epoch", "")
    if not (epoch.isascii() and epoch.isdigit() and len(epoch) <= 20):
        raise EngineError("it names no epoch of its cluster")
    masters: dict[int, Place] = {}
    nodes: dict[Place, None] = {}
    for entry in slots:
        first, last, places = _read_range(asked, entry)
        for place in places:
            nodes[place] = None
        for _, partition in _BY_SLOT[bisect_left(_BY_SLOT, (first, 0)) : bisect_left(_BY_SLOT, (last + 1, 0))]:
            masters[partition] = places[0]
        if len(nodes) > _MOST_NODES:
            raise EngineError("its cluster has too many members")
    return View(int(epoch), [masters.get(partition) for partition in range(PARTITIONS)], list(nodes))


def _read_range(asked: Place, entry: object) -> tuple[int, int, Sequence[Place]]:
    """First slot, last slot, who has them, master first."""
    if isinstance(entry, list) and len(entry) >= 3:
        first, last, *members = entry
        places = list(_places(asked, members))
        if isinstance(first, int) and isinstance(last, int) and len(places) == len(members):
            return first, last, places
    raise EngineError("what it says of its slots cannot be read")


def _places(asked: Place, members: Sequence[object]) -> Iterator[Place]:
    for member in members:
        if not isinstance(member, list) or len(member) < 2:
            return
        host, port = member[:2]
        if host in (None, b"", b"?"):  # "where you have asked"; "?" is a name that is not set
            host = asked[0].encode()
        if isinstance(host, bytes) and len(host) <= _LONGEST_HOST and isinstance(port, int) and 0 <= port <= 65535:
            yield host.decode("ascii", "replace"), port or asked[1]


class _Quiet:
    """Owns links that nothing is pushed to, and whose end is noticed by asking."""

    def on_message(self, channel: bytes, payload: bytes) -> None:
        """Nothing is subscribed to."""

    def on_push(self, kind: bytes, push: list[Any]) -> None:
        """The same."""

    def on_lost(self, link: Link, reason: str) -> None:
        """The next question finds out."""


class Survey:
    """Asks members of a cluster, some at a time, over connections of its own."""

    def __init__(self, seeds: Sequence[Address], name: str) -> None:
        """`seeds`: members that were named; there is at least one. Raises `ConfigError` for files of TLS."""
        self._address: Final = seeds[0]  # all are reached in the same way
        self._context: Final[ssl.SSLContext | None] = seeds[0].tls.context() if seeds[0].tls is not None else None
        self._name: Final = name
        self._seeds: Final[Sequence[Place]] = [(seed.host, seed.port) for seed in seeds]
        self._nodes: dict[Place, None] = dict.fromkeys(self._seeds)
        """Whom to ask, those first who have waited longest."""
        self._links: dict[Place, Link] = {}
        self._opening: dict[Place, asyncio.Task[Link]] = {}
        """Connections on their way, which may take longer than a look."""
        self._epoch = -1
        self._epoch_at = 0.0
        self.failure: EngineError | None = None
        """Why the last one who did not answer did not."""

    async def look(self, *, first: bool = False) -> View | None:
        """Ask some; the newest of what they say, if it is not older than what was said before.

        :param first: ask all, as nothing is known yet.
        """
        asked = list(self._nodes)[: len(self._nodes) if first else _ASKED_AT_ONCE]
        for place in asked:
            del self._nodes[place]
            self._nodes[place] = None
        views = await self._views(asked)
        if not views:
            return None
        # One that was removed from the cluster may have kept the epoch, and knows no slots any more.
        view = max(views, key=lambda each: (each.epoch, sum(owner is not None for owner in each.owners)))
        now = asyncio.get_running_loop().time()
        if view.epoch < self._epoch and now - self._epoch_at < _FORGET_EPOCH_S:
            return None
        self._epoch, self._epoch_at = view.epoch, now
        self._know(view.nodes)
        return view

    async def _views(self, asked: Sequence[Place]) -> list[View]:
        """What they say; once one has answered the others have a moment."""
        loop = asyncio.get_running_loop()
        views: list[View] = []
        waiting = {loop.create_task(self._ask(place)) for place in asked}
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=_LATE_S if views else None, return_when=asyncio.FIRST_COMPLETED
                )
                views += [view for task in done if (view := task.result()) is not None]
                if not done:
                    break
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return views

    def _know(self, nodes: Sequence[Place]) -> None:
        """Ask these from now on, and those that were named in the beginning."""
        wanted = dict.fromkeys([*nodes, *self._seeds])
        kept = {place: None for place in self._nodes if place in wanted}
        self._nodes = {**{place: None for place in wanted if place not in kept}, **kept}
        for place in [place for place in self._links if place not in wanted]:
            self._links.pop(place).abort("it is no member any more")

    async def _ask(self, place: Place) -> View | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                link = self._links.get(place)
                if link is None or not link.is_open:
                    link = await asyncio.shield(self._open_soon(place))
                answers = await asyncio.gather(link.ask("CLUSTER", "INFO"), link.ask("CLUSTER", "SLOTS"))
            return read_view(place, *answers)
        except TimeoutError:
            self.failure = AwayError(f"{self._address.at(*place)} does not answer within {ANSWER_S:g} s")
        except ReplyError as error:
            self.failure = self._refusal(place, error)
        except EngineError as error:
            self.failure = error
        return None

    def _refusal(self, place: Place, error: ReplyError) -> EngineError:
        if "cluster support disabled" in error.text.lower():
            return EngineError(
                f"{self._address.at(*place)} belongs to no cluster: the URL of one server begins with redis://",
                temporary=False,
            )
        return EngineError(f"{self._address.at(*place)}: {error}", temporary=error.temporary)

    def _open_soon(self, place: Place) -> asyncio.Task[Link]:
        opening = self._opening.get(place)
        if opening is None:
            self._opening[place] = opening = asyncio.get_running_loop().create_task(self._open(place))
            opening.add_done_callback(partial(self._opened, place))
        return opening

    async def _open(self, place: Place) -> Link:
        link = await open_link(self._address.at(*place), self._context, _TUNING, name=self._name)
        link.own(_Quiet())
        self._links[place] = link
        return link

    def _opened(self, place: Place, opening: asyncio.Task[Link]) -> None:
        del self._opening[place]
        if not opening.cancelled():
            opening.exception()  # the next look tries again, whether anybody has waited or not

    async def close(self) -> None:
        """Disconnect."""
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        links, self._links = self._links, {}
        for link in links.values():
            await link.close()
