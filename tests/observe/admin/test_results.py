"""What callers are answered."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw

from fastws.observe.admin import results


def test_what_has_no_value_is_absent() -> None:
    assert msgspec.json.encode(results.DoneResult()) == b"{}"
    published = results.PublishResult(offset=UNSET, duplicate=False, nodes=1)
    assert msgspec.json.encode(published) == b'{"duplicate":false,"nodes":1}'


def test_the_author_is_called_from() -> None:
    author = results.Author(user="", conn="c1")
    publication = results.Publication(data=Raw(b"1"), offset=2, ts=3, author=author)
    assert msgspec.json.encode(publication) == b'{"data":1,"offset":2,"ts":3,"from":{"user":"","conn":"c1"}}'
