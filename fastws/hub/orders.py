"""Orders: what is done with connections of this process because somebody in one of the processes said so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from time import monotonic
from typing import Any, Final, Protocol

import orjson

from fastws.closes import ENGINE_UNAVAILABLE, INTERNAL_ERROR, Unsubscribed
from fastws.core.codecs import CODECS
from fastws.core.topics import unscoped
from fastws.engine.contract import COUNT, DISCONNECT, PUSH, SUBSCRIBE, UNSUBSCRIBE, Answer, Order, Outcome
from fastws.errors import EngineError, FastWSError, TopicError
from fastws.hub.topic import Topic
from fastws.hub.users import Users
from fastws.types import SendStatus
from fastws_ext.frames import encode_frame

_log: Final = logging.getLogger("fastws.hub")

SLICE_S: Final = 0.002
"""Seconds of the loop that orders for many connections take, all of them together, before others have their turn."""

RAW: Final = "raw"
"""What connections of raw endpoints say they speak. What is pushed to them is JSON in a text frame."""

_TEXT: Final = 1
_AT_ONCE: Final = 64  # connections for which no coroutine is needed: a fraction of a slice
_ENDED_AT_ONCE: Final = 8  # the same where many topics may be lost in one moment
_CHECKED_EVERY: Final = 32

Act = Callable[[Any], "Answer[bool]"]


class Subscriptions(Protocol):
    """Who subscribes and unsubscribes connections that did not ask for it: the layer above."""

    def subscribe_by_server(self, conn: Any, session: Any, topic: str) -> Answer[bool]:
        """Subscribe and tell it; False if it was. Raises `TopicError`."""

    def unsubscribe_by_server(self, conn: Any, session: Any, topic: str) -> bool:
        """Unsubscribe and tell it; False if it was not subscribed."""

    def end(self, conn: Any, session: Any, topic: Topic, why: Unsubscribed) -> None:
        """End a subscription and tell the connection why."""


class Orders:
    """Carries them out. `find` knows connections by their ids, `last_until` the highest number that a connection had at
    a time; `subscriptions` is set by the layer above.
    """

    def __init__(self, users: Users, find: Callable[[str], Any], last_until: Callable[[int], float]) -> None:
        self.subscriptions: Subscriptions | None = None
        self._users = users
        self._find = find
        self._last_until = last_until
        self._slices = asyncio.Lock()
        """Held by the order that has this pass's slice."""
        self._actions: dict[str, Callable[[Order], Act]] = {
            DISCONNECT: _disconnect,
            PUSH: _push,
            SUBSCRIBE: self._subscribe,
            UNSUBSCRIBE: self._unsubscribe,
            COUNT: _count,
        }

    def carry_out(self, order: Order) -> Answer[Outcome]:
        """Do it; an order of a kind that is not known here, as a newer process may give, meets nobody."""
        if order.action == PUSH and order.user is None and order.conn is None and not order.until_ms:
            return self._push_to_many(order)
        prepare = self._actions.get(order.action)
        if prepare is None:
            return Outcome()
        act = prepare(order)
        if order.until_ms:
            act = _but_newcomers(act, self._last_until(order.until_ms))
        return self._each(self._meant(order), act)

    def end_all(self, topic: Topic, why: Unsubscribed) -> Coroutine[Any, Any, Outcome] | None:
        """End every subscription to a topic; None if that is done, else what has to be awaited for it."""
        subscriptions = self.subscriptions

        def act(conn: Any) -> bool:
            if subscriptions is None:
                return topic.audience.discard(conn)
            subscriptions.end(conn, conn.session, topic, why)
            return True

        connections = topic.audience.wires()
        if len(connections) > _ENDED_AT_ONCE:
            return self._in_slices(connections, act)
        self._each(connections, act)
        return None

    def _meant(self, order: Order) -> Sequence[Any]:
        if order.user is not None:
            return self._users.connections_of(*unscoped(order.user))
        if order.conn is not None:
            conn = self._find(order.conn)
            is_meant = conn is not None and order.tenant in (None, conn.tenant)
            return (conn,) if is_meant else ()
        return self._users.everybody(order.tenant)

    def _push_to_many(self, order: Order) -> Outcome:
        """One frame for each codec, and no Python for each connection."""
        audience = self._users.audience_of(order.tenant) if order.tenant is not None else None
        audiences = self._users.audiences() if order.tenant is None else [audience] if audience is not None else []
        frames = frames_of_message(order.data, order.ts_ms)
        return Outcome(sum(audience.publish(frames) for audience in audiences))

    def _each(self, connections: Sequence[Any], act: Act) -> Answer[Outcome]:
        """Do it for each connection; for many of them in slices, between which others have their turn."""
        if len(connections) > _AT_ONCE:
            return self._in_slices(connections, act)
        outcome = Outcome()
        waiting: list[Awaitable[bool]] = []
        for conn in connections:
            answer = _try(act, conn)
            if isinstance(answer, Outcome):
                outcome += answer
            else:
                waiting.append(answer)
        return _and_those(outcome, waiting) if waiting else outcome

    async def _in_slices(self, connections: Iterable[Any], act: Act) -> Outcome:
        outcome = Outcome()
        rest = enumerate(connections, 1)
        is_done = False
        while not is_done:
            waiting: list[Awaitable[bool]] = []
            async with self._slices:
                ends_s = monotonic() + SLICE_S
                is_done = True
                for number, conn in rest:
                    if not conn.close_code:  # else it has ended since then
                        answer = _try(act, conn)
                        if isinstance(answer, Outcome):
                            outcome += answer
                        else:
                            waiting.append(answer)
                    if not number % _CHECKED_EVERY and monotonic() > ends_s:
                        is_done = False
                        break
                await asyncio.sleep(0)
            outcome = await _and_those(outcome, waiting)
        return outcome

    def _subscribe(self, order: Order) -> Act:
        subscriptions, topic = self.subscriptions, order.topic
        if subscriptions is None:
            return _ignore
        return _but_raw(lambda conn: subscriptions.subscribe_by_server(conn, conn.session, topic))

    def _unsubscribe(self, order: Order) -> Act:
        subscriptions, topic = self.subscriptions, order.topic
        if subscriptions is None:
            return _ignore
        return _but_raw(lambda conn: subscriptions.unsubscribe_by_server(conn, conn.session, topic))


def frames_of_message(data: bytes, ts_ms: int) -> tuple[bytes | None, ...]:
    """The push `message` for each codec; None for a dialect that has no such thing."""
    payloads = [(codec.opcode, codec.message(data, ts_ms)) for codec in CODECS]
    return tuple(encode_frame(opcode, payload) if payload else None for opcode, payload in payloads)


def _ignore(_conn: Any) -> bool:
    return False


def _but_newcomers(act: Act, last: float) -> Act:
    """The same, for connections up to this number."""
    return lambda conn: act(conn) if conn.number <= last else False


def _but_raw(act: Act) -> Act:
    """The same, for connections that know topics."""
    return lambda conn: act(conn) if conn.codec != RAW else False


def _disconnect(order: Order) -> Act:
    def act(conn: Any) -> bool:
        if conn.close_code:
            return False  # it is closing already
        conn.close(order.code, order.reason)
        return True

    return act


def _push(order: Order) -> Act:
    frames = frames_of_message(order.data, order.ts_ms)
    is_for_raw = order.user is not None or order.conn is not None  # what is for everybody is not, however late it comes
    bare = encode_frame(_TEXT, order.data) if is_for_raw else None

    def act(conn: Any) -> bool:
        frame = frames[conn.codec_index] if conn.codec != RAW else bare
        return frame is not None and conn.send_frame(frame) < SendStatus.DROPPED

    return act


def _count(order: Order) -> Act:
    attribute, value = order.attribute, orjson.loads(order.data)
    if attribute in ("user", "device", "tenant", "codec"):
        return lambda conn: bool(getattr(conn, attribute) == value)
    if attribute == "role":
        return lambda conn: value in conn.claims.get("roles", ())
    return lambda conn: isinstance(conn.info, dict) and attribute in conn.info and bool(conn.info[attribute] == value)


def _try(act: Act, conn: Any) -> Outcome | Awaitable[bool]:
    try:
        answer = act(conn)
    except Exception as error:
        return _refusal(conn, error)
    return Outcome(int(answer)) if isinstance(answer, bool) else answer


async def _and_those(outcome: Outcome, waiting: Sequence[Awaitable[bool]]) -> Outcome:
    if not waiting:
        return outcome
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        outcome += _refusal(None, answer) if isinstance(answer, BaseException) else Outcome(int(answer))
    return outcome


def _refusal(conn: Any, error: BaseException) -> Outcome:
    if isinstance(error, TopicError):
        return Outcome(0, error.code)
    if isinstance(error, EngineError):
        return Outcome(0, ENGINE_UNAVAILABLE.code)
    if not isinstance(error, FastWSError):
        _log.error("an order failed", exc_info=error, extra={"conn": getattr(conn, "id", "")})
    return Outcome(0, INTERNAL_ERROR.code)
