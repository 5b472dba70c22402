"""What the texts of single settings must look like. Each check returns what is wrong, or None."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_NODE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_PREFIX = re.compile(r"[\x21-\x7a|~]{1,64}", re.ASCII)
_PATH = re.compile(r"/[\x21\x24-\x3e\x40-\x7e]*", re.ASCII)


def path_problem(text: str) -> str | None:
    """The path of an endpoint is compared as bytes of the request line, so it is written the way clients send it."""
    if not _PATH.fullmatch(text):
        return "must begin with / and have no blank, ?, # or non-ASCII character (write those as %XX)"
    return None


def node_name_problem(text: str) -> str | None:
    return None if _NODE_NAME.fullmatch(text) else "must be 1 to 64 letters, digits, dots, dashes or underscores"


def prefix_problem(text: str) -> str | None:
    """Braces would be hash tags on a cluster and spread the keys of one topic over its shards."""
    return None if _PREFIX.fullmatch(text) else "must be 1 to 64 ASCII characters without blanks and braces"


def filled_problem(text: str) -> str | None:
    return "must not be empty" if not text.strip() else None


def header_problem(text: str) -> str | None:
    """What is sent in a header; blanks around it, such as the line end of a file, do not count there."""
    if any(character < " " or character == "\x7f" for character in text.strip()):
        return "must have no control characters"
    return filled_problem(text)


def origin_problem(text: str) -> str | None:
    """An origin is scheme, host and maybe port (RFC 6454 6.2); `*` is any, `null` what opaque ones send."""
    if text in ("*", "null"):
        return None
    parts = _split(text)
    if parts is None or not parts.scheme or not parts.hostname or parts.path or parts.query or "@" in parts.netloc:
        return f"must be origins such as https://example.com or http://127.0.0.1:3000, or *: {text!r} is not one"
    return None


def network_problem(text: str) -> str | None:
    if text == "*":
        return None
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"must be addresses or networks such as 10.0.0.0/8, or *: {text!r} is not one"
    return None


def redis_problem(text: str) -> str | None:
    if text in ("none", "embedded"):
        return None
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme not in ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster"):
        return (
            "must be none, embedded, or a URL that begins with redis://, rediss://, unix://, redis+sentinel:// "
            "or redis+cluster://"
        )
    return None


def web_url_problem(text: str) -> str | None:
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return "must be a URL that begins with https:// or http://"
    return None


def app_problem(text: str) -> str | None:
    module, colon, attribute = text.partition(":")
    if not colon or not module or not attribute:
        return f"is a module and an attribute, such as chat:app; {text!r} is not that"
    return None


def _split(text: str) -> SplitResult | None:
    """Split a URL and touch its port, which is where `urlsplit` hides half of its errors."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    return parts
