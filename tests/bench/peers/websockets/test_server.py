"""`websockets` echoes and spreads."""

from pathlib import Path

from tests.bench.peers import checks


def test_echo() -> None:
    with checks.running("websockets") as server:
        checks.echoes(server)
        checks.bears_the_engine(server)


def test_fanout() -> None:
    with checks.running("websockets") as server:
        checks.spreads("websockets", server)
        checks.spreads_to_the_engine("websockets", server)


def test_variants(tmp_path: Path) -> None:
    checks.has_its_variants("websockets", tmp_path)


def test_rooms() -> None:
    with checks.running("websockets") as server:
        checks.has_rooms("websockets", server)
