"""Publications and positions are values."""

from fastws.core.publication import Position, Publication


def test_what_is_absent_has_a_default() -> None:
    publication = Publication(b"1", 5)
    assert (publication.data, publication.ts_ms, publication.offset) == (b"1", 5, 0)
    assert (publication.user, publication.conn, publication.exclude) == (None, "", "")


def test_positions_compare_by_value() -> None:
    assert Position("a", 1) == Position("a", 1) != Position("b", 1)
