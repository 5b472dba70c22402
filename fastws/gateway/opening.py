"""From the upgrade to the welcome: who a connection is, what the application says, what it is told first.

What a token gives ends with the token; that is here too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from functools import partial
from typing import Any, Final

from fastws import __version__, closes
from fastws.config import Settings
from fastws.core.codecs import CODECS
from fastws.core.rates import Meter
from fastws.core.request import without_token
from fastws.engine.contract import Answer
from fastws.errors import EngineError, TopicError
from fastws.gateway.auth.access import Access
from fastws.gateway.auth.gate import NO_CREDENTIALS, Credentials, Gate
from fastws.gateway.auth.identity import Identity
from fastws.gateway.auth.passes import arm
from fastws.gateway.commands.common import FatalError, Followed, Result
from fastws.gateway.places import Places
from fastws.gateway.session import CONNECTING, READY, STRANGER, Session
from fastws.hub.hub import Hub
from fastws.hub.orders import Subscriptions
from fastws.hub.pushes import push
from fastws.hub.topic import Topic
from fastws.net.connection import OPEN, Connection
from fastws.net.hooks import Hooks
from fastws.net.session import Details
from fastws.types import CloseInfo

_log: Final = logging.getLogger("fastws.gateway")

MAX_STRANGER_MESSAGE: Final = 16384
"""Bytes of a message before authentication; more close 1009."""


class Opening:
    """Opens connections of the client protocol.

    `run` steps a coroutine that raises nothing, and returns the task if it has to wait; `go_on` executes the commands
    that waited meanwhile; `fail` is called with what should not have happened.
    """

    def __init__(
        self,
        settings: Settings,
        gate: Gate,
        access: Access,
        hub: Hub,
        hooks: Hooks,
        subscriptions: Subscriptions,
        places: Places,
        loop: asyncio.AbstractEventLoop,
        *,
        keep_headers: Collection[bytes],
        run: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None] | None],
        go_on: Callable[[Connection, Session], None],
        fail: Callable[[Connection, BaseException, str], None],
    ) -> None:
        self._settings = settings
        self._gate = gate
        self._access = access
        self._hub = hub
        self._hooks = hooks
        self._subscriptions = subscriptions
        self._places = places
        self._loop = loop
        self._keep_headers = keep_headers
        self._run = run
        self._go_on = go_on
        self._fail = fail
        self._is_metered = bool(settings.messages_per_second or settings.bytes_per_second)
        interval = settings.ping_interval
        self._always: Final = {
            "node": settings.node_name,
            "ping": int(interval) if interval == int(interval) else interval,
            "server": f"fastws/{__version__}",
        }
        self._complaints: set[tuple[str, int]] = set()

    # What the endpoint calls.

    def on_open(self, conn: Connection) -> None:
        """The upgrade is answered: find out who it is, ask the hooks, welcome it."""
        before = conn.session
        details: Details | None = before.details if before is not None else None
        session = conn.session = Session(details)
        if details is not None:
            _read_subprotocol(conn, session, details)
        if self._is_metered:
            settings = self._settings
            session.need_work().meter = Meter(
                settings.messages_per_second, settings.bytes_per_second, self._loop.time()
            )
        found = NO_CREDENTIALS if details is None else self._found(details)
        if not isinstance(found, Credentials):
            conn.close(*found)
        elif found.token is not None or self._gate.terms.welcome:
            self._begin(conn, session, found)
        else:
            session.phase = STRANGER
            if not self._hooks.watch_connect:
                self._forget_request(session)  # nobody will look at 16 KiB of headers
            conn.max_message_size = min(conn.max_message_size, MAX_STRANGER_MESSAGE)
            conn.set_deadline(self._settings.auth_timeout)

    def on_deadline(self, conn: Connection) -> None:
        """The time to authenticate is over, or what a token gave."""
        session = conn.session
        if not isinstance(session, Session):
            return
        if session.phase == STRANGER:
            conn.close(*closes.AUTH_TIMEOUT)
            return
        now_s = self._loop.time()
        passes = session.passes
        if passes is None or (passes.identity_ends_s is not None and passes.identity_ends_s <= now_s):
            conn.close(*closes.TOKEN_EXPIRED)
            return
        ended = passes.take_ended(now_s)
        for topic in [topic for topic in session.subscriptions() if topic.key in ended]:
            self._subscriptions.end(conn, session, topic, closes.TOPIC_TOKEN_EXPIRED)
        arm(conn, passes.next_s(), now_s)

    # With the upgrade.

    def _found(self, details: Details) -> Credentials | closes.Close:
        """What is known about who it is; the HTTP stage has found it out, where there is one."""
        found = details.credentials
        if found is None and details.request is not None:
            found = self._gate.of_protocol(details.request)
        details.credentials = found if isinstance(found, Credentials) else None
        details.query = without_token(details.query)
        if found is None:
            return NO_CREDENTIALS
        return found if isinstance(found, Credentials | closes.Close) else closes.INVALID_TOKEN

    def _begin(self, conn: Connection, session: Session, credentials: Credentials) -> None:
        session.identity = credentials.identity
        if credentials.expires is not None:
            self._arm(conn, session, credentials.expires)
        is_limited = self._places.are_limited_for(credentials.identity)
        if not self._hooks.watch_connect and not credentials.topics and not is_limited:
            self._hub.outages.welcome(conn, self._welcome(conn, session, credentials.expires))
            return
        work = session.need_work()
        work.task = self._run(self._enter(conn, session, credentials))
        if work.task is not None:
            work.task.add_done_callback(partial(self._entered, conn, session))
        else:
            session.rest()

    async def _enter(self, conn: Connection, session: Session, credentials: Credentials) -> None:
        if self._hooks.watch_connect and not await self._hooks.connect(conn):
            return
        if not await self._take_place(conn, credentials.identity):
            return
        outage = self._welcome(conn, session, credentials.expires)
        await self._subscribe(conn, session, credentials.topics)
        self._hub.outages.welcome(conn, outage)
        _send_early(conn, session)

    async def _take_place(self, conn: Connection, identity: Identity) -> bool:
        """For a newcomer that the hooks have let in, and so not in vain for others that have to go. False: there is no
        place, and the connection is closing, or it has ended meanwhile.
        """
        if not self._places.are_limited_for(identity):
            return True
        if not await self._places.take(conn, identity):
            conn.close(*closes.CONNECTION_LIMIT)
        elif conn.phase == OPEN:
            return True
        else:
            self._places.give_back(conn, identity)
        if self._hooks.watch_connect and (farewell := self._left(conn)) is not None:
            await farewell
        return False

    def _entered(self, conn: Connection, session: Session, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            conn.close(*closes.GOING_AWAY)
        elif (error := task.exception()) is not None:
            self._fail(conn, error, "connect")
            conn.close(*closes.INTERNAL)
        self._go_on(conn, session)

    # With commands.

    def authenticate(self, conn: Connection, session: Session, credentials: Credentials) -> Answer[Result]:
        """A stranger or an anonymous client has shown a token: ask the hooks, answer, welcome it.

        One that was welcomed already keeps its id and its subscriptions.
        """
        _check_open(conn)
        if session.phase == READY and self._places.are_limited_for(credentials.identity):
            return self._change_over(conn, session, credentials)
        return self._become(conn, session, credentials)

    async def _change_over(self, conn: Connection, session: Session, credentials: Credentials) -> Result:
        """An anonymous client is nobody else before there is a place for it: else two of them would each see the other
        where there is one place left.
        """
        identity = credentials.identity
        if not await self._places.take(conn, identity):
            conn.close(*closes.CONNECTION_LIMIT)
        elif conn.phase != OPEN:
            self._places.give_back(conn, identity)
        _check_open(conn)
        answer = self._become(conn, session, credentials)
        return await answer if isinstance(answer, Awaitable) else answer

    def _become(self, conn: Connection, session: Session, credentials: Credentials) -> Answer[Result]:
        former = session.identity
        session.identity = credentials.identity
        is_new = session.phase != READY
        if not is_new:
            self._hub.renamed(conn, former.tenant, former.user)
        else:
            session.phase = CONNECTING
            if conn.endpoint is not None:
                conn.max_message_size = conn.endpoint.max_message_size
        self._arm(conn, session, credentials.expires)
        if self._hooks.watch_connect:
            session.need_details().credentials = credentials
            return self._ask(conn, session, credentials, former, is_new)
        if is_new and self._places.are_limited_for(credentials.identity):
            return self._ask(conn, session, credentials, former, is_new)
        return self._accepted(conn, session, credentials, former, is_new)

    async def _ask(
        self, conn: Connection, session: Session, credentials: Credentials, former: Identity, is_new: bool
    ) -> Result:
        is_let_in = not self._hooks.watch_connect or await self._hooks.connect(conn, again=not is_new)
        if is_let_in and is_new:
            is_let_in = await self._take_place(conn, credentials.identity)
        if not is_let_in:
            raise TopicError(closes.NOT_PERMITTED.code, "this client may not connect")  # it is closing already
        return self._accepted(conn, session, credentials, former, is_new)

    def _accepted(
        self, conn: Connection, session: Session, credentials: Credentials, former: Identity, is_new: bool
    ) -> Result:
        return Followed(_expiry(credentials), partial(self._follow, conn, session, credentials, former, is_new))

    def _follow(
        self, conn: Connection, session: Session, credentials: Credentials, former: Identity, is_new: bool
    ) -> Awaitable[None] | None:
        """What comes after the reply to `auth`."""
        if conn.phase != OPEN:
            if is_new and self._places.are_limited_for(credentials.identity):
                self._places.give_back(conn, credentials.identity)
            return self._left(conn) if is_new else None
        outage = self._welcome(conn, session, credentials.expires)
        if former.tenant != session.tenant:
            # A topic of the same name is another one there.
            for topic in list(session.subscriptions()):
                self._subscriptions.end(conn, session, topic, closes.TOPIC_STATE_LOST)
        if credentials.topics:
            return self._subscribe_then_send(conn, session, credentials.topics, outage)
        self._hub.outages.welcome(conn, outage)
        _send_early(conn, session)
        session.rest()
        return None

    def _left(self, conn: Connection) -> Awaitable[None] | None:
        """It ended when it had been let in, and before it was welcomed: the hooks saw it come, so they see it go."""
        if not self._hooks.watch_disconnect:
            return None
        close = CloseInfo(conn.close_code or closes.ABNORMAL, conn.close_reason)
        return self._hooks.disconnect(self._hooks.info(conn), close)

    def refresh(self, conn: Connection, session: Session, credentials: Credentials) -> Answer[Result]:
        """The same user has a new token, which takes the place of the old one. Raises `FatalError` for another user.

        Subscriptions that it could not make any more end, unless the server had made them against the old token.
        """
        _check_open(conn)
        identity = credentials.identity
        if identity.user != session.user or identity.tenant != session.tenant:
            raise FatalError(closes.UNAUTHORIZED, "the token is somebody else's", closes.INVALID_TOKEN)
        if self._places.have_to_be_taken_again(session.identity, identity):
            return self._change_device(conn, session, credentials)
        return self._renew(conn, session, credentials)

    async def _change_device(self, conn: Connection, session: Session, credentials: Credentials) -> Result:
        await self._places.take(conn, credentials.identity)  # it has a place; others with that device go
        _check_open(conn)
        return self._renew(conn, session, credentials)

    def _renew(self, conn: Connection, session: Session, credentials: Credentials) -> Result:
        identity = credentials.identity
        former = session.identity
        held = self._allowed(session)
        session.profile = identity.profile
        if (former.device, former.profile.packed_info) != (session.device, session.profile.packed_info):
            self._hub.renamed(conn, former.tenant, former.user)
        self._arm(conn, session, credentials.expires)
        still = self._allowed(session)
        lost = [topic for topic in held if topic not in still]
        return Followed(_expiry(credentials), partial(self._refreshed, conn, session, credentials, lost))

    def _refreshed(
        self, conn: Connection, session: Session, credentials: Credentials, lost: list[Topic]
    ) -> Awaitable[None] | None:
        for topic in lost:
            self._subscriptions.end(conn, session, topic, closes.PERMISSION_REVOKED)
        return self._subscribe(conn, session, credentials.topics) if credentials.topics else None

    def _allowed(self, session: Session) -> list[Topic]:
        """The topics it is subscribed to, and could subscribe to by itself."""
        return [topic for topic in session.subscriptions() if self._access.allows(session, topic.name, topic.namespace)]

    # Both.

    def _arm(self, conn: Connection, session: Session, expires: int | None) -> None:
        """Have the connection closed when its token ends."""
        now_s = self._loop.time()
        ends_s = None if expires is None else now_s + expires - self._gate.clock()
        if session.passes is not None:
            session.passes.identity_ends_s = ends_s
            ends_s = session.passes.next_s()
        arm(conn, ends_s, now_s)

    def _welcome(self, conn: Connection, session: Session, expires: int | None) -> int | None:
        """It is ready: tell it what it is called, and hear it. Returns since when there is an outage of which it knows
        nothing yet, None if there is none; tell it of that after its subscriptions.
        """
        self._forget_request(session)
        is_new = session.phase != READY
        if is_new:
            session.phase = READY
            self._hub.enter(conn)
        content = {
            "conn": conn.id,
            "user": session.user,
            "tenant": session.tenant,
            "device": session.device,
            **self._always,
        }
        if expires is not None:
            content["expires"] = expires
        push(conn, "welcome", content)
        return self._hub.outages.since_ms if is_new else None

    def _forget_request(self, session: Session) -> None:
        if session.details is not None and not session.details.forget_request(self._keep_headers):
            session.details = None

    async def _subscribe(self, conn: Connection, session: Session, topics: tuple[str, ...]) -> None:
        """Subscribe it to the topics that its token names. What cannot be is logged, and left out."""
        for topic in topics:
            if conn.phase != OPEN:
                return
            try:
                answer = self._subscriptions.subscribe_by_server(conn, session, topic)
                if not isinstance(answer, bool):
                    await answer
            except TopicError as error:
                self._complain(error.code, str(error))
            except EngineError:
                self._complain(closes.ENGINE_UNAVAILABLE.code, "the engine is away")
            except Exception as error:
                self._fail(conn, error, "topics")

    async def _subscribe_then_send(
        self, conn: Connection, session: Session, topics: tuple[str, ...], outage: int | None
    ) -> None:
        await self._subscribe(conn, session, topics)
        self._hub.outages.welcome(conn, outage)
        _send_early(conn, session)
        session.rest()

    def _complain(self, code: int, message: str) -> None:
        """Say once of each kind what is wrong with tokens."""
        if (message, code) not in self._complaints:
            self._complaints.add((message, code))
            _log.warning(
                "a topic of the claim `topics` was left out: %s (%d; of this kind only the first is logged)",
                message,
                code,
            )


def _read_subprotocol(conn: Connection, session: Session, details: Details) -> None:
    """Take over the subprotocol: it is in `conn.codec_index`, and needs no memory for its name."""
    for codec in CODECS:
        if details.subprotocol == codec.subprotocol:
            conn.codec_index = session.codec = codec.index
    details.subprotocol = ""


def _check_open(conn: Connection) -> None:
    """Raise `TopicError` if it has ended while middleware waited: nobody may be anybody any more."""
    if conn.phase != OPEN:
        raise TopicError(closes.NOT_PERMITTED.code, "the connection has ended")


def _send_early(conn: Connection, session: Session) -> None:
    """Send what the connect hooks had to say."""
    if session.work is not None:
        for frame in session.work.early:
            conn.send_frame(frame)
        session.work.early.clear()


def _expiry(credentials: Credentials) -> Result:
    return {} if credentials.expires is None else {"expires": credentials.expires}
