"""picows echoes and spreads."""

from tests.bench.peers import checks


def test_echo() -> None:
    with checks.running("picows") as server:
        checks.echoes(server)
        checks.bears_the_engine(server)


def test_fanout() -> None:
    with checks.running("picows") as server:
        checks.spreads("picows", server)
        checks.spreads_to_the_engine("picows", server)
