"""Plots of a result file as PNG images. They need matplotlib, which the extra `bench` brings."""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.reporting.series import OURS, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS_COLOUR, REFERENCE_COLOUR, OTHER_COLOUR, TEXT_COLOUR = "#1565c0", "#9e9e9e", "#b0bec5", "#263238"
WIDTH_IN = 8.0
BAR_IN = 0.24  # height of a bar with its gap
AROUND_IN = 1.0  # titles and note
DOTS_PER_INCH = 160
TITLE_CHARACTERS = 80  # that fit over all panels together
LABEL_ROOM = 1.28  # the scale ends so much behind the longest bar, for the figure beside it


class NoPlotsError(RuntimeError):
    """matplotlib is not installed."""


def bars(panels: Sequence[Series], note: str = "") -> bytes:
    """A PNG with one panel of horizontal bars for each series, side by side, servers from best to worst.

    Whiskers reach from the lowest round to the highest. A server keeps its line in every panel.

    :raises NoPlotsError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - it may not be there
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise NoPlotsError("plots need matplotlib: pip install 'fastws[bench]'") from error
    names = _in_order(panels)
    figure = Figure(figsize=(WIDTH_IN, len(names) * BAR_IN + AROUND_IN), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        _panel(axis, panel, names, TITLE_CHARACTERS // len(panels))
    axes[0].set_yticks(range(len(names)), names)
    for label in axes[0].get_yticklabels():
        label.set_fontweight("bold" if label.get_text().startswith(OURS) else "normal")
    if note:
        figure.supxlabel(note, fontsize=8, color=TEXT_COLOUR)
    figure.tight_layout()
    return _png(figure)


def _in_order(panels: Sequence[Series]) -> list[str]:
    """All servers; the order is that of the first panel with a figure for them, bytes from few, ratios from many."""
    names: list[str] = []
    for panel in panels:
        by_figure = sorted(panel.figures, key=lambda name: panel.figures[name].median, reverse=bool(panel.reference))
        names += [name for name in by_figure if name not in names]
    return names


def _panel(axis: "Axes", panel: Series, names: Sequence[str], title_width: int) -> None:
    shown = [name for name in names if name in panel.figures]
    figures = [panel.figures[name] for name in shown]
    axis.barh(
        [names.index(name) for name in shown],
        [figure.median for figure in figures],
        xerr=[
            [max(0.0, figure.median - figure.low) for figure in figures],
            [max(0.0, figure.high - figure.median) for figure in figures],
        ],
        color=[_colour(name, panel.reference) for name in shown],
        height=0.72,
        error_kw={"ecolor": "#546e7a", "elinewidth": 0.8, "capsize": 2, "capthick": 0.8},
    )
    most = max((figure.high for figure in figures), default=1.0)
    axis.set_xlim(0, most * LABEL_ROOM)
    for name, figure in zip(shown, figures, strict=True):
        text = f"{figure.median:.2f}" if panel.reference else f"{figure.median:,.0f}"
        axis.text(max(figure.high, 0) + most * 0.02, names.index(name), text, va="center", fontsize=7.5)
    for at, name in enumerate(names):
        if name not in panel.figures:
            axis.text(most * 0.02, at, "-", va="center", fontsize=7.5, color=REFERENCE_COLOUR)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_title(textwrap.fill(panel.title, title_width), fontsize=9, color=TEXT_COLOUR)
    axis.tick_params(labelsize=8, colors=TEXT_COLOUR, length=0)
    axis.xaxis.set_visible(False)
    for side in ("top", "right", "bottom", "left"):
        axis.spines[side].set_visible(False)
    if panel.reference:
        axis.axvline(1.0, color=REFERENCE_COLOUR, linewidth=0.8, linestyle=":")


def _colour(name: str, reference: str) -> str:
    if name.startswith(OURS):
        return OURS_COLOUR
    return REFERENCE_COLOUR if name == reference else OTHER_COLOUR


def _png(figure: "Figure") -> bytes:
    output = io.BytesIO()
    figure.savefig(output, format="png", metadata={"Software": ""})
    return output.getvalue()
