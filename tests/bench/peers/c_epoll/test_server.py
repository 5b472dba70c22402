"""C epoll echoes and spreads."""

from bench import roster
from tests.bench.peers import checks


def test_echo() -> None:
    with checks.running("c_epoll") as server:
        checks.echoes(server)
        checks.bears_the_engine(server)


def test_fanout() -> None:
    facts = roster.read("c_epoll").fanout
    assert facts is not None
    with checks.running("c_epoll") as server:
        checks.spreads(server, facts)
