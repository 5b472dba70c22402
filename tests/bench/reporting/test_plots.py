"""Plots are PNGs of the width that documents show."""

import struct
import sys

import pytest

from bench.report import Spread
from bench.reporting import plots
from bench.reporting.series import Series

RATIOS = Series(
    "echo",
    "echo, with a title of many words that has to be broken",
    {"fastws": Spread(0.9, 0.8, 1), "c": Spread(1, 1, 1)},
    "c",
)
BYTES = Series("footprint", "idle", {"fastws gateway": Spread(400, -5, 500), "other": Spread(9000, 8000, 9500)}, "")


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack("!II", png[16:24])
    return width, height


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("panels", [[RATIOS], [BYTES], [RATIOS, BYTES, RATIOS]], ids=["ratios", "bytes", "several"])
def test_one_png_for_all_panels(panels: list[Series]) -> None:
    pytest.importorskip("matplotlib")
    width, height = size_of(plots.bars(panels, "a note"))
    assert width == plots.WIDTH_IN * plots.DOTS_PER_INCH
    assert height > 100


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(plots.NoPlotsError, match=r"fastws\[bench\]"):
        plots.bars([RATIOS])
