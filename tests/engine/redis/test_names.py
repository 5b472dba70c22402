"""How keys and channels are called."""

import pytest

from fastws.core.topics import scoped
from fastws.engine.redis import names
from fastws.engine.redis.names import PARTITIONS, Names, partition_of
from tests.engine.redis.keys import name_in


@pytest.mark.parametrize("prefix", ["fastws", "a:b", "x}y"[0]])
@pytest.mark.parametrize("topic", ["news", "chat:1", "a}b{c:d", "*?[x]", "é\n", "\0canary:n", scoped("acme", "news")])
def test_a_name_comes_back_from_its_key(prefix: str, topic: str) -> None:
    assert name_in(Names(prefix).of(names.TOPIC, topic)) == topic


def test_what_belongs_to_one_name_is_in_one_partition() -> None:
    made = Names("p")
    tag = b"p:{%d}:" % partition_of("chat:1")
    assert made.of(names.META, "chat:1") == tag + b"m:chat:1"
    assert made.of(names.TOPIC, "chat:1").startswith(tag)
    assert made.key(names.ERA, 7) == b"p:{7}:era:"


def test_partitions_never_change_and_all_of_them_are_used() -> None:
    assert (partition_of("news"), partition_of("chat:1"), partition_of("")) == (80, 114, 0)
    assert {partition_of(f"topic-{number}") for number in range(10_000)} == set(range(PARTITIONS))
