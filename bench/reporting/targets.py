"""What the project set out to reach beside other servers, and whether a result file shows it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.cluster.scenario import TO_REACH as HEARD
from bench.report import Spread, Table
from bench.reporting import series
from bench.scenarios.steady.slow import ENOUGH_MS, MOST_RATIO

ECHOES = ("echo", "echo-1k", "echo-500", "echo-text", "echo-500-1k", "echo-1k-text")
ECHOES_IN_FLIGHT = ("echo16", "echo16-text")
IDLE_BYTES = {"fastws": 350, "fastws authenticated": 700}
BYSTANDER_MS = 5.0
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio to reach: fastws / another server, per CPU-second."""

    keys: tuple[str, ...]  # of series, or how they begin
    against: str  # a peer's name, or "others" or "others in LANGUAGE": those without a ratio of their own
    at_least: float

    def is_about(self, key: str) -> bool:
        """Whether the series called so has to reach it."""
        return any(key == mine or (mine.endswith("-") and key.startswith(mine)) for mine in self.keys)


RATIOS = (
    Ratio(ECHOES, "c_epoll", 0.90),
    Ratio(ECHOES, "fastwebsockets", 1.0),
    Ratio(ECHOES, "gin_gorilla", 1.3),
    Ratio(ECHOES, "others in Python", 1.0),
    Ratio(ECHOES_IN_FLIGHT, "c_epoll", 0.66),
    Ratio(ECHOES_IN_FLIGHT, "uwebsockets", 5.0),
    Ratio(ECHOES_IN_FLIGHT, "others", 5.0),
    Ratio(("connect",), "gin_gorilla", 2.2),
    Ratio(("connect",), "fastwebsockets", 1.0),
    Ratio(("fanout-",), "c_epoll", 0.9),
    Ratio(("fanout-",), "uwebsockets", 1.0),
    Ratio(("fanout-1000x10", "fanout-9000x10"), "gin_gorilla", 5.0),
    Ratio(("rooms",), "c_epoll", 0.9),
    Ratio(("rooms",), "others", 2.0),
)


def verdicts(content: Mapping[str, Any]) -> Table:
    """A row for each figure to reach that was measured."""
    rows = [*_ratio_rows(content), *_footprint_rows(content), *_bystander_rows(content), *_slow_rows(content)]
    rows += _cluster_rows(content)
    return Table("what was to be reached", ("scenario", "figure", "to reach", "measured", "reached"), rows, texts=True)


def _ratio_rows(content: Mapping[str, Any]) -> Iterator[list[str]]:
    for key, ratios in series.ours_to(content).items():
        wanted = [target for target in RATIOS if target.is_about(key)]
        others = set(ratios) - {target.against for target in wanted}
        for target in wanted:
            name, what = target.against, f"fastws / {target.against}"
            if name.startswith(OTHERS):
                language = name.removeprefix(OTHERS).removeprefix(" in ")
                meant = [other for other in others if language in ("", _language(content, other))]
                # Of several the one that is hardest to beat.
                name = min(meant, key=lambda other: ratios[other].median) if meant else ""
                what = f"fastws / {name}, the best of {len(meant)} {target.against}"
            if name in ratios:
                verdict = _verdict(ratios[name].median >= target.at_least)
                yield [key, f"{what} per CPU-s", f">= {target.at_least:g}", f"{ratios[name]:.2f}", verdict]


def _language(content: Mapping[str, Any], peer: str) -> str:
    return str(content.get("peers", {}).get(peer, {}).get("language", ""))


def _footprint_rows(content: Mapping[str, Any]) -> Iterator[list[str]]:
    for one in series.footprint_series(content):
        for name, most in IDLE_BYTES.items():
            if name in one.figures:
                verdict = _verdict(one.figures[name].median <= most)
                yield [one.key, f"{name}: B/connection", f"<= {most}", f"{one.figures[name]:.0f}", verdict]


def _bystander_rows(content: Mapping[str, Any]) -> Iterator[list[str]]:
    for key, waited in series.bystander_p99_ms(content).items():
        if key.startswith("fanout-"):
            verdict = _verdict(waited.median <= BYSTANDER_MS)
            yield [key, "a bystander's p99, ms", f"<= {BYSTANDER_MS:g}", f"{waited:.1f}", verdict]


def _slow_rows(content: Mapping[str, Any]) -> Iterator[list[str]]:
    for part in content["parts"]:
        for name, own in part["results"].get("slowed", {}).items():
            if not name.startswith(series.OURS):
                continue
            ratio, p99_ms, kept = (Spread(**own[key]) for key in ("ratio", "p99_ms", "per_stopped_reader"))
            what, wanted = f"{name}: p99 of those who read", f"<= {MOST_RATIO:g} x, or <= {ENOUGH_MS:g} ms"
            yield [part["key"], what, wanted, f"{ratio.median:.2f} x, {p99_ms.median:.1f} ms", _verdict(own["holds"])]
            most = part["options"]["max_outbox"]
            verdict = _verdict(kept.median <= most)
            yield [part["key"], f"{name}: B/stopped reader", f"<= {most:,}", f"{kept:,.0f}", verdict]


def _cluster_rows(content: Mapping[str, Any]) -> Iterator[list[str]]:
    """Per CPU-second: on a machine with two of them a worker shares Redis' time with those who publish."""
    for part in content["parts"]:
        for name, own in part["results"].get("flooded", {}).items():
            if name.startswith(series.OURS):
                heard = Spread.of([one["messages"] / one["cpu_s"] for one in own if one["cpu_s"]] or [0.0])
                verdict = _verdict(heard.median >= HEARD)
                yield [part["key"], f"{name}: msg/CPU-s of a worker", f">= {HEARD:,.0f}", f"{heard:,.0f}", verdict]


def _verdict(reached: bool) -> str:
    return "yes" if reached else "NO"
