"""aiohttp echoes."""

from tests.bench.peers import checks


def test_echo() -> None:
    with checks.running("aiohttp") as server:
        checks.echoes(server)
        checks.bears_the_engine(server)
