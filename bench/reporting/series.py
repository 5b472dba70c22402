"""Figures of a result file by scenario and server, as plots and verdicts take them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.report import Spread

OURS = "fastws"


@dataclass(frozen=True, slots=True)
class Series:
    """One figure of several servers."""

    key: str  # of the part, with what tells its tables apart: "echo16", "fanout-1000x10"
    title: str
    figures: Mapping[str, Spread]  # by server
    reference: str  # the server whose figure is 1, or what else is; "" where figures are not ratios
    note: str = ""  # below a plot; "": what figures of its kind mostly are


def ratio_series(content: Mapping[str, Any]) -> list[Series]:
    """The ratios per CPU-second of each part that has them; parts with several tables give several series."""
    found = [
        Series(key, title, _spreads(results["ratios"]["per_cpu_second"]), _reference(results))
        for key, title, results in _comparisons(content)
    ]
    return found + [
        Series(part["key"], part["label"], _without_ones(_spreads(to_plain)), "each server's plain echo")
        for part in content["parts"]
        if (to_plain := part["results"].get("ratios", {}).get("to_plain"))
    ]


def _without_ones(figures: Mapping[str, Spread]) -> dict[str, Spread]:
    """Without the plain echoes themselves."""
    return {name: figure for name, figure in figures.items() if figure != Spread(1.0, 1.0, 1.0)}


def footprint_series(content: Mapping[str, Any]) -> list[Series]:
    """Bytes for each connection."""
    return [
        Series(
            part["key"],
            part["label"],
            {name: _spread(own["per_connection"]) for name, own in part["results"]["servers"].items()},
            "",
        )
        for part in content["parts"]
        if "servers" in part["results"]
    ]


def slow_series(content: Mapping[str, Any]) -> list[Series]:
    """What readers notice of those who stopped, and what those cost, side by side."""
    note = "some subscribers stop reading; median, whiskers: all rounds"
    found = []
    for part in content["parts"]:
        if slowed := part["results"].get("slowed"):
            noticed = {name: _spread(own["ratio"]) for name, own in slowed.items()}
            kept = {name: _spread(own["per_stopped_reader"]) for name, own in slowed.items()}
            found += [
                Series(part["key"], "p99 of the others, with / without", noticed, "all read", note),
                Series(part["key"], "server's bytes per stopped reader", kept, "", note),
            ]
    return found


def ours_to(content: Mapping[str, Any]) -> dict[str, dict[str, Spread]]:
    """For each series: fastws divided by each other server per CPU-second, round by round."""
    found = {}
    for key, _, results in _comparisons(content):
        rounds = {name: [_per_cpu_second(one) for one in own] for name, own in results["rounds"].items()}
        ours = rounds.get(OURS, [])
        found[key] = {
            name: Spread.of([mine / its for mine, its in zip(ours, own, strict=True) if its] or [0.0])
            for name, own in rounds.items()
            if name != OURS and len(own) == len(ours) > 0
        }
    return found


def bystander_p99_ms(content: Mapping[str, Any]) -> dict[str, Spread]:
    """For each series: how long a quiet client of fastws waited, over the rounds."""
    found = {}
    for key, _, results in _comparisons(content):
        waited = [one["bystander"]["p99"] / 1000 for one in results["rounds"].get(OURS, []) if one.get("bystander")]
        if waited:
            found[key] = Spread.of(waited)
    return found


def _comparisons(content: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Key, title and results of everything that was measured in turns."""
    for part in content["parts"]:
        results = part["results"]
        if "per_cpu_second" in results.get("ratios", {}):
            yield part["key"], part["label"], results
            continue
        for name, inner in results.items():
            if isinstance(inner, dict) and "per_cpu_second" in inner.get("ratios", {}):
                yield f"{part['key']}-{name}", f"{part['label']}, {name}", inner


def _per_cpu_second(one: Mapping[str, Any]) -> float:
    amount, span = (
        (one["connected"], one["connect"]) if one["mode"] == "connect" else (one["run"]["messages"], one["run"])
    )
    return float(amount / span["server_cpu_s"]) if span["server_cpu_s"] else 0.0


def _reference(results: Mapping[str, Any]) -> str:
    ratios = results["ratios"]["per_cpu_second"]
    given = results.get("reference")
    return str(given) if given else next((name for name, r in ratios.items() if r["low"] == r["high"] == 1.0), OURS)


def _spreads(table: Mapping[str, Mapping[str, float]]) -> dict[str, Spread]:
    return {name: _spread(raw) for name, raw in table.items()}


def _spread(raw: Mapping[str, float]) -> Spread:
    return Spread(raw["median"], raw["low"], raw["high"])
