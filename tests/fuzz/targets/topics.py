"""Names of topics: what may be one, its namespace, and that it comes through both codecs unchanged.

Input: UTF-8 (surrogates too, as Python's API may get them): tenant, line feed, name of the topic, line feed, user.
"""

import json
import unicodedata
from collections.abc import Mapping

import msgspec

from fastws.core.codecs import CODECS
from fastws.core.codecs.data import DataError, pack_data
from fastws.core.publication import Publication
from fastws.core.topics import DEFAULT_NAMESPACE, Namespaces, namespace_of, scoped, topic_problem

MAX_BYTES = 400
WORDS = (
    *(b":", b"\n", b"\0", b"default", b"default:", b"chat:", b"price:eur", b"\x7f", b"\xc2\x80", b"\xc2\x9f"),
    *(b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf0\x9f\x99\x82", b"\\u0000", b'"', b"\\", b"e\xcc\x81"),
    *(b"x" * 255, b"\xe2\x82\xac" * 85, b"*", b"#", b"..", b"/"),
)
_NAMESPACES = (Namespaces({"chat": {"history_size": 3}}), Namespaces({"default": {}, "": {}}, dev=True))


def run(data: bytes) -> None:
    """Judge a name, place it, and send it."""
    try:
        lines = data.decode("utf-8", "surrogatepass").split("\n")
    except UnicodeDecodeError:
        return
    tenant, name, user = [*lines, "", "", ""][:3]
    problem = topic_problem(name)
    assert (problem is None) == _is_name(name), f"{name!r}: {problem}"
    before, colon, _ = name.partition(":")
    assert namespace_of(name) == (before if colon else DEFAULT_NAMESPACE)
    strict, lenient = (namespaces.of(name) for namespaces in _NAMESPACES)
    assert (strict is not None) == (namespace_of(name) in ("chat", "default"))
    assert lenient is not None
    if problem is not None:
        assert problem.isascii()
        return
    key = scoped(tenant, name)
    assert key.rpartition("\0")[2] == name, "two topics could have one key"
    assert key.rpartition("\0")[0] == tenant
    _send(name, user)


def _is_name(name: str) -> bool:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    return 1 <= size <= 255 and not any(unicodedata.category(letter) == "Cc" for letter in name)


def _send(name: str, user: str) -> None:
    """A publication says the same in both codecs."""
    try:
        packed = pack_data({"topic": name, "user": user})
    except DataError:
        return  # surrogates
    published = Publication(packed, 1, 2, user, "n1-1")
    wanted = {
        "event": "publication",
        "topic": name,
        "data": {"topic": name, "user": user},
        "offset": 2,
        "ts": 1,
        "from": {"user": user, "conn": "n1-1"},
    }
    text, binary = (codec.publication(name, published) for codec in CODECS)
    assert b"\n" not in text
    assert json.loads(text) == wanted
    assert msgspec.msgpack.decode(binary) == wanted


def seeds() -> Mapping[str, bytes]:
    """Names at both ends of what is allowed, with and without namespace and tenant."""
    return {
        "plain": b"\nprice\n",
        "namespace": b"\nchat:room-1\n42",
        "tenant": b"acme\nchat:room-1\nuser \xc3\xa4",
        "colons": b"\n::a:b\n",
        "longest": b"\n" + b"x" * 255,
        "too-long": b"\n" + b"\xe2\x82\xac" * 86,
        "empty": b"t\n\n",
        "control": b"\na\0b",
        "c1": b"\na\xc2\x85b",
        "separator": b"\n\xe2\x80\xa8\n\xe2\x80\xa9",
        "surrogate": b"\n\xed\xa0\x80\n",
        "surrogate-user": b"\nx\n\xed\xa0\x80",
        "quotes": b'\n"\\\n"\\',
    }
