"""The echo application of the benchmarks, served by the real server."""

import pytest

from bench import servers
from bench.load import Load, LoadResult
from tests.bench.windows import with_messages


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_every_message_comes_back(text: bool) -> None:
    options = {"connections": 10, "warmup": 0, "inflight": 8, "size": 200, "text": text}

    def measured(seconds: float) -> LoadResult:
        with Load("echo", server.port, options={**options, "seconds": seconds}) as load:
            return load.finish(30.0)

    with servers.fastws() as server:
        assert with_messages(measured).check().run.messages > 0
