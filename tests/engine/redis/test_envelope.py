"""What is put into an envelope comes out of it, and what is no envelope does no harm."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.engine.contract import Outgoing
from fastws.engine.redis import envelope
from fastws.engine.redis.envelope import (
    ANNOUNCEMENT,
    ANSWER,
    BATCH,
    CHANGES,
    LETTER,
    PUBLICATION,
    QUESTION,
    batch_of,
    envelope_of,
    flags_of,
    pack,
    publication_in,
    publications_in,
    tail_of,
    unpack,
)
from fastws.errors import EngineError

SAID = Outgoing("news", b'{"a":1}', None, "ann", "n-1", None, "n-2")


def put(outgoing: Outgoing, **more: Any) -> bytes:
    return envelope_of(flags_of(outgoing), tail_of(outgoing), 17, **more)


def test_a_publication_comes_back_as_it_was() -> None:
    arrived = publication_in(put(SAID, offset=2**53, epoch="e1"))
    assert arrived is not None
    publication, exclude, epoch = arrived
    assert (publication.data, publication.ts_ms, publication.offset) == (b'{"a":1}', 17, 2**53)
    assert (publication.user, publication.conn, exclude, epoch) == ("ann", "n-1", "n-2", "e1")
    assert publication.exclude == exclude


@pytest.mark.parametrize("user", [None, "", "ann", "é\ud800", "u" * 65535])
def test_who_published_is_somebody_nobody_or_a_server(user: str | None) -> None:
    arrived = publication_in(put(Outgoing("news", b"1", None, user)))
    assert arrived is not None
    publication, exclude, epoch = arrived
    assert (publication.user, publication.conn, exclude, epoch) == (user, "", "", "")


def test_names_that_do_not_fit() -> None:
    with pytest.raises(EngineError, match="too long"):
        tail_of(Outgoing("news", b"1", None, "u" * 65536))
    arrived = publication_in(put(Outgoing("news", b"1", None, "ann", "n-1", None, "x" * 65536)))
    assert arrived is not None
    assert arrived[1] == "", "nobody is called so"


def test_the_bytes_never_change() -> None:
    """Processes of two versions talk to each other during an upgrade."""
    assert put(SAID, offset=3, epoch="ab") == (
        b"\x01\x01\x00\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x11ab" + b'\0\x03\0\x03\0\x03\0\0annn-1n-2{"a":1}'
    )
    assert [pack(kind, b"x") for kind in (CHANGES, ANNOUNCEMENT, LETTER)] == [b"\x01\x03x", b"\x01\x04x", b"\x01\x05x"]


def test_a_trace_is_passed_over() -> None:
    traced = put(SAID).replace(b"\0\x03\0\x03\0\x03\0\0annn-1n-2", b"\0\x03\0\x03\0\x03\0\x02annn-1n-2id")
    arrived = publication_in(traced)
    assert arrived is not None
    assert arrived[0].data == b'{"a":1}'


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_is_its_publications(count: int) -> None:
    envelopes = [put(SAID, offset=number) for number in range(count)]
    found = publications_in(batch_of(envelopes))
    assert found is not None
    assert [arrived[0].offset for arrived in found] == list(range(count))


@pytest.mark.parametrize("kind", [CHANGES, ANNOUNCEMENT, LETTER, QUESTION, ANSWER])
def test_other_kinds_have_a_body(kind: int) -> None:
    assert unpack(pack(kind, b"body")) == (kind, b"body")
    assert unpack(pack(kind, b"")) == (kind, b"")


@pytest.mark.parametrize("other", [b"", b"\x01", b"\x02\x01x", b"\x01\x00x", b"\x01\x08x", b"\xff\xff"])
def test_other_versions_and_kinds_are_nothing(other: bytes) -> None:
    assert unpack(other) is None
    assert publication_in(other) is None


@pytest.mark.parametrize("cut", range(len(put(SAID, offset=1, epoch="ab")) - len(SAID.data) + 1))
def test_a_publication_cut_before_its_data_is_nothing(cut: int) -> None:
    assert publication_in(put(SAID, offset=1, epoch="ab")[:cut]) is None


def test_names_that_are_no_text_are_nothing() -> None:
    assert publication_in(put(SAID).replace(b"ann", b"\xff\xff\xff")) is None
    assert publication_in(put(SAID, epoch="ab").replace(b"ab", b"\xff\xff")) is None


def test_a_batch_cut_anywhere_is_nothing_or_its_beginning() -> None:
    envelopes = [put(SAID, offset=number) for number in range(3)]
    whole = batch_of(envelopes)
    wholes = [len(batch_of(envelopes[:count])) for count in range(4)]
    for cut in range(2, len(whole)):
        found = publications_in(whole[:cut])
        assert found is None or (cut in wholes and len(found) == wholes.index(cut))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: bytes((1, PUBLICATION)) + rest))
def test_no_bytes_do_harm(data: bytes) -> None:
    found = publication_in(data)
    if found is not None:
        assert found[0].data
        assert data.endswith(found[0].data)
    many = publications_in(bytes((1, BATCH)) + data)
    assert many is None or sum(len(one[0].data) for one in many) <= len(data)


def test_kinds_are_told_apart() -> None:
    kinds = (PUBLICATION, BATCH, CHANGES, ANNOUNCEMENT, LETTER, QUESTION, ANSWER)
    assert len(set(kinds)) == len(kinds) == len(envelope._BEGINNINGS)
