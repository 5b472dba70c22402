"""The values that handlers get: their numbers and the order of their fields are fixed."""

from fastws.types import CloseInfo, ConnectionInfo, Published, SendStatus


def test_send_status() -> None:
    assert [(status.name, int(status)) for status in SendStatus] == [
        ("SENT", 0),
        ("QUEUED", 1),
        ("DROPPED", 2),
        ("CLOSED", 3),
    ]


def test_fields() -> None:
    assert CloseInfo._fields == ("code", "reason")
    assert CloseInfo(1006) == (1006, "")
    assert ConnectionInfo._fields == ("id", "user", "tenant", "device", "node")
    assert Published._fields == ("offset", "epoch", "duplicate")
