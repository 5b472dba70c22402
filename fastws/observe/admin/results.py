"""What the control API answers: the result of each method as a type. What has no value is absent."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

Milliseconds = Annotated[int, Meta(description="Unix time in milliseconds.")]


class Result(msgspec.Struct):
    """The root of all of them."""


class DoneResult(Result, kw_only=True):
    """It is done, and there is nothing to say about it."""


class PublishResult(Result, kw_only=True):
    """What became of a publication. `offset` and `epoch` are there for a topic with history."""

    offset: int | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    duplicate: Annotated[bool, Meta(description="The key was seen before: nothing was delivered.")]
    nodes: Annotated[
        int, Meta(description="Processes that it was given to: with Redis, those that have subscribers of the topic.")
    ]
    degraded: (
        Annotated[bool, Meta(description="The engine is away: only this node's subscribers heard it.")] | UnsetType
    ) = UNSET


class Failure(msgspec.Struct):
    """Why a call failed, in the codes of the client protocol."""

    code: int
    reason: str
    message: str


class BroadcastResult(Result, kw_only=True):
    """What became of the publication in each topic; `failed` has those where it came to nothing."""

    topics: dict[str, PublishResult]
    failed: dict[str, Failure] | UnsetType = UNSET


class CountResult(Result, kw_only=True):
    """How many connections it met."""

    connections: int


class Member(Result, kw_only=True):
    """One connection that is present."""

    user: str
    device: str
    info: Any | UnsetType = UNSET


class PresenceResult(Result, kw_only=True):
    """Who is present, by the id of the connection; at most 1,000, `truncated` if there are more."""

    members: dict[str, Member]
    connections: int
    users: int
    truncated: bool | UnsetType = UNSET


class PresenceStatsResult(Result, kw_only=True):
    """How many are present."""

    connections: int
    users: int


class Author(Result, kw_only=True):
    """The client that published."""

    user: str
    conn: str


class Publication(Result, kw_only=True, rename={"author": "from"}):
    """One publication of a topic's history."""

    data: Raw
    offset: int
    ts: Milliseconds
    author: Author | UnsetType = UNSET


class HistoryResult(Result, kw_only=True):
    """A part of a topic's history, and where the topic is now."""

    publications: list[Publication]
    epoch: str
    offset: int


class Topic(Result, kw_only=True):
    """A topic that somebody is subscribed to."""

    topic: str
    subscribers: int


class TopicsResult(Result, kw_only=True):
    """Topics; `truncated` if there are more than were asked for."""

    topics: list[Topic]
    truncated: bool | UnsetType = UNSET


class Session(Result, kw_only=True):
    """One connection of a user."""

    conn: str
    user: str
    tenant: str
    device: str
    node: str
    since: Milliseconds


class SessionsResult(Result, kw_only=True):
    """The connections of a user, the oldest first; `truncated` if there are more than were asked for."""

    sessions: list[Session]
    truncated: bool | UnsetType = UNSET


class UserStatus(Result, kw_only=True):
    """Whether a user is here, and on which devices; `last_seen` where that is known."""

    online: bool
    devices: list[str]
    last_seen: Milliseconds | UnsetType = UNSET


class StatusResult(Result, kw_only=True):
    """By the names of the users."""

    users: dict[str, UserStatus]


class Node(Result, kw_only=True):
    """One node, as it is now: all workers of one name."""

    id: Annotated[str, Meta(description="The option --node-name.")]
    version: Annotated[str, Meta(description="The version of fastws, of the worker that was started last.")]
    connections: Annotated[int, Meta(description="WebSockets that are open, in all its workers.")]
    workers: Annotated[int, Meta(description="Processes that serve connections.")]
    uptime: Annotated[float, Meta(description="Seconds since the oldest of them was ready.")]
    engine: Annotated[str, Meta(description="What carries messages: `memory` or `redis`.")]
    draining: Annotated[bool, Meta(description="It lets nobody in and moves its connections away.")]


class NodesResult(Result, kw_only=True):
    """Every node."""

    nodes: list[Node]


class BatchResult(Result, kw_only=True):
    """The answer to each command, in their order: `{"result"}` or `{"error"}`. Once they take 16 MiB together, commands
    that only look are not carried out, and answer 106.
    """

    replies: list[dict[str, Any]]
