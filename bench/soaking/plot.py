"""A picture of a soak: memory, descriptors, CPU and what bystanders waited, over time."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from bench.bystander.watch import MOST_MS, MOST_P99_MS
from bench.soaking.sampling import Sample

COLOURS = {"echo": "#1f77b4", "timer": "#2ca02c", "link": "#9467bd"}


def plot(samples: Sequence[Sample], path: Path) -> bool:
    """Write a PNG; returns False, and writes nothing, where matplotlib (of the bench extra) is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - of the bench extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        return False
    figure = Figure(figsize=(11, 9), layout="constrained")
    FigureCanvasAgg(figure)
    memory, files, cpu, delays = figure.subplots(4, 1, sharex=True)
    at = [sample.at_s / 60 for sample in samples]
    memory.plot(at, [sample.pss_bytes / 1e6 for sample in samples], color="#888888", label="PSS")
    memory.plot(at, [sample.own_bytes / 1e6 for sample in samples], color="#d62728", label="without files")
    memory.set_ylabel("memory, MB")
    memory.legend(loc="lower right")
    files.plot(at, [sample.files for sample in samples], color="#1f77b4")
    files.set_ylabel("descriptors")
    cpu.plot(at, [100 * sample.cpu for sample in samples], color="#ff7f0e", label="used")
    cpu.plot(at, [100 * sample.waited for sample in samples], color="#bbbbbb", label="waited for")
    cpu.set_ylabel("CPU of the server, %")
    cpu.legend(loc="upper right")
    for name, colour in COLOURS.items():
        delays.plot(at, [max(s.delayed.by_name[name].p99, 0.01) for s in samples], color=colour, label=f"{name} p99")
        worst = [max(s.delayed.by_name[name].max, 0.01) for s in samples]
        delays.plot(at, worst, ".", color=colour, markersize=2, label=f"{name} max")
    delays.axhline(MOST_P99_MS, color="black", linewidth=0.7, linestyle="--")
    delays.axhline(MOST_MS, color="black", linewidth=0.7)
    delays.set_yscale("log")
    delays.set_ylabel("bystanders wait, ms")
    delays.set_xlabel("minutes")
    delays.legend(loc="upper right", ncols=3, fontsize="small")
    shaded = True
    for _, group in itertools.groupby(samples, lambda sample: sample.phase):
        seconds = [sample.at_s for sample in group]
        shaded = not shaded
        if shaded:
            for axes in (memory, files, cpu, delays):
                axes.axvspan((seconds[0] - 1) / 60, seconds[-1] / 60, color="#f2f2f2", zorder=0)
    figure.savefig(path, dpi=100)
    return True
