"""docs/reference/codes.md: every code of `fastws.closes`, with what it says."""

from __future__ import annotations

from typing import Final

from docs.generate.markdown import GENERATED, table
from fastws import closes

_HEAD: Final = f"""\
# Codes

{GENERATED}

## Close codes

4000-4499 mean "connect again", 4500-4999 "stop"; a client that does not know a code goes by its range. With 1012 the
reason is `restarting retry_ms=` and the milliseconds after which to come back. Every other reason is the word here.
Applications may close with any code from 1000 to 4999 that is not reserved, and their own reason.

"""

_ERRORS: Final = """
## Error codes

`error` of a reply, `{"code", "reason", "message", "temporary"}`. `temporary` says that the same command may succeed
later without a change. Applications use 1000 to 4999; `reason` is then `application`.

"""

_UNSUBSCRIBED: Final = """
## Ends of a subscription

`code` and `reason` of the push `unsubscribed`. With `resubscribe` the client subscribes again at once, with `recover`.

"""

ERROR_MEANINGS: Final[dict[int, str]] = {
    100: "a handler failed; the server's log has the error with the id of the connection",
    101: "who the client is is not known yet, or its token is not valid",
    102: "the namespace of the topic is not declared",
    103: "this user may not do that there",
    104: "there is no such command",
    105: "the connection is subscribed already",
    106: "a limit is reached: topics of a connection, subscribers of a topic, items asked for",
    107: "a field is missing, has the wrong type, or a value that cannot be",
    108: "the namespace, the application or this version of the server does not offer that",
    109: "the token has expired",
    110: "the data is larger than it may be",
    111: "more commands or bytes per second than `--messages-per-second` or `--bytes-per-second` allow",
    112: "the topic's epoch is another one: what is asked for is gone for good",
    113: "what carries messages between processes is away",
    114: "there is no such user",
    115: "there is no such group",
}


def render() -> str:
    """The whole page."""
    close_rows = [
        (str(code), f"`{close.reason}`", "yes" if closes.reconnects(code) else "", closes.meaning_of(code))
        for code, close in sorted(closes.CLOSES.items())
    ]
    error_rows = [
        (str(code), f"`{error.reason}`", "yes" if error.temporary else "", ERROR_MEANINGS[code])
        for code, error in sorted(closes.ERRORS.items())
    ]
    ends = [value for value in vars(closes).values() if isinstance(value, closes.Unsubscribed)]
    end_rows = [
        (str(end.code), f"`{end.reason}`", "yes" if end.resubscribe else "")
        for end in sorted(ends, key=lambda e: e.code)
    ]
    return "".join(
        (
            _HEAD,
            table(("code", "reason", "connect again", "meaning"), close_rows),
            _ERRORS,
            table(("code", "reason", "temporary", "meaning"), error_rows),
            _UNSUBSCRIBED,
            table(("code", "reason", "resubscribe"), end_rows),
        )
    )
