"""The tables of codes, word for word, and what they tell clients."""

import pytest

from fastws import closes


def test_close_codes() -> None:
    assert {close.code: close.reason for close in closes.CLOSES.values()} == {
        1000: "normal",
        1001: "going_away",
        1002: "protocol",
        1003: "unsupported",
        1007: "bad UTF-8",
        1008: "policy",
        1009: "too big",
        1011: "internal",
        1012: "restarting",
        1013: "try again later",
        4001: "token_expired",
        4002: "no_pong",
        4003: "slow_consumer",
        4004: "insufficient_state",
        4005: "too_many_requests",
        4006: "force_reconnect",
        4500: "invalid_token",
        4501: "bad_request",
        4502: "auth_timeout",
        4503: "kicked",
        4504: "connection_limit",
        4506: "replaced",
        4507: "permission_denied",
    }


def test_error_codes() -> None:
    words = [
        *("internal", "unauthorized", "unknown_topic", "permission_denied", "unknown_command", "already_subscribed"),
        *("limit_exceeded", "bad_request", "not_available", "token_expired", "payload_too_large", "too_many_requests"),
        *("unrecoverable_position", "engine_unavailable", "unknown_user", "unknown_group"),
    ]
    assert [(error.code, error.reason) for error in closes.ERRORS.values()] == list(enumerate(words, 100))
    assert {code for code, error in closes.ERRORS.items() if error.temporary} == {100, 111, 113}


def test_ends_of_subscriptions() -> None:
    assert closes.SERVER_UNSUBSCRIBE == (2000, "server_unsubscribe", False)
    assert closes.PERMISSION_REVOKED == (2002, "permission_revoked", False)
    assert closes.TOPIC_STATE_LOST == (2500, "insufficient_state", True)
    assert closes.TOPIC_TOKEN_EXPIRED == (2501, "token_expired", True)


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 1014, 4000, 4001, 4006, 4499])
def test_clients_reconnect(code: int) -> None:
    assert closes.reconnects(code)


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1005, 1007, 1008, 1009, 3000, 3999, 4500, 4507, 4999])
def test_clients_stop(code: int) -> None:
    assert not closes.reconnects(code)


def test_every_code_is_explained_and_fits_a_frame() -> None:
    for close in closes.CLOSES.values():
        assert closes.meaning_of(close.code) != closes.meaning_of(2999)
        assert len(close.reason.encode()) <= 123
        assert closes.reason_of(close.code) == close.reason
    assert closes.reason_of(4321) == ""
    assert "do not connect" in closes.meaning_of(4900)
    assert "connect again" in closes.meaning_of(4400)
