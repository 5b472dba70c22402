"""The values that handlers get: their numbers and the order of their fields are fixed."""

from fastws.types import (
    Author,
    CloseInfo,
    ConnectionInfo,
    HistoryEntry,
    HistoryPage,
    Member,
    Presence,
    PresenceStats,
    Published,
    SendStatus,
    SessionInfo,
    TopicInfo,
    UserStatus,
)


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
    assert Published._fields == ("offset", "epoch", "duplicate", "degraded", "nodes")
    assert Published(1, "e", False) == (1, "e", False, False, 1)
    assert Author._fields == ("user", "conn")
    assert HistoryEntry._fields == ("data", "offset", "ts", "author")
    assert HistoryPage._fields == ("publications", "epoch", "offset")
    assert Member._fields == ("user", "device", "info")
    assert PresenceStats._fields == ("connections", "users")
    assert Presence._fields == ("members", "connections", "users", "truncated")
    assert UserStatus._fields == ("online", "devices", "last_seen")
    assert SessionInfo._fields == ("conn", "user", "tenant", "device", "node", "since")
    assert TopicInfo._fields == ("topic", "subscribers")
