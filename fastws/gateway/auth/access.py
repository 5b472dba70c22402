"""Who may do what: the one place that decides it, for every command and every way to a topic.

A list of the token's permissions takes the place of the namespace's option, and so does a rule of the application;
where both exist both must allow. What nobody allows is denied.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final, Protocol

from msgspec import UNSET

from fastws import closes
from fastws.core.topics import ALL, AUTHENTICATED, TOKEN, Namespace, Namespaces, scoped, topic_problem
from fastws.errors import TopicError
from fastws.gateway.auth.passes import Passes, arm
from fastws.gateway.auth.tokens import TokenError, TokenExpiredError, Verifier
from fastws.gateway.session import Session
from fastws.net.connection import Connection

_log: Final = logging.getLogger("fastws.gateway")

SUBSCRIBE: Final = "subscribe"
"""Also what looking at a topic's history and its subscribers needs."""
PUBLISH: Final = "publish"


class Rules(Protocol):
    """Rules of an application: patterns of topics with a handler for each."""

    def match(self, topic: str) -> tuple[Callable[..., Any], dict[str, str]] | None:
        """The handler of the most specific pattern, and what the pattern's parameters are; None if none fits."""


class Access:
    """Decides. `verifier` is for subscription tokens; without one there are none that could be right."""

    def __init__(
        self,
        namespaces: Namespaces,
        *,
        anonymous_is_trusted: bool,
        verifier: Verifier | None = None,
        subscribe_rules: Rules | None = None,
        publish_rules: Rules | None = None,
    ) -> None:
        self._namespaces = namespaces
        self._anonymous_is_trusted = anonymous_is_trusted
        self._verifier = verifier
        self._subscribe_rules = subscribe_rules
        self._publish_rules = publish_rules
        self._explained = False

    def namespace(self, topic: str) -> Namespace:
        """The options of a topic. Raises `TopicError`: 107 for a name that cannot be, 102 for an undeclared one."""
        problem = topic_problem(topic)
        if problem is not None:
            raise TopicError(closes.MALFORMED.code, problem)
        namespace = self._namespaces.of(topic)
        if namespace is None:
            raise TopicError(closes.UNKNOWN_TOPIC.code, "the topic's namespace is not declared")
        return namespace

    def check(
        self,
        conn: Connection,
        session: Session,
        action: str,
        topic: str,
        namespace: Namespace,
        token: str | None = None,
    ) -> Awaitable[None] | None:
        """Raise `TopicError` unless this client may do this with this topic; None: it may.

        103 is no, 109 that its subscription token (`token`, of the command `sub`) has expired. An awaitable has to be
        awaited first, and raises the same; what a rule of the application raises goes through.
        """
        grants = session.profile.grants
        if action == SUBSCRIBE:
            permitted, rules = grants.subscribe, self._subscribe_rules
            if token is not None and TOKEN in (namespace.subscribe, namespace.publish):
                self._take(conn, session, topic, token)
        else:
            permitted, rules = grants.publish, self._publish_rules
        if permitted is not None and topic not in permitted:
            raise _denied(f"{action} is not among the permissions of the token")
        rule = rules.match(topic) if rules is not None else None
        if rule is not None:
            handler, parameters = rule
            verdict = handler(conn, **parameters)
            if isawaitable(verdict):
                return _await_rule(verdict, action)
            if not verdict:
                raise _denied(f"{action} is not open to this client")
        elif permitted is None:
            self._check_option(session, action, topic, namespace)
        return None

    def allows(self, session: Session, topic: str, namespace: Namespace) -> bool:
        """Whether this client could subscribe, as far as that can be said without asking rules of the application and
        without a subscription token.
        """
        permitted = session.profile.grants.subscribe
        if permitted is not None:
            return topic in permitted
        if self._subscribe_rules is not None and self._subscribe_rules.match(topic) is not None:
            return True
        if namespace.subscribe == AUTHENTICATED:
            return bool(session.user) or self._anonymous_is_trusted
        return namespace.subscribe in (ALL, TOKEN)

    def _check_option(self, session: Session, action: str, topic: str, namespace: Namespace) -> None:
        who = namespace.subscribe if action == SUBSCRIBE else namespace.publish
        if who == ALL:
            return
        if who == AUTHENTICATED:
            if session.user or self._anonymous_is_trusted:
                return
            self._explain(action)
            raise _denied(f"{action} needs an authenticated user")
        if who == TOKEN and _has_pass(session, action, topic):
            return
        needed = " needs a token for the topic" if who == TOKEN else " is not open to this client"
        raise _denied(action + needed)

    def _take(self, conn: Connection, session: Session, topic: str, token: str) -> None:
        """Judge a subscription token, and note what it gives. Raises `TopicError` 103 or 109."""
        if self._verifier is None:
            raise _denied("the token is not valid here")
        try:
            claims = self._verifier.verify(token).claims
        except TokenExpiredError:
            raise TopicError(closes.EXPIRED.code, "the token for the topic has expired") from None
        except TokenError:
            raise _denied("the token for the topic is not valid here") from None
        # Each of these alone would give one client what was meant for another.
        if claims.topic != topic or claims.sub != session.user or claims.tenant != session.tenant:
            raise _denied("the token is not for this topic and user")
        now_s = asyncio.get_running_loop().time()
        passes = session.passes
        if passes is None:
            passes = session.passes = Passes(now_s + conn.deadline if conn.deadline else None)
        ends_s = None if claims.exp is UNSET else now_s + int(claims.exp) - self._verifier.clock()
        passes.note(scoped(session.tenant, topic), ends_s, may_publish=claims.pub)
        arm(conn, passes.next_s(), now_s)

    def _explain(self, action: str) -> None:
        """Say once what an operator who wonders would have to set."""
        if self._explained:
            return
        self._explained = True
        _log.warning(
            'an anonymous client was refused to %s: set %s = "all" for the namespace, configure tokens '
            "(--jwt-secret), or run with --dev on your own machine",
            action,
            action,
        )


def _has_pass(session: Session, action: str, topic: str) -> bool:
    """Whether a subscription token gives this."""
    if session.passes is None:
        return False
    key = scoped(session.tenant, topic)
    given = session.passes.of(key)
    if given is None or action == SUBSCRIBE:
        return given is not None
    return given.may_publish and any(subscribed.key == key for subscribed in session.subscriptions())


async def _await_rule(verdict: Awaitable[Any], action: str) -> None:
    if not await verdict:
        raise _denied(f"{action} is not open to this client")


def _denied(message: str) -> TopicError:
    return TopicError(closes.NOT_PERMITTED.code, message)
