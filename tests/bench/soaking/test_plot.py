"""The picture of a soak."""

import importlib.util
import sys
from pathlib import Path

import pytest

from bench.bystander.probes import Figures
from bench.bystander.watch import Delayed
from bench.soaking.plot import plot
from bench.soaking.sampling import Sample

CALM = Figures(200, 0.1, 1.0, 2.0, 1.0, 2.0)
SAMPLES = [
    Sample(float(at), f"phase {at // 3}", 40_000_000, 30_000_000, 100, 0.5, 0.1, Delayed(CALM, CALM, CALM))
    for at in range(1, 12)
]


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib belongs to the bench extra")
@pytest.mark.filterwarnings("default")  # of other people's modules
def test_a_png(tmp_path: Path) -> None:
    assert plot(SAMPLES, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert not plot(SAMPLES, tmp_path / "soak.png")
    assert not (tmp_path / "soak.png").exists()
