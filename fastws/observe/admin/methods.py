"""Every method of the control API: what it takes, what it does, what it answers, and an example.

An example is also a `curl` command, on the machine of the server and without a key::

    curl http://127.0.0.1:9000/api/publish -d '{"topic": "news", "data": {"text": "hello"}}'

and with one, from anywhere::

    curl https://admin.example/api/publish -H "Authorization: Bearer $KEY" -d '{"topic": "news", "data": 1}'
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from msgspec import UNSET, Raw

from fastws import closes, types
from fastws.errors import EngineError, TopicError
from fastws.observe.admin import bodies, results
from fastws.observe.admin.floor import Floor
from fastws.services import Services

MAX_TOPICS: Final = 1000
"""Topics of one `broadcast`."""
MAX_USERS: Final = 500
"""Users of one `status`."""
MAX_REASON_BYTES: Final = 123
"""RFC 6455 5.5: a control frame carries 125 bytes, two of them are the code."""

MISSING: Final = {
    **dict.fromkeys(("send", "inbox", "dead_letters", "requeue"), "direct messages"),
    **{f"groups/{verb}": "groups" for verb in ("create", "add", "remove", "members", "delete")},
    "revoke": "revocations of tokens",
}
"""Methods whose part of the server does not exist yet, and what that is called."""


class Context(NamedTuple):
    """What methods work on."""

    services: Services
    nodes: Callable[[], Awaitable[list[results.Node]]]
    floor: Floor


Run = Callable[[Context, Any], Awaitable[results.Result]]


class Method(NamedTuple):
    """One method: `POST /api/<name>`."""

    name: str
    body: type[bodies.Body]
    result: type[results.Result]
    run: Run
    example: dict[str, Any]


def refused(message: str, error: closes.ErrorCode = closes.MALFORMED) -> TopicError:
    """The error for a call that cannot be carried out."""
    return TopicError(error.code, message)


async def _publish(context: Context, body: bodies.Publish) -> results.PublishResult:
    services = context.services
    return _published(await services.publish(body.topic, body.data, key=body.key, tenant=body.tenant))


async def _broadcast(context: Context, body: bodies.Broadcast) -> results.BroadcastResult:
    if len(body.topics) > MAX_TOPICS:
        raise refused(f"at most {MAX_TOPICS} topics", closes.LIMIT_EXCEEDED)
    done: dict[str, results.PublishResult] = {}
    failed: dict[str, results.Failure] = {}
    turn = await context.floor.turn()
    first: TopicError | EngineError | None = None
    for topic in dict.fromkeys(body.topics):
        try:
            done[topic] = _published(await context.services.publish(topic, body.data, key=body.key, tenant=body.tenant))
        except (TopicError, EngineError) as error:
            first = first or error
            failed[topic] = failure(error)
        await turn.give_way()
    if first is not None and not done:
        raise first
    return results.BroadcastResult(topics=done, failed=failed or UNSET)


async def _announce(context: Context, body: bodies.Announce) -> results.DoneResult:
    await context.services.broadcast(body.data, tenant=body.tenant or None)
    return results.DoneResult()


async def _push(context: Context, body: bodies.Push) -> results.CountResult:
    _one_of(user=body.user, conn=body.conn)
    count = await context.services.push(body.data, user=body.user, conn=body.conn, tenant=body.tenant)
    return results.CountResult(connections=count)


async def _subscribe(context: Context, body: bodies.Subscribe) -> results.CountResult:
    count = await context.services.subscribe(body.user, body.topic, tenant=body.tenant)
    return results.CountResult(connections=count)


async def _unsubscribe(context: Context, body: bodies.Unsubscribe) -> results.CountResult:
    count = await context.services.unsubscribe(body.user, body.topic, tenant=body.tenant)
    return results.CountResult(connections=count)


async def _disconnect(context: Context, body: bodies.Disconnect) -> results.CountResult:
    if body.user is None and body.conn is None and not body.tenant:
        raise refused("one of user, conn and tenant is needed")
    if body.user is not None and body.conn is not None:
        raise refused("user and conn cannot be given together")
    if body.code in closes.UNSENDABLE:
        raise refused(f"{body.code} cannot be sent as a close code")
    if len(body.reason.encode()) > MAX_REASON_BYTES:
        raise refused(f"reason has at most {MAX_REASON_BYTES} bytes of UTF-8")
    # A user without a tenant is one of the tenant without a name; a connection has its id, whatever its tenant.
    tenant = body.tenant if body.user is not None else body.tenant or None
    count = await context.services.disconnect(
        user=body.user, conn=body.conn, tenant=tenant, code=body.code, reason=body.reason
    )
    return results.CountResult(connections=count)


async def _presence(context: Context, body: bodies.Presence) -> results.PresenceResult:
    presence = await context.services.presence(body.topic, tenant=body.tenant)
    members = {
        conn: results.Member(user=member.user, device=member.device, info=_or_absent(member.info))
        for conn, member in presence.members.items()
    }
    return results.PresenceResult(
        members=members,
        connections=presence.connections,
        users=presence.users,
        truncated=presence.truncated or UNSET,
    )


async def _presence_stats(context: Context, body: bodies.PresenceStats) -> results.PresenceStatsResult:
    stats = await context.services.presence_stats(body.topic, tenant=body.tenant)
    return results.PresenceStatsResult(connections=stats.connections, users=stats.users)


async def _history(context: Context, body: bodies.History) -> results.HistoryResult:
    since = (body.since.epoch, body.since.offset) if body.since is not None else None
    page = await context.services.history(
        body.topic, since=since, limit=body.limit, reverse=body.reverse, tenant=body.tenant, raw=True
    )
    publications = [
        results.Publication(
            data=Raw(entry.data),
            offset=entry.offset,
            ts=entry.ts,
            author=UNSET if entry.author is None else results.Author(user=entry.author.user, conn=entry.author.conn),
        )
        for entry in page.publications
    ]
    return results.HistoryResult(publications=publications, epoch=page.epoch, offset=page.offset)


async def _topics(context: Context, body: bodies.Topics) -> results.TopicsResult:
    found = await context.services.topics(body.pattern, tenant=body.tenant)
    listed = [results.Topic(topic=one.topic, subscribers=one.subscribers) for one in found[: body.limit]]
    return results.TopicsResult(topics=listed, truncated=len(found) > len(listed) or UNSET)


async def _sessions(context: Context, body: bodies.Sessions) -> results.SessionsResult:
    found = await context.services.sessions(body.user, limit=body.limit + 1, tenant=body.tenant)
    listed = [results.Session(**session._asdict()) for session in found[: body.limit]]
    return results.SessionsResult(sessions=listed, truncated=len(found) > len(listed) or UNSET)


async def _status(context: Context, body: bodies.Status) -> results.StatusResult:
    if len(body.users) > MAX_USERS:
        raise refused(f"at most {MAX_USERS} users", closes.LIMIT_EXCEEDED)
    found = await context.services.status(body.users, tenant=body.tenant)
    users = {
        user: results.UserStatus(
            online=status.online, devices=list(status.devices), last_seen=_or_absent(status.last_seen)
        )
        for user, status in found.items()
    }
    return results.StatusResult(users=users)


async def _online(context: Context, body: bodies.Online) -> results.CountResult:
    count = await context.services.online(body.attribute, body.value, tenant=body.tenant or None)
    return results.CountResult(connections=count)


async def _nodes(context: Context, _body: bodies.Nodes) -> results.NodesResult:
    return results.NodesResult(nodes=await context.nodes())


METHODS: Final = {
    method.name: method
    for method in (
        Method("publish", bodies.Publish, results.PublishResult, _publish, {"topic": "news", "data": {"text": "hi"}}),
        Method(
            "broadcast",
            bodies.Broadcast,
            results.BroadcastResult,
            _broadcast,
            {"topics": ["news", "sport"], "data": {"text": "hi"}},
        ),
        Method("announce", bodies.Announce, results.DoneResult, _announce, {"data": {"text": "a pause at noon"}}),
        Method("push", bodies.Push, results.CountResult, _push, {"user": "42", "data": {"text": "for you"}}),
        Method("subscribe", bodies.Subscribe, results.CountResult, _subscribe, {"user": "42", "topic": "news"}),
        Method("unsubscribe", bodies.Unsubscribe, results.CountResult, _unsubscribe, {"user": "42", "topic": "news"}),
        Method("disconnect", bodies.Disconnect, results.CountResult, _disconnect, {"user": "42", "code": 4503}),
        Method("presence", bodies.Presence, results.PresenceResult, _presence, {"topic": "chat:lobby"}),
        Method(
            "presence_stats",
            bodies.PresenceStats,
            results.PresenceStatsResult,
            _presence_stats,
            {"topic": "chat:lobby"},
        ),
        Method(
            "history",
            bodies.History,
            results.HistoryResult,
            _history,
            {"topic": "chat:lobby", "limit": 10, "reverse": True},
        ),
        Method("topics", bodies.Topics, results.TopicsResult, _topics, {"pattern": "chat:*"}),
        Method("sessions", bodies.Sessions, results.SessionsResult, _sessions, {"user": "42"}),
        Method("status", bodies.Status, results.StatusResult, _status, {"users": ["42", "43"]}),
        Method("online", bodies.Online, results.CountResult, _online, {"attribute": "device", "value": "web"}),
        Method("nodes", bodies.Nodes, results.NodesResult, _nodes, {}),
    )
}
"""By name; `batch`, which calls the others, is not among them."""

READING: Final = frozenset(
    ("presence", "presence_stats", "history", "topics", "sessions", "status", "online", "nodes"),
)
"""Those that change nothing: `Idempotency-Key` is nothing to them."""


def failure(error: TopicError | EngineError) -> results.Failure:
    """How an error is answered."""
    if isinstance(error, EngineError):
        unavailable = closes.ENGINE_UNAVAILABLE
        return results.Failure(unavailable.code, unavailable.reason, str(error) or unavailable.reason)
    return results.Failure(error.code, error.reason, error.message or error.reason)


def _published(published: types.Published) -> results.PublishResult:
    return results.PublishResult(
        offset=_or_absent(published.offset),
        epoch=_or_absent(published.epoch),
        duplicate=published.duplicate,
        nodes=published.nodes,
        degraded=published.degraded or UNSET,
    )


def _one_of(**given: str | None) -> None:
    """Raise unless exactly one of them is there."""
    if sum(value is not None for value in given.values()) != 1:
        raise refused(f"one of {' and '.join(given)} is needed, and only one")


def _or_absent(value: Any) -> Any:
    return UNSET if value is None else value
