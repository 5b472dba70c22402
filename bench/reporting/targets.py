"""What the project set out to reach beside other servers, and whether a result file shows it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.report import Spread, Table
from bench.reporting import series

ECHOES = ("echo", "echo-1k", "echo-500", "echo-text")
IDLE_BYTES = {"fastws": 350, "fastws gateway": 700}
BYSTANDER_MS = 5.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio to reach: fastws / another server, per CPU-second."""

    keys: tuple[str, ...]  # of series, or how they begin
    against: str  # a peer's name, or "every peer in LANGUAGE", or "every peer"
    at_least: float


RATIOS = (
    Ratio(ECHOES, "c_epoll", 0.90),
    Ratio(ECHOES, "fastwebsockets", 1.0),
    Ratio(ECHOES, "gin_gorilla", 1.3),
    Ratio(ECHOES, "every peer in Python", 1.0),
    Ratio(("echo16",), "c_epoll", 0.66),
    Ratio(("echo16",), "every peer", 5.0),
    Ratio(("connect",), "gin_gorilla", 2.2),
    Ratio(("connect",), "fastwebsockets", 1.0),
    Ratio(("fanout-",), "c_epoll", 0.9),
    Ratio(("fanout-",), "uwebsockets", 1.0),
    Ratio(("fanout-1000x10", "fanout-9000x10"), "gin_gorilla", 5.0),
)


def verdicts(content: Mapping[str, Any]) -> Table:
    """A row for each figure to reach that was measured."""
    rows = [*_ratio_rows(content), *_footprint_rows(content), *_bystander_rows(content)]
    return Table("what was to be reached", ("scenario", "figure", "to reach", "measured", "reached"), rows, texts=True)


def _ratio_rows(content: Mapping[str, Any]) -> Iterator[list[str]]:
    for key, ratios in series.ours_to(content).items():
        for target in RATIOS:
            if not any(key == wanted or (wanted.endswith("-") and key.startswith(wanted)) for wanted in target.keys):
                continue
            if found := _strongest(target.against, ratios, content):
                name, what = found
                verdict = _verdict(ratios[name].median >= target.at_least)
                yield [key, f"{what} per CPU-s", f">= {target.at_least:g}", f"{ratios[name]:.2f}", verdict]


def _strongest(against: str, ratios: Mapping[str, Spread], content: Mapping[str, Any]) -> tuple[str, str] | None:
    """The server meant by `against`, of several the one that is hardest to beat, and how to call the ratio to it."""
    if not against.startswith("every peer"):
        return (against, f"fastws / {against}") if against in ratios else None
    language = against.removeprefix("every peer").removeprefix(" in ")
    peers = content.get("peers", {})
    meant = [name for name in ratios if name != "c_epoll" and language in ("", peers.get(name, {}).get("language"))]
    if not meant:
        return None
    name = min(meant, key=lambda name: ratios[name].median)
    return name, f"fastws / {name}, the best of {len(meant)}{f' in {language}' if language else ''},"


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


def _verdict(reached: bool) -> str:
    return "yes" if reached else "NO"
