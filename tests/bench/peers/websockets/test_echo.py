"""The `websockets` peer echoes what the engine sends."""

from bench import servers
from bench.load import Load


def test_every_message_comes_back() -> None:
    with servers.peer("websockets") as server:
        options = {"connections": 10, "seconds": 0.3, "warmup": 0, "path": server.path}
        with Load("echo", server.port, options=options) as load:
            assert load.finish(30.0).check().run.messages > 0
