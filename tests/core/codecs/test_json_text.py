"""Text of JSON to commands and back."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.core.codecs import CODECS, json_text
from fastws.core.codecs.commands import BROKEN, Aside, Fault, Lines, Ping, Pub, Sub
from fastws.core.publication import Publication
from fastws.errors import TopicError


def test_it_is_spoken_where_nothing_was_agreed_on() -> None:
    assert (CODECS[0].subprotocol, CODECS[0].index, CODECS[0].opcode) == ("fastws.json.v1", 0, 1)


def test_commands_get_their_types() -> None:
    pub = json_text.decode('{"id":1,"cmd":"pub","topic":"t","data":{"a":[1,2.5,null]},"echo":false,"other":1}')
    assert isinstance(pub, Pub)
    assert (pub.id, pub.topic, pub.data, pub.key, pub.echo) == (1, "t", {"a": [1, 2.5, None]}, None, False)
    sub = json_text.decode('{"cmd":"sub","topic":"t","recover":{"epoch":"e","offset":5}}')
    assert isinstance(sub, Sub)
    assert sub.recover is not None
    assert (sub.recover.epoch, sub.recover.offset) == ("e", 5)


def test_optional_fields_may_be_null() -> None:
    assert isinstance(json_text.decode('{"cmd":"sub","topic":"t","recover":null,"token":null,"presence":null}'), Sub)


def test_hand_made_forms() -> None:
    ping = json_text.decode("PING")
    assert isinstance(ping, Aside)
    assert ping.answer(5) == b"PONG"
    assert json_text.decode_line("PING") is BROKEN
    said = json_text.decode('{"type":"HEARTBEAT","x":1}')
    assert isinstance(said, Aside)
    assert said.answer(5) == b'{"type":"HEARTBEAT","x":1,"server":5}'
    assert isinstance(json_text.decode('{"type":"HEARTBEAT","cmd":null}'), Fault)


def test_lines() -> None:
    said = json_text.decode('{"cmd":"ping"}\r\n\n \t\n{"cmd":"ping"}\n')
    assert isinstance(said, Lines)
    assert [type(said.decode(text)) for text in said.texts] == [Ping, Ping]


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_numbers_of_any_length_are_a_fault_that_can_be_answered(digits: int) -> None:
    said = json_text.decode(f'{{"id":3,"cmd":"nope","n":{"9" * digits},"e":1e999}}')
    assert isinstance(said, Fault)
    assert said.id == 3


@pytest.mark.parametrize("half", ["\\ud83d", "\\udc00", "\\uD83Dx", "\\ud83d\\u0041", "\\ud83d\\ude00\\ude00"])
def test_half_of_a_surrogate_pair_is_a_fault_that_can_be_answered(half: str) -> None:
    said = json_text.decode('{"id":3,"cmd":"pub","topic":"t","data":"HALF"}'.replace("HALF", half))
    assert isinstance(said, Fault)
    assert (said.id, said.cmd, said.error.code, said.message) == (3, "pub", 107, "a text has half of a surrogate pair")
    for text in ('{"id":"HALF","cmd":"pub","topic":"t"}', '{"cmd":"HALF"}', '{"id":3,"HALF":1}'):
        said = json_text.decode(text.replace("HALF", half))
        assert isinstance(said, Fault)
        assert said.id == (3 if "3" in text else None)
        assert json_text.failure(said.cmd, said.id, TopicError(said.error.code, said.message))
    beat = json_text.decode('{"type":"HEARTBEAT","x":"HALF"}'.replace("HALF", half))
    assert isinstance(beat, Aside)
    assert isinstance(beat.answer(5), Fault)
    lines = json_text.decode('{"cmd":"ping"}\n{"id":3,"cmd":"pub","topic":"t","data":"HALF"}'.replace("HALF", half))
    assert isinstance(lines, Lines)
    assert [type(lines.decode(text)) for text in lines.texts] == [Ping, Fault]
    assert (
        json_text.decode('"HALF"'.replace("HALF", half))
        is json_text.decode('{"x":"HALF"'.replace("HALF", half))
        is BROKEN
    )


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[1e999,NaN]", '{"a":1e999,"b":NaN}', '{"a":1e999', "\ufeff{}"])
def test_what_is_no_json_is_broken(text: str) -> None:
    assert json_text.decode(text) is BROKEN


@given(st.text() | st.text(st.sampled_from('{}[]":,0e9-. \n\\uDcmdipng')))
def test_nothing_is_raised_whatever_comes(text: str) -> None:
    json_text.decode(text.encode("utf-8", "ignore").decode())


@given(
    st.dictionaries(
        st.sampled_from(["cmd", "id", "topic", "data", "recover", "interval", "type"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.sampled_from(["sub", "pub", "ping"])
        | st.lists(st.integers())
        | st.dictionaries(st.text(), st.integers()),
    )
)
def test_any_object_is_a_command_or_a_fault(content: dict[str, object]) -> None:
    text = json.dumps(content)
    broken = "NaN" in text or "Infinity" in text
    assert broken or json_text.decode(text) is not BROKEN


def test_publications() -> None:
    published = Publication(b'{"a":1}', 17, 6, 'u"ser', "c-1")
    assert orjson.loads(json_text.publication('to"pic', published)) == {
        "event": "publication",
        "topic": 'to"pic',
        "data": {"a": 1},
        "offset": 6,
        "ts": 17,
        "from": {"user": 'u"ser', "conn": "c-1"},
    }
    assert json_text.publication("t", Publication(b"1", 17)) == b'{"event":"publication","topic":"t","data":1,"ts":17}'
    anonymous = orjson.loads(json_text.reply(Ping(id=1), {"publications": [Publication(b"1", 17, 2, "", "c")]}))
    assert anonymous["result"]["publications"] == [
        {"data": 1, "offset": 2, "ts": 17, "from": {"user": "", "conn": "c"}}
    ]


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError):
        json_text.push("x", {"a": object()})
    wild = json_text.decode('{"type":"HEARTBEAT","n":18446744073709551616}')
    assert isinstance(wild, Aside)
    assert isinstance(wild.answer(5), Fault)
