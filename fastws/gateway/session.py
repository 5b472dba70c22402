"""What the gateway keeps of each connection. There may be a million of them: 88 bytes, and nothing more at rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from fastws.core.codecs import CODECS
from fastws.core.codecs.commands import Said
from fastws.core.rates import Meter
from fastws.gateway.auth.identity import NO_PROFILE, Identity
from fastws.gateway.auth.passes import Passes
from fastws.hub.topic import Topic
from fastws.net.session import Details
from fastws.net.session import Session as NetSession

CONNECTING: Final = 0
"""The connect hooks have not finished."""
STRANGER: Final = 1
"""It has to authenticate first."""
READY: Final = 2
"""It was welcomed."""
ENDED: Final = 3
PARTING: Final = 4
"""It has ended, and hooks about its subscriptions still run."""

MAX_WAITING: Final = 128
"""Commands that may wait for the one before them; reading pauses while there are so many."""

MAX_WAITING_SIZE: Final = 262_144
"""Bytes of messages that may wait, whose decoded form may take many times as much; reading pauses beyond that too."""


class Work:
    """Of connections with a command or a hook under way, or with limits per second."""

    __slots__ = ("early", "meter", "task", "waiting", "waiting_size")

    def __init__(self, meter: Meter | None = None) -> None:
        self.meter = meter
        self.task: asyncio.Task[None] | None = None
        self.waiting: deque[Said] = deque()
        """What came meanwhile, in order."""
        self.waiting_size = 0
        """Bytes of the messages that came meanwhile, counted until all of them were executed."""
        self.early: list[bytes] = []
        """Frames that the connect hooks sent; they follow the welcome."""


class Session(NetSession):
    """See `fastws.net.session`."""

    __slots__ = ("codec", "phase", "profile", "subscribed", "user", "work")

    def __init__(self, details: Details | None = None) -> None:
        super().__init__(details)
        self.user = ""
        self.profile = NO_PROFILE
        """What it has in common with others: tenant, device, permissions and the like."""
        self.phase = CONNECTING
        self.codec: int | None = None
        """The codec whose subprotocol was agreed on; None if none was."""
        self.subscribed: Topic | list[Topic] | None = None
        """A single one, as most have, is kept bare."""
        self.work: Work | None = None

    @property
    def identity(self) -> Identity:
        """Who it is. Made at each call: where only one thing is of interest, the attributes beside it are quicker."""
        return Identity(self.user, self.profile)

    @identity.setter
    def identity(self, identity: Identity) -> None:
        self.user, self.profile = identity

    @property
    def passes(self) -> Passes | None:
        """Its subscription tokens; None if it has shown none."""
        return self.details.passes if self.details is not None else None

    @passes.setter
    def passes(self, passes: Passes) -> None:
        self.need_details().passes = passes

    @property
    def tenant(self) -> str:  # type: ignore[override]
        return self.profile.tenant

    @property
    def device(self) -> str:  # type: ignore[override]
        return self.profile.device

    @property
    def info(self) -> Any:
        return self.profile.info

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that its token gives it."""
        return self.profile.roles

    @property
    def claims(self) -> dict[str, Any]:
        return self.claims_offered() or self.identity.claims

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(topic.name for topic in self.subscriptions())

    @property
    def subprotocol(self) -> str:
        return CODECS[self.codec].subprotocol if self.codec is not None else ""

    @property
    def is_busy(self) -> bool:
        return self.phase == PARTING or (self.work is not None and self.work.task is not None)

    @property
    def subscription_count(self) -> int:
        """How many topics it is subscribed to."""
        subscribed = self.subscribed
        if isinstance(subscribed, list):
            return len(subscribed)
        return 0 if subscribed is None else 1

    def subscriptions(self) -> Iterator[Topic]:
        """The topics it is subscribed to."""
        subscribed = self.subscribed
        if isinstance(subscribed, list):
            yield from subscribed
        elif subscribed is not None:
            yield subscribed

    def note_subscribed(self, topic: Topic) -> None:
        """It is subscribed to one more."""
        subscribed = self.subscribed
        if isinstance(subscribed, list):
            subscribed.append(topic)
        else:
            self.subscribed = topic if subscribed is None else [subscribed, topic]

    def note_unsubscribed(self, topic: Topic) -> None:
        """It is subscribed to one less."""
        if self.passes is not None:
            self.passes.forget(topic.key)
        subscribed = self.subscribed
        if subscribed is topic:
            self.subscribed = None
        elif isinstance(subscribed, list):
            subscribed.remove(topic)
            if len(subscribed) == 1:
                self.subscribed = subscribed[0]

    def need_work(self) -> Work:
        """The work, made if there is none."""
        if self.work is None:
            self.work = Work()
        return self.work

    def rest(self) -> None:
        """Let go of the work if nothing of it is in use."""
        work = self.work
        if work is not None and work.task is None and work.meter is None and not work.waiting:
            self.work = None
