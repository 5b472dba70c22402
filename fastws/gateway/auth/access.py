"""Who may do what: the one place that decides it, for every command and every way to a topic."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final

from fastws import closes
from fastws.core.topics import ALL, AUTHENTICATED, Namespace, Namespaces, topic_problem
from fastws.errors import TopicError
from fastws.gateway.session import Session
from fastws.net.connection import Connection

_log: Final = logging.getLogger("fastws.gateway")

SUBSCRIBE: Final = "subscribe"
"""Also what looking at a topic's history and its subscribers needs."""
PUBLISH: Final = "publish"


class Access:
    """Decides on the grounds of the namespaces' options."""

    def __init__(self, namespaces: Namespaces, *, anonymous_is_trusted: bool) -> None:
        self._namespaces = namespaces
        self._anonymous_is_trusted = anonymous_is_trusted
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
        _conn: Connection,
        session: Session,
        action: str,
        _topic: str,
        namespace: Namespace,
        _token: str | None = None,
    ) -> Awaitable[None] | None:
        """Raise `TopicError` 103 unless this client may do this with this topic; None: it may.

        An awaitable has to be awaited first, and raises the same.
        """
        who = namespace.subscribe if action == SUBSCRIBE else namespace.publish
        if who == ALL:
            return None
        if who != AUTHENTICATED:
            raise TopicError(closes.NOT_PERMITTED.code, f"{action} is not open to this client")
        if session.identity.user or self._anonymous_is_trusted:
            return None
        self._explain(action)
        raise TopicError(closes.NOT_PERMITTED.code, f"{action} needs an authenticated user")

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
