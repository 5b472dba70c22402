"""As much as a process can hear."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from bench.cluster import flood as module
from bench.cluster.flood import COMMANDS, Heard, command, flood, node_commands, payload, plain_commands
from bench.load import LoadError
from fastws.engine.redis.envelope import publication_in, publications_in
from tests.support.redis import RedisServer


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class ReadyPipe:
    """Hears what is counted by hand."""

    def __init__(self) -> None:
        self.pids: Sequence[int] = [os.getpid()]
        self.heard = 0
        self.step = 0
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    def count(self) -> int:
        self.heard += self.step
        return self.heard

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


@pytest.fixture
def pipe() -> Iterator[ReadyPipe]:
    pipe = ReadyPipe()
    yield pipe
    pipe.close()


def test_a_command() -> None:
    assert command(b"ch", b"abc") == b"*3\r\n$7\r\nPUBLISH\r\n$2\r\nch\r\n$3\r\nabc\r\n"
    assert len(payload(128)) == 128


def test_a_node_publishes_so() -> None:
    single, count = node_commands("p", ["a", "b"], 128, 1)
    assert count == COMMANDS
    content = single.split(b"\r\n")[6]
    arrived = publication_in(content)
    assert arrived is not None
    assert arrived[0].data == payload(128)
    together, count = node_commands("p", ["a"], 24, 3)
    assert count == 3 * COMMANDS
    found = publications_in(together.split(b"\r\n")[6])
    assert found is not None
    assert [one[0].data for one in found] == [payload(24)] * 3


def test_what_is_heard_is_counted(redis: RedisServer, pipe: ReadyPipe) -> None:
    commands, messages = plain_commands(["a"], 24)
    assert redis.process is not None
    pipe.step = 100
    heard = flood(str(redis.unix), redis.process.pid, commands, messages, pipe, 0.2)
    assert heard.messages > 0
    assert heard.messages % 100 == 0
    assert heard.seconds >= 0.2
    assert heard.cpu_s > 0
    assert heard.redis_cpu_s > 0
    assert heard.per_second == heard.messages / heard.seconds
    assert heard.per_cpu_second == heard.messages / heard.cpu_s
    assert Heard(1.0, 5, 0.0, 0.0).per_cpu_second == 0.0


def test_no_more_is_on_its_way_than_may_and_silence_is_an_error(
    redis: RedisServer, pipe: ReadyPipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.5)
    commands, messages = plain_commands(["a"], 24)
    with pytest.raises(LoadError, match=f"nothing was heard for 0.5 s, of {module.WINDOW} messages"):
        flood(str(redis.unix), os.getpid(), commands, messages, pipe, 5.0)


def test_a_redis_that_refuses(redis: RedisServer, pipe: ReadyPipe) -> None:
    with pytest.raises(LoadError, match="ERR unknown command"):
        flood(str(redis.unix), os.getpid(), b"*1\r\n$3\r\nNOP\r\n" * COMMANDS, COMMANDS, pipe, 1.0)
