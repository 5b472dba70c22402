"""What Redis says of connections, right and damaged."""

from __future__ import annotations

import pytest

from fastws.engine.redis.fleet.entries import Entry, entry_in, session_in
from fastws.errors import EngineError
from fastws.types import SessionInfo


def test_of_a_user() -> None:
    assert session_in(b"5 n1.2.ab my device") == (5, "n1.2.ab", "my device")
    for damaged in (b"", b"5", b"5 n1", b"x n1 web", b"\xff n1 web", None, 5):
        with pytest.raises(EngineError):
            session_in(damaged)


def test_of_a_node() -> None:
    entry = entry_in((b"c-1", "5 3 wébt\0ann bell".encode()))
    assert (entry.conn, entry.since, entry.is_reported) == ("c-1", 5, False)
    entry = entry_in((b"c-1", b"-5 3 webt\0ann"))
    assert entry == Entry("c-1", "t\0ann", "web", 5, is_reported=True)
    assert entry.info("n1.2.ab") == SessionInfo("c-1", "ann", "t", "web", "n1", 5)


@pytest.mark.parametrize("damaged", [b"", b"5", b"5 3", b"5 9 web", b"5 -1 web", b"x 3 webann", b"5 3 web\xff"])
def test_what_cannot_be_read_is_only_taken_away(damaged: bytes) -> None:
    assert entry_in((b"c\xff", damaged)) == Entry("c\udcff", "", "", 0, is_reported=True)
