"""`ws` echoes and spreads."""

from pathlib import Path

from tests.bench.peers import checks


def test_echo() -> None:
    with checks.running("ws") as server:
        checks.echoes(server)
        checks.bears_the_engine(server)


def test_fanout() -> None:
    with checks.running("ws") as server:
        checks.spreads("ws", server)
        checks.spreads_to_the_engine("ws", server)


def test_variants(tmp_path: Path) -> None:
    checks.has_its_variants("ws", tmp_path)


def test_rooms() -> None:
    with checks.running("ws") as server:
        checks.has_rooms("ws", server)
