"""The echo application of the benchmarks, served by the real server."""

import pytest

from bench import servers
from bench.load import Load


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_every_message_comes_back(text: bool) -> None:
    options = {"connections": 10, "seconds": 0.3, "warmup": 0, "inflight": 8, "size": 200, "text": text}
    with servers.fastws() as server, Load("echo", server.port, options=options) as load:
        result = load.finish(30.0).check()
    assert result.run.messages > 0
