"""Which fault an object has."""

from typing import Any

import pytest

from fastws.core.codecs.judge import id_fault, id_fits, judge


@pytest.mark.parametrize(
    ("content", "code", "cmd", "reply_id"),
    [
        ({}, 107, "", None),
        ({"id": 1}, 107, "", 1),
        ({"cmd": 1, "id": "a"}, 107, "", "a"),
        ({"cmd": "nope", "id": 1}, 104, "nope", 1),
        ({"cmd": "", "id": 1}, 104, "", 1),
        ({"cmd": "sync", "id": 1}, 108, "sync", 1),
        ({"cmd": "sub", "id": 1}, 107, "sub", 1),
        ({"cmd": "sub", "id": 1.5}, 107, "sub", None),
        ({"cmd": "nope", "id": []}, 107, "nope", None),
        ({b"cmd": "sub", 5: 6}, 107, "", None),
    ],
)
def test_faults(content: dict[Any, Any], code: int, cmd: str, reply_id: Any) -> None:
    fault = judge(content, "complaint")
    assert (fault.error.code, fault.cmd, fault.id) == (code, cmd, reply_id)
    assert fault.message


def test_the_decoders_complaint_is_told_where_nothing_else_is_wrong() -> None:
    assert judge({"cmd": "sub"}, "complaint").message == "complaint"


@pytest.mark.parametrize("value", [True, False, None, 1.0, 2**63, -(2**63) - 1, b"a", [], {}, "a" * 65, "ä" * 33])
def test_what_is_no_id(value: object) -> None:
    assert not id_fits(value)


def test_ids_that_are_too_long_say_so() -> None:
    assert "64" in id_fault("sub").message
