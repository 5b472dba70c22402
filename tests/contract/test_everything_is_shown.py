"""Every command, push, error code, close code and end of a subscription of the contract has a test in both codecs."""

from __future__ import annotations

import pytest

from fastws import closes
from fastws.core.codecs.commands import NAMES, NOT_BUILT
from tests.contract.shown import KINDS, everything_shown, shows
from tests.contract.talking import JSON, MSGPACK

PUSHES = {
    *("publication", "join", "leave", "presence", "subscribed", "unsubscribed", "error", "welcome", "message"),
    *("degraded", "restored", "inbox", "receipt"),
}
UNSUBSCRIBED = {
    end.code
    for end in (
        closes.SERVER_UNSUBSCRIBE,
        closes.PERMISSION_REVOKED,
        closes.TOPIC_STATE_LOST,
        closes.TOPIC_TOKEN_EXPIRED,
    )
}

NOT_SHOWN = {
    "push inbox": "messages between users are not built",
    "push receipt": "messages between users are not built",
    "error 114": "messages between users are not built",
    "error 115": "groups are not built",
    "close 1013": "shedding load is not built",
    "close 4004": "a worker cannot lose its place while the engine is in its own memory",
}
"""What nothing shows, and why."""


def wanted() -> set[str]:
    """Everything that the contract names."""
    return {
        *(f"cmd {name}" for name in {*NAMES.values(), *NOT_BUILT}),
        *(f"push {event}" for event in PUSHES),
        *(f"error {code}" for code in closes.ERRORS),
        *(f"close {code}" for code in closes.CLOSES),
        *(f"unsubscribed {code}" for code in UNSUBSCRIBED),
    }


def test_everything_is_shown_in_both_codecs() -> None:
    shown = everything_shown()
    missing = {
        name: sorted({JSON, MSGPACK} - shown.get(name, set()))
        for name in wanted() - NOT_SHOWN.keys()
        if shown.get(name, set()) != {JSON, MSGPACK}
    }
    assert not missing


def test_what_is_said_not_to_be_shown_is_not() -> None:
    shown = everything_shown().keys()
    assert not NOT_SHOWN.keys() & shown
    assert NOT_SHOWN.keys() <= wanted()


def test_what_is_shown_is_part_of_the_contract() -> None:
    assert everything_shown().keys() <= wanted()


def test_claims_are_checked() -> None:
    assert set(KINDS) == {name.split()[0] for name in wanted()}
    for claim in ("errors 103", "error", "103"):
        with pytest.raises(AssertionError):
            shows(claim)
