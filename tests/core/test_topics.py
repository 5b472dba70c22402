"""Names of topics and options of namespaces."""

import pytest

from fastws.core.publication import Retention
from fastws.core.topics import DEVELOPMENT, Namespace, Namespaces, namespace_of, scoped, topic_problem


@pytest.mark.parametrize("name", ["a", "a" * 255, "ä" * 127, ":", "a:b:c", " ", "*", "{x}", "a\u00a0b", "\u200b", "💬"])
def test_what_a_topic_may_be_called(name: str) -> None:
    assert topic_problem(name) is None


@pytest.mark.parametrize("name", ["", "a" * 256, "ä" * 128, "\0", "a\n", "\x7f", "\x80", "x\x9fx", "\ud800"])
def test_what_not(name: str) -> None:
    assert topic_problem(name)


@pytest.mark.parametrize(
    ("name", "namespace"),
    [("price", "default"), ("price:eur", "price"), ("a:b:c", "a"), (":a", ""), ("default:x", "default"), ("a:", "a")],
)
def test_the_namespace_stands_before_the_first_colon(name: str, namespace: str) -> None:
    assert namespace_of(name) == namespace


def test_defaults() -> None:
    assert Namespace() == Namespace(
        subscribe="authenticated",
        publish="authenticated",
        history_size=0,
        history_ttl=0,
        recover=False,
        presence=False,
        join_leave=False,
        max_subscribers=0,
        slow_policy="disconnect",
        conflate_key="",
        echo=True,
        schema=None,
    )


def test_history_is_on_when_its_size_is_above_0() -> None:
    assert Namespace().retention is None
    assert Namespace(history_ttl=60.0).retention is None
    assert Namespace(history_size=5).retention == Retention(5, 0.0)
    assert Namespace(history_size=5, history_ttl=60.0).retention == Retention(5, 60.0)


def test_undeclared_namespaces_do_not_exist_but_the_default_one() -> None:
    namespaces = Namespaces({"chat": {"subscribe": "all"}})
    assert namespaces.of("price") == Namespace()
    assert namespaces.of("chat:a") == Namespace(subscribe="all")
    assert namespaces.of("chat") == Namespace()
    assert namespaces.of("other:a") is None
    assert namespaces.of("Chat:a") is None
    assert Namespaces({"default": {"echo": False}}).of("price") == Namespace(echo=False)


def test_in_development_every_other_one_exists_and_is_open() -> None:
    namespaces = Namespaces({"chat": {"subscribe": "nobody"}}, dev=True)
    assert namespaces.of("chat:a") == Namespace(subscribe="nobody")
    assert namespaces.of("price") is namespaces.of("other:x") is DEVELOPMENT
    assert (
        Namespace(
            subscribe="all",
            publish="all",
            history_size=100,
            history_ttl=600,
            recover=True,
            presence=True,
            join_leave=True,
        )
        == DEVELOPMENT
    )


def test_topics_of_tenants_cannot_meet() -> None:
    names = {scoped(tenant, topic) for tenant in ("", "a", "b", "ab") for topic in ("a", "b", "a:b")}
    assert len(names) == 12
    assert scoped("", "a") == "a"
