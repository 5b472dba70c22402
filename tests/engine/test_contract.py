"""The contract of engines: values, and that nobody can leave a part of it out."""

import inspect

import pytest

from fastws.engine.contract import Engine, EngineEvents, Outcome, Outgoing
from fastws.hub.hub import Hub


def test_an_engine_has_every_part() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Engine()  # type: ignore[abstract]
    asked = {"start", "stop", "join", "leave", "publish", "announce", "recover", "history"}
    asked |= {"attach", "detach", "sessions", "status", "topics", "order"}
    asked |= {"present", "absent", "presence", "presence_stats"}
    assert Engine.__abstractmethods__ >= asked


def test_what_is_published_without_more_has_no_history_and_comes_from_a_server() -> None:
    outgoing = Outgoing("t", b"1")
    assert (outgoing.retention, outgoing.user, outgoing.conn, outgoing.key, outgoing.exclude) == (
        None,
        None,
        "",
        None,
        "",
    )


def test_outcomes_add_up_and_the_first_refusal_stands() -> None:
    assert Outcome(2) + Outcome(1, 106) + Outcome(0, 102) == Outcome(3, 106)
    assert Outcome() == (0, 0, False)
    assert Outcome(1, is_partial=True) + Outcome(2) == Outcome(2) + Outcome(1, is_partial=True) == (3, 0, True)


def test_the_hub_takes_every_event_and_answers_every_question() -> None:
    events = {name for name in vars(EngineEvents) if not name.startswith("_")}
    for name in events:
        wanted, given = inspect.signature(getattr(EngineEvents, name)), inspect.signature(getattr(Hub, name))
        assert list(wanted.parameters) == list(given.parameters)
    assert events
