"""C epoll echoes and spreads."""

from tests.bench.peers import checks


def test_echo() -> None:
    with checks.running("c_epoll") as server:
        checks.echoes(server)
        checks.bears_the_engine(server)


def test_fanout() -> None:
    with checks.running("c_epoll") as server:
        checks.spreads("c_epoll", server)
        checks.spreads_to_the_engine("c_epoll", server)
