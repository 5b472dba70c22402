"""What callers of the control API send: the body of each method as a type. Unknown fields are ignored.

The texts here are those of the OpenAPI description, and the limits are both checked and described.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Tenant = Annotated[
    str,
    Meta(
        max_length=255,
        pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)",
        description="Whose users and topics are meant; empty where there are no tenants.",
    ),
]
TopicName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        description="1 to 255 bytes of UTF-8 without control characters; what stands before the first colon is the "
        "namespace.",
    ),
]
User = Annotated[str, Meta(min_length=1, description="The name of a user, `sub` of the token.")]
ConnectionId = Annotated[str, Meta(min_length=1, max_length=255, description="The id of a connection.")]
Data = Annotated[Any, Meta(description="Any JSON.")]
Key = Annotated[
    str, Meta(description="Unique for 5 minutes in its topic: a second publication with it delivers nothing.")
]


class Body(msgspec.Struct, kw_only=True):
    """What every method takes."""

    tenant: Tenant = ""


class Publish(Body, kw_only=True):
    """Publish to a topic."""

    topic: TopicName
    data: Data
    key: Key | None = None


class Broadcast(Body, kw_only=True):
    """Publish the same data to several topics."""

    topics: Annotated[list[TopicName], Meta(min_length=1, description="At most 1,000.")]
    data: Data
    key: Key | None = None


class Announce(Body, kw_only=True):
    """Send a `message` push to every connection, or with `tenant` to those of one tenant. Not stored."""

    data: Data


class Push(Body, kw_only=True):
    """Send a `message` push to one connection, or to all of a user. Not stored."""

    data: Data
    user: User | None = None
    conn: ConnectionId | None = None


class Subscribe(Body, kw_only=True):
    """Subscribe every connection of a user; each is told by the push `subscribed`."""

    user: User
    topic: TopicName


class Unsubscribe(Body, kw_only=True):
    """End the subscriptions of a user; each connection is told by the push `unsubscribed`."""

    user: User
    topic: TopicName


class Disconnect(Body, kw_only=True):
    """Close one connection, all of a user, or all of a tenant: one of `user`, `conn`, or `tenant` alone."""

    user: User | None = None
    conn: ConnectionId | None = None
    code: Annotated[
        int,
        Meta(
            ge=1000,
            le=4999,
            description="Close code; from 4000 to 4499 clients connect again, from 4500 they stop.",
        ),
    ] = 4503
    reason: Annotated[str, Meta(description="At most 123 bytes of UTF-8; by default the word of the code.")] = ""


class Presence(Body, kw_only=True):
    """Who is present in a topic whose namespace has `presence`."""

    topic: TopicName


class PresenceStats(Body, kw_only=True):
    """How many are present in a topic whose namespace has `presence`."""

    topic: TopicName


class Since(msgspec.Struct):
    """A place in the history of a topic."""

    epoch: str
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class History(Body, kw_only=True):
    """A part of the history of a topic whose namespace has one."""

    topic: TopicName
    since: Since | None = None
    limit: Annotated[int, Meta(ge=0, description="At most 1000; 0 answers the position alone.")] = 100
    reverse: Annotated[bool, Meta(description="The newest first, or those before `since`.")] = False


class Topics(Body, kw_only=True):
    """The topics that somebody is subscribed to."""

    pattern: Annotated[str, Meta(description="The exact name of a topic, or the beginning of names and one `*`.")] = "*"
    limit: Annotated[int, Meta(ge=1, le=10_000, description="How many are listed.")] = 1000


class Sessions(Body, kw_only=True):
    """The connections of a user."""

    user: User
    limit: Annotated[int, Meta(ge=1, le=10_000, description="How many are listed.")] = 1000


class Status(Body, kw_only=True):
    """Whether users are here."""

    users: Annotated[list[str], Meta(description="At most 500 names.")]


class Online(Body, kw_only=True):
    """How many connections have a value: of `user`, `device`, `tenant`, `codec`, `role`, or of a key of `info`.

    Those of all tenants count unless `tenant` says whose.
    """

    attribute: Annotated[str, Meta(min_length=1)]
    value: Data


class Nodes(Body, kw_only=True):
    """The nodes of this server, and how they are."""


class Batch(Body, kw_only=True):
    """Several calls in one, in order; one that fails does not stop the rest."""

    commands: Annotated[
        list[dict[str, Any]],
        Meta(
            description="At most 1,000 objects, each with `method` and the fields of that method. `tenant` of the "
            "batch holds for those that name none."
        ),
    ]
