"""Processes that hear what is published, and what they count."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bench import servers
from bench.cluster.flood import flood, node_commands, plain_commands
from bench.cluster.hearing import Node, RedisPy, _length_of
from bench.load import LoadError
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

TOPICS = ["topic1", "topic2"]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def node(redis: RedisServer) -> servers.Server:
    return servers.fastws("bench.apps.fanout:app", "--redis", redis.url, "--prefix", "p", "--ping-interval", "0")


@pytest.mark.parametrize("batch", [1, 7])
def test_a_node_counts_each_publication(redis: RedisServer, batch: int) -> None:
    commands, messages = node_commands("p", TOPICS, 128, batch)
    assert redis.process is not None
    with node(redis) as server, Node(server, TOPICS) as hearer:
        heard = flood(str(redis.unix), redis.process.pid, commands, messages, hearer, 0.3)
        assert heard.messages > 0
        before = wait_until(hearer.count)
        wait_until(lambda: hearer.count() % messages == 0)
        assert hearer.count() >= before
        assert hearer.pids == server.pids


def test_redis_py_counts_too(redis: RedisServer) -> None:
    commands, messages = plain_commands(TOPICS, 128)
    with RedisPy(str(redis.unix), TOPICS, os.sched_getaffinity(0)) as hearer:
        heard = flood(str(redis.unix), os.getpid(), commands, messages, hearer, 0.3)
        assert heard.messages > 0
        redis.stop()
        with pytest.raises(LoadError, match="has ended"):
            wait_until(lambda: hearer.count() < 0)


def test_who_is_disconnected_says_so(redis: RedisServer) -> None:
    with node(redis) as server, Node(server, TOPICS) as hearer:
        server._end()
        with pytest.raises(LoadError, match=r"disconnected|restarting"):
            wait_until(lambda: hearer.count() < 0)


def test_frames_have_a_length() -> None:
    assert _length_of(b"\x81\x05{") == 0
    assert _length_of(b"\x81\x05{}  }") == 7
    assert _length_of(b"\x81\x7e\x01\x00...") == 260
    for other in (b"\x88\x02..", b"\x81\x7f...."):
        with pytest.raises(LoadError, match="no publication"):
            _length_of(other)
