"""What the types of commands and pushes do not say: what everything is for.

A test compares the names here with the types, and the fields of results and pushes with what a server says.
"""

from typing import Final, NamedTuple


class Command(NamedTuple):
    """One command. Names of results that end in `?` may be absent."""

    about: str
    result: tuple[str, ...] = ()


class Push(NamedTuple):
    """One push, by the same rule."""

    about: str
    fields: tuple[str, ...]


COMMANDS: Final[dict[str, Command]] = {
    "auth": Command(
        "Says who the client is, where the upgrade did not. A `welcome` follows the reply. For a connection that has a "
        "user, `refresh` is the way to replace its token.",
        ("expires?",),
    ),
    "refresh": Command(
        "Replaces the token by a newer one of the same user and tenant, before the old one expires.", ("expires?",)
    ),
    "sub": Command(
        "Subscribes to a topic. The reply comes before every publication of it.",
        ("topic", "epoch?", "offset?", "recovered", "publications"),
    ),
    "unsub": Command("Ends a subscription. Not being subscribed is no error."),
    "pub": Command(
        "Publishes to a topic. No subscription is needed.", ("its offset?", "epoch?", "duplicate", "degraded?")
    ),
    "presence": Command(
        "Who is subscribed to a topic, where the namespace has `presence`. Needs the permission to subscribe.",
        ("members", "connections", "users", "truncated?"),
    ),
    "presence_stats": Command("How many are.", ("connections", "users")),
    "history": Command(
        "A part of the history of a topic, where the namespace has one. Needs the permission to subscribe.",
        ("publications", "epoch", "offset"),
    ),
    "status": Command("Whether users are connected, at most 500 at a time.", ("status users",)),
    "rpc": Command("Calls a method of the application.", ("data",)),
    "heartbeat": Command("Asks for another interval of pings on this connection.", ("interval",)),
    "ping": Command("Asks for the server's time.", ("ts",)),
}

FIELDS: Final[dict[tuple[str, str], str]] = {
    ("auth", "token"): "a JWT",
    ("refresh", "token"): "a JWT",
    ("sub", "topic"): "1 to 255 bytes of UTF-8 without control characters",
    ("sub", "recover"): "the last position that the client has seen: it gets what came after it",
    ("sub", "token"): 'a token for this topic, where the namespace has `subscribe = "token"`',
    (
        "sub",
        "presence",
    ): "whether to be told who comes and goes, where the namespace has `join_leave`; false by default",
    ("unsub", "topic"): "the topic",
    ("pub", "topic"): "the topic",
    ("pub", "data"): "what subscribers get",
    ("pub", "key"): "idempotency: a second publication with it within 5 minutes is not delivered",
    ("pub", "echo"): "whether the publisher hears it too; by default what the namespace says, which is yes",
    ("pub", "trace"): "a W3C `traceparent`, for the application's middleware",
    ("presence", "topic"): "the topic",
    ("presence_stats", "topic"): "the topic",
    ("history", "topic"): "the topic",
    ("history", "since"): "where to begin, exclusive; by default the beginning (with `reverse` the end)",
    ("history", "limit"): "at most 1000, 100 if absent; 0 asks for the position alone",
    ("history", "reverse"): "newest first; false by default",
    ("status", "users"): "names of users",
    ("rpc", "method"): "the name that the application gave it",
    ("rpc", "data"): "its argument; absent is null",
    ("heartbeat", "interval"): "seconds; 10 to 300, what is beyond is brought into that range",
}

PUSHES: Final[dict[str, Push]] = {
    "welcome": Push(
        "The client may begin. It comes first, and a second time after `auth`.",
        ("conn", "user", "tenant", "device", "node", "ping", "server", "expires?"),
    ),
    "publication": Push(
        "Somebody published to a topic that the client is subscribed to.",
        ("topic", "published data", "its offset?", "ts", "from?"),
    ),
    "join": Push(
        "Somebody subscribed to a topic whose subscription asked for `presence`.",
        ("topic", "member user", "member conn", "info?"),
    ),
    "leave": Push("Its subscription ended.", ("topic", "member user", "member conn", "info?")),
    "presence": Push(
        "Very many came or went at once: the new numbers, in place of a `join` or `leave` for each.",
        ("topic", "connections", "users", "joined", "left"),
    ),
    "subscribed": Push("The server subscribed the client to a topic.", ("topic", "epoch?", "offset?")),
    "unsubscribed": Push("The server ended a subscription.", ("topic", "end code", "end reason", "resubscribe")),
    "message": Push("The application, or an operator, sends something outside of topics.", ("sent data", "ts")),
    "error": Push("A command without `id` failed.", ("cmd?", "error")),
    "degraded": Push("What carries messages between processes is away: only what this process does goes on.", ("ts",)),
    "restored": Push("It is back.", ("ts",)),
}

VALUES: Final[dict[str, str]] = {
    "expires": "when the token expires, if it does",
    "topic": "the topic",
    "epoch": "which life of the topic's history `offset` belongs to; only with history",
    "offset": "of the newest publication, counted by one within the epoch; only with history",
    "its offset": "its own, counted by one within the epoch; only with history",
    "recovered": "whether `publications` is all that came after `recover`",
    "publications": '`{"data", "offset", "ts", "from"}` each, oldest first unless `reverse`',
    "duplicate": "the `key` was seen before: nothing was delivered, the position is the first one's",
    "degraded": "true: only clients of this process heard it",
    "members": 'connections by their ids, at most 1,000: `{"user", "device", "info"}` each',
    "connections": "how many connections are subscribed",
    "users": "how many different users with a name",
    "joined": "how many came",
    "left": "how many went",
    "truncated": "true: there are more than `members` shows",
    "status users": 'by name: `{"online", "devices", "last_seen"}`, the last if it is known',
    "data": "what the method returned",
    "published data": "what was published",
    "interval": "seconds between pings from now on",
    "ts": "when",
    "conn": "the id of the connection",
    "user": "who the client is; empty if anonymous",
    "tenant": "whose user; empty if there are no tenants",
    "device": "`default` unless the token names one",
    "node": "the name of the server",
    "ping": "seconds without traffic after which the server pings; 0 if it does not",
    "server": "program and version",
    "from": '`{"user", "conn"}` of the publisher; absent if it was a server',
    "member user": "who; empty if anonymous",
    "member conn": "the id of the connection",
    "info": "what is public about the user, from the token",
    "end code": "see [codes](codes.md)",
    "end reason": "its word",
    "resubscribe": "whether the client should subscribe again at once",
    "sent data": "what was sent",
    "cmd": "the command, if it had a name",
    "error": '`{"code", "reason", "message", "temporary"}`',
}
