"""socketify echoes and spreads."""

from bench import roster
from tests.bench.peers import checks


def test_echo() -> None:
    with checks.running("socketify") as server:
        checks.echoes(server)
        checks.bears_the_engine(server)


def test_fanout() -> None:
    facts = roster.read("socketify").fanout
    assert facts is not None
    with checks.running("socketify") as server:
        checks.spreads(server, facts)
