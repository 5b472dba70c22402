"""redis-py's client, as an application on it hears channels: `python -m bench.cluster.listener SOCKET CHANNEL...`.

Prints `listening` when it does, and then how many messages it has got, now and then.
"""

import asyncio
import importlib.util
import sys

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TOLD_EACH = 500


async def listen(path: str, channels: list[str]) -> None:
    """Hear the channels until the process is ended."""
    client = Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0))
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(*channels)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    heard = 0
    async for _ in pubsub.listen():
        heard += 1
        if heard % TOLD_EACH == 0:
            sys.stdout.write(f"{heard}\n")
            sys.stdout.flush()


def main() -> None:
    """Run on uvloop where it is installed, as the servers do."""
    factory = None
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(listen(sys.argv[1], sys.argv[2:]))


if __name__ == "__main__":
    main()
