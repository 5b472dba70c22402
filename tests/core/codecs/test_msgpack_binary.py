"""MessagePack to commands and back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.core.codecs import CODECS, json_text, msgpack_binary
from fastws.core.codecs.commands import BROKEN, Fault, Ping, Pub
from fastws.core.publication import Publication


def test_it_is_binary() -> None:
    assert (CODECS[1].subprotocol, CODECS[1].index, CODECS[1].opcode) == ("fastws.msgpack.v1", 1, 2)


def test_commands_get_their_types() -> None:
    pub = msgpack_binary.decode(msgspec.msgpack.encode({"cmd": "pub", "id": "x", "topic": "t", "data": {"a": 1}}))
    assert isinstance(pub, Pub)
    assert (pub.id, pub.topic, pub.data) == ("x", "t", {"a": 1})
    assert isinstance(msgpack_binary.decode(msgspec.msgpack.encode({"cmd": "ping"})), Ping)


@given(st.binary())
def test_nothing_is_raised_whatever_comes(data: bytes) -> None:
    msgpack_binary.decode(data)


@given(st.binary())
def test_nor_for_anything_inside_a_command(data: bytes) -> None:
    """A map that begins well and goes on with anything."""
    msgpack_binary.decode(b"\x83\xa3cmd\xa3pub\xa5topic\xa1t\xa4data" + data)


@given(st.dictionaries(st.integers() | st.text() | st.binary(), st.none() | st.binary() | st.floats()))
def test_any_map_is_a_command_or_a_fault(content: dict[object, object]) -> None:
    try:
        encoded = msgspec.msgpack.encode(content)
    except OverflowError:
        return
    assert isinstance(msgpack_binary.decode(encoded), Fault)


def test_a_map_as_a_key_is_broken() -> None:
    assert msgpack_binary.decode(b"\x81\x80\x01") is BROKEN


@pytest.mark.parametrize(
    "published",
    [Publication(b'{"a":[1,null,"x"]}', 17, 6, "user", "c-1"), Publication(b"1", 17), Publication(b"1", 1, 2, "", "c")],
)
def test_both_codecs_say_the_same(published: Publication) -> None:
    for form, arguments in (("publication", ("t", published)), ("reply", (Ping(id=5), {"p": [published]}))):
        text = msgspec.json.decode(getattr(json_text, form)(*arguments))
        assert msgspec.msgpack.decode(getattr(msgpack_binary, form)(*arguments)) == text
    assert msgspec.msgpack.decode(msgpack_binary.message(b'{"a":1}', 5)) == msgspec.json.decode(
        json_text.message(b'{"a":1}', 5)
    )


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError):
        msgpack_binary.push("x", {"a": object()})
