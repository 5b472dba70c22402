"""Every code that fastws puts on the wire, as values in one place: close codes, reply errors, ends of subscriptions.

Code ranges carry the advice to clients, so that one which does not know a code still does the right thing:
4000-4499 say "connect again", 4500-4999 say "stop". Nothing else in fastws writes a code as a bare number with a
reason of its own: `conn.close(*closes.NO_PONG)`.
"""

from typing import NamedTuple


class Close(NamedTuple):
    """What a close frame says (RFC 6455 5.5.1): `code` 1000-4999 and `reason`, at most 123 bytes of UTF-8."""

    code: int
    reason: str


class ErrorCode(NamedTuple):
    """The `error` of a reply: `temporary` means that the same command may succeed later without a change."""

    code: int
    reason: str
    temporary: bool = False


class Unsubscribed(NamedTuple):
    """Why the server ended a subscription; `resubscribe` tells the client to subscribe again at once."""

    code: int
    reason: str
    resubscribe: bool


# RFC 6455 7.4.1 and the IANA registry
NORMAL = Close(1000, "normal")
GOING_AWAY = Close(1001, "going_away")
PROTOCOL = Close(1002, "protocol")
UNSUPPORTED = Close(1003, "unsupported")
BAD_UTF8 = Close(1007, "bad UTF-8")
POLICY = Close(1008, "policy")
TOO_BIG = Close(1009, "too big")
INTERNAL = Close(1011, "internal")
RESTARTING = Close(1012, "restarting")
TRY_AGAIN_LATER = Close(1013, "try again later")
# 4000-4499: the client connects again
TOKEN_EXPIRED = Close(4001, "token_expired")
NO_PONG = Close(4002, "no_pong")
SLOW_CONSUMER = Close(4003, "slow_consumer")
INSUFFICIENT_STATE = Close(4004, "insufficient_state")
TOO_MANY_REQUESTS = Close(4005, "too_many_requests")
FORCE_RECONNECT = Close(4006, "force_reconnect")
# 4500-4999: the client stops
INVALID_TOKEN = Close(4500, "invalid_token")
BAD_REQUEST = Close(4501, "bad_request")
AUTH_TIMEOUT = Close(4502, "auth_timeout")
KICKED = Close(4503, "kicked")
CONNECTION_LIMIT = Close(4504, "connection_limit")
REPLACED = Close(4506, "replaced")
PERMISSION_DENIED = Close(4507, "permission_denied")

# Never in a close frame (RFC 6455 7.4.1): each side reports them to its own application.
NO_STATUS = 1005
ABNORMAL = 1006
UNSENDABLE = frozenset({1004, NO_STATUS, ABNORMAL, 1015})

CLOSES: dict[int, Close] = {
    close.code: close
    for close in (
        *(NORMAL, GOING_AWAY, PROTOCOL, UNSUPPORTED, BAD_UTF8, POLICY, TOO_BIG, INTERNAL, RESTARTING, TRY_AGAIN_LATER),
        *(TOKEN_EXPIRED, NO_PONG, SLOW_CONSUMER, INSUFFICIENT_STATE, TOO_MANY_REQUESTS, FORCE_RECONNECT),
        *(INVALID_TOKEN, BAD_REQUEST, AUTH_TIMEOUT, KICKED, CONNECTION_LIMIT, REPLACED, PERMISSION_DENIED),
    )
}

_MEANINGS: dict[int, str] = {
    1000: "an ordinary end",
    1001: "the server is going away; connect again after a random pause",
    1002: "what was sent breaks the WebSocket protocol; the client has to be fixed",
    1003: "this endpoint does not take that kind of frame (text or binary); the client has to be fixed",
    NO_STATUS: "the other side closed without giving a code",
    ABNORMAL: "the connection was lost without a close frame",
    1007: "a text message was not UTF-8; the client has to be fixed",
    1008: "refused by a policy of the server; connecting again does not help",
    1009: "the message is larger than --max-message-size, or in more pieces than --max-fragments",
    1011: "an error in the server; connect again, backing off",
    1012: "the server restarts; connect again after the retry_ms in the reason",
    1013: "the server is overloaded; connect again, backing off",
    1015: "the TLS handshake failed",
    4001: "the token expired; get a new one and connect again",
    4002: "no sign of life within --ping-timeout after a ping; connect again",
    4003: "the client read too slowly and its outbox was full; connect again and recover",
    4004: "the server lost its place in a topic; connect again and recover",
    4005: "too many messages or bytes per second; connect again, backing off",
    4006: "the server asks the client to connect again",
    4500: "the token is invalid or was revoked; do not connect again with it",
    4501: "a message was not an object in the codec of the connection; the client has to be fixed",
    4502: "no token was sent within --auth-timeout",
    4503: "the connection was closed by an operator or a back end",
    4504: "this user has too many connections",
    4506: "a newer connection took the place of this one",
    4507: "this user may not connect here",
}

# 1014 (bad gateway) comes from proxies in front of the server; the rest of 1000-2999 reports a fault of the client.
_RECONNECT_BELOW_4000 = frozenset({1001, ABNORMAL, 1011, 1012, 1013, 1014})

# 100-115 answer commands; applications use 1000-4999.
INTERNAL_ERROR = ErrorCode(100, "internal", temporary=True)
UNAUTHORIZED = ErrorCode(101, "unauthorized")
UNKNOWN_TOPIC = ErrorCode(102, "unknown_topic")
NOT_PERMITTED = ErrorCode(103, "permission_denied")
UNKNOWN_COMMAND = ErrorCode(104, "unknown_command")
ALREADY_SUBSCRIBED = ErrorCode(105, "already_subscribed")
LIMIT_EXCEEDED = ErrorCode(106, "limit_exceeded")
MALFORMED = ErrorCode(107, "bad_request")
NOT_AVAILABLE = ErrorCode(108, "not_available")
EXPIRED = ErrorCode(109, "token_expired")
PAYLOAD_TOO_LARGE = ErrorCode(110, "payload_too_large")
RATE_EXCEEDED = ErrorCode(111, "too_many_requests", temporary=True)
UNRECOVERABLE_POSITION = ErrorCode(112, "unrecoverable_position")
ENGINE_UNAVAILABLE = ErrorCode(113, "engine_unavailable", temporary=True)
UNKNOWN_USER = ErrorCode(114, "unknown_user")
UNKNOWN_GROUP = ErrorCode(115, "unknown_group")

ERRORS: dict[int, ErrorCode] = {
    error.code: error
    for error in (
        *(INTERNAL_ERROR, UNAUTHORIZED, UNKNOWN_TOPIC, NOT_PERMITTED, UNKNOWN_COMMAND, ALREADY_SUBSCRIBED),
        *(LIMIT_EXCEEDED, MALFORMED, NOT_AVAILABLE, EXPIRED, PAYLOAD_TOO_LARGE, RATE_EXCEEDED),
        *(UNRECOVERABLE_POSITION, ENGINE_UNAVAILABLE, UNKNOWN_USER, UNKNOWN_GROUP),
    )
}

# Ends of one subscription, pushed as `unsubscribed`; 2500 and above ask the client to subscribe again.
SERVER_UNSUBSCRIBE = Unsubscribed(2000, "server_unsubscribe", resubscribe=False)
PERMISSION_REVOKED = Unsubscribed(2002, "permission_revoked", resubscribe=False)
TOPIC_STATE_LOST = Unsubscribed(2500, "insufficient_state", resubscribe=True)
TOPIC_TOKEN_EXPIRED = Unsubscribed(2501, "token_expired", resubscribe=True)


def reason_of(code: int) -> str:
    """Return the word that the table has for a close code, or an empty string for a code of an application."""
    close = CLOSES.get(code)
    return close.reason if close is not None else ""


def meaning_of(code: int) -> str:
    """Return one line for people: what a close code, known here or not, says and what the client should do."""
    known = _MEANINGS.get(code)
    if known is not None:
        return known
    if 4000 <= code <= 4999:
        return f"a code of the application; {'connect again' if reconnects(code) else 'do not connect again'}"
    return "a code that fastws does not use"


def reconnects(code: int) -> bool:
    """Say whether a client that saw this close code should connect again by itself.

    4000-4499 yes, 4500-4999 no; below that only where the server or the network was at fault.
    """
    if code >= 4000:
        return code < 4500
    return code in _RECONNECT_BELOW_4000
