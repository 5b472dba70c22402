"""What several servers did in turns, put beside one of them and beside fastws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from bench.load import LoadResult, Span
from bench.report import Spread
from bench.scenarios import turns

Figure = Callable[[LoadResult], float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ratios of servers, each taken inside a round."""

    results: Mapping[str, Sequence[LoadResult]]
    failures: Mapping[str, str]  # peers without results, and why
    reference: str  # whose ratio is 1
    by_cpu: Mapping[str, Spread]  # each server / the reference, per CPU-second of the server
    by_clock: Mapping[str, Spread]  # the same in time
    ours: Mapping[str, Spread]  # fastws / each server, per CPU-second

    @classmethod
    def of(
        cls,
        results: dict[str, list[LoadResult]],
        peers: Sequence[str],
        failures: Mapping[str, str],
        per_cpu_second: Figure,
        per_second: Figure,
    ) -> Self:
        """Compare with the first of `peers` that has results; with fastws itself where none has."""
        reference = next((name for name in peers if name in results), turns.OURS)
        ours = {
            name: turns.ratios({name: results[turns.OURS], "it": own}, per_cpu_second, "it")[name]
            for name, own in results.items()
        }
        return cls(
            results,
            failures,
            reference,
            turns.ratios(results, per_cpu_second, reference),
            turns.ratios(results, per_second, reference),
            ours,
        )

    def notes(self, span: Callable[[LoadResult], Span]) -> list[str]:
        """Lines below a table: how its ratios were taken, who was idle, who failed."""
        return [
            f"ratios to {self.reference}, round by round: median (lowest to highest); other figures are medians",
            *(f"{name} failed: {' '.join(reason.split())[-200:]}" for name, reason in self.failures.items()),
            *turns.idle_notes(self.results, span),
        ]

    def as_json(self) -> dict[str, Any]:
        """All rounds, the ratios and the failures, for the JSON file."""
        ratios = {"per_cpu_second": self.by_cpu, "per_second": self.by_clock, "ours_per_cpu_second": self.ours}
        content = turns.as_json(
            {name: list(own) for name, own in self.results.items()},
            **{label: dict(table) for label, table in ratios.items()},
        )
        return {**content, "reference": self.reference, "failures": dict(self.failures)}


def median_of(spans: Sequence[Span], figure: Callable[[Span], float]) -> float:
    """The median of a figure over the rounds."""
    return Spread.of([figure(span) for span in spans]).median


def cpu_cells(spans: Sequence[Span]) -> list[str]:
    """The cells of the columns "server CPU" and "client CPU"."""
    return [
        f"{median_of(spans, lambda span: span.server_cpu_s / span.seconds):.0%}",
        f"{median_of(spans, lambda span: span.client_cpu_s / span.seconds):.0%}",
    ]
