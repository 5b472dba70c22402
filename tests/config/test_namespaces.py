"""The tables of namespaces: keys, kinds, and what does not go together."""

import pytest

from fastws.config.namespaces import NAMESPACE_KEYS, check_namespaces, contradictions, read_namespace
from fastws.errors import ConfigError


def test_values_are_read_and_durations_are_seconds() -> None:
    table = {"subscribe": "all", "history_size": 100, "history_ttl": "10m", "recover": True, "presence": True}
    values, problems = read_namespace("chat", table, "f")
    assert not problems
    assert values == {"subscribe": "all", "history_size": 100, "history_ttl": 600.0, "recover": True, "presence": True}


def test_every_key_of_the_contract_is_there() -> None:
    keys = "subscribe publish history_size history_ttl recover presence join_leave max_subscribers slow_policy"
    assert set(NAMESPACE_KEYS) == {*keys.split(), "conflate_key", "echo"}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"suscribe": "all"}, "has no key 'suscribe'; the nearest known is 'subscribe'"),
        ({"subscribe": "everyone"}, "subscribe must be one of all, authenticated, token, nobody"),
        ({"history_size": -1}, "history_size must be at least 0"),
        ({"history_ttl": -1}, "history_ttl must not be negative"),
        ({"recover": "maybe"}, "recover must be true, false, 1 or 0"),
        ({"schema": "x"}, "schema takes a type of Python"),
        ({"recover": True}, "recover = true needs history_size above 0"),
        ({"recover": True, "history_size": 5, "slow_policy": "conflate"}, "does not go with slow_policy"),
        ({"recover": True, "history_size": 5, "slow_policy": "drop_oldest"}, "does not go with slow_policy"),
        (3, "must be a table"),
    ],
)
def test_problems_name_the_place(table: object, expected: str) -> None:
    _, problems = read_namespace("chat", table, "fastws.toml")
    assert len(problems) == 1
    assert problems[0].startswith("fastws.toml: [namespaces.chat] ")
    assert expected in problems[0]


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "\x7f", "x" * 256])
def test_names_that_no_topic_could_have(name: str) -> None:
    assert read_namespace(name, {}, "f")[1]


def test_recovery_with_history_and_disconnect_is_fine() -> None:
    assert contradictions({"recover": True, "history_size": 1, "slow_policy": "disconnect"}) == []
    assert contradictions({"slow_policy": "conflate"}) == []


def test_several_are_checked_at_once() -> None:
    assert check_namespaces({"a": {}, "b": {"echo": False}}, "here") == {"a": {}, "b": {"echo": False}}
    with pytest.raises(ConfigError) as caught:
        check_namespaces({"a": {"x": 1}, "b": {"y": 2}}, "here")
    assert str(caught.value).count("\n") == 1
