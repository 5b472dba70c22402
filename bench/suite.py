"""`python -m bench all`: every scenario after the other, one result file, plots, one HTML page."""

import dataclasses
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import measure, roster
from bench.build import BuildError
from bench.cluster import scenario as cluster
from bench.load import LoadError
from bench.report import ProgressBar, Table
from bench.reporting import page, plots, series
from bench.scenarios import connect, echo, fanout, footprint, variants
from bench.scenarios.steady import rooms, slow
from bench.servers import ServerError
from fastws.errors import StartError

ROUNDS, SECONDS = 5, 2.0
QUICK_ROUNDS, QUICK_SECONDS = 3, 1.0
SIDE_SECONDS = 0.6  # of a round of what is another mixture of other parts
AROUND_S = 1.2  # of a round, beside what is measured: connecting, warming up, ending
Measured = tuple[Table | list[Table], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to measure."""

    key: str
    label: str
    options: Any  # a dataclass
    run: Callable[[ProgressBar], Measured]
    steps: int  # that it will take, about
    step_s: float  # of each, about

    @property
    def seconds(self) -> float:
        """How long it will take, about."""
        return self.steps * self.step_s


def plan(peers: Sequence[str], *, quick: bool) -> list[Part]:
    """What is measured beside these peers."""
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    descriptors = measure.descriptor_limit() - footprint.SERVER_SPARE
    parts = []

    def add_echo(key: str, label: str, **different: Any) -> None:
        options = echo.EchoOptions(**{"rounds": rounds, "seconds": seconds, "peers": tuple(peers), **different})
        steps = (1 + len(roster.echoing(peers))) * (rounds + options.latency_rounds)
        parts.append(Part(key, label, options, lambda bar: echo.run(options, bar), steps, options.seconds + AROUND_S))

    add_echo("echo", "echo, 64 B, one in flight")
    if not quick:
        add_echo("echo-1k", "echo, 1 KiB", size=1024)
        add_echo("echo-500", "echo, 500 connections", connections=500)
        add_echo("echo-text", "echo, text", text=True)
        add_echo("echo-500-1k", "echo, 500 connections, 1 KiB", connections=500, size=1024, seconds=SIDE_SECONDS)
        add_echo("echo-1k-text", "echo, 1 KiB of text", size=1024, text=True, seconds=SIDE_SECONDS, at_a_rate=False)
    add_echo("echo16", "echo, 64 B, 16 in flight", inflight=16)
    if not quick:
        add_echo("echo16-text", "echo, text, 16 in flight", inflight=16, text=True, seconds=SIDE_SECONDS)

    storm = connect.ConnectOptions(min(5000 if quick else 15000, descriptors), rounds=rounds, peers=tuple(peers))
    steps = (1 + len(peers)) * rounds
    parts.append(Part("connect", "connect", storm, lambda bar: connect.run(storm, bar), steps, storm.connections / 4e3))

    subjects = (*footprint.OWN, *peers)
    idle = footprint.FootprintOptions(min(5000 if quick else 15000, descriptors), 2 if quick else 3, subjects)
    steps = len(subjects) * idle.batches
    parts.append(
        Part("footprint", "footprint", idle, lambda bar: footprint.run(idle, bar), steps, idle.connections / 4e3)
    )

    spread = fanout.FanoutOptions(
        subscribers=(1000,) if quick else (1000, 9000), rounds=rounds, seconds=seconds, peers=tuple(peers)
    )
    able = 1 + sum(roster.read(name).fanout is not None for name in peers)
    steps = able * rounds * len(spread.subscribers) * len(spread.bursts)
    parts.append(Part("fanout", "fan-out", spread, lambda bar: fanout.run(spread, bar), steps, seconds + 2 * AROUND_S))

    parts += _steady(peers, quick=quick)
    if not quick:
        parts.append(_cluster())

    able_in = {name: roster.read(name).variants for name in peers if roster.read(name).variants}
    ways = variants.VariantsOptions(rounds=rounds, seconds=seconds, peers=list(able_in))
    entries = len(ways.kinds) + sum(1 + len(own) for own in able_in.values())
    steps = entries * (rounds + 1)  # one for the memory of idle connections
    parts.append(Part("variants", "variants", ways, lambda bar: variants.run(ways, bar), steps, seconds + AROUND_S))
    return parts


def _steady(peers: Sequence[str], *, quick: bool) -> list[Part]:
    """Rooms, and readers that stop."""
    able = rooms.able(peers)
    users = min(2000 if quick else 10000, measure.descriptor_limit() - footprint.SERVER_SPARE)
    talk = rooms.RoomsOptions(
        users, rounds=1 if quick else 3, seconds=0.5 if quick else 1.0, refinements=3 if quick else 4, peers=tuple(able)
    )
    search_s = rooms.TAKEN_STEPS * (talk.seconds + 2 * rooms.WARMUP_S) + users / 4e3
    if quick:
        stop = slow.SlowOptions(subscribers=300, stopped=30, rate=150.0, rounds=1, seconds=1.5, peers=tuple(able))
    else:
        stop = slow.SlowOptions(peers=tuple(able))
    round_s = 2 * (stop.seconds + slow.WARMUP_S) + 2 * AROUND_S
    subjects = len(slow.FASTWS) + len(able)
    return [
        Part("rooms", "rooms", talk, lambda bar: rooms.run(talk, bar), (1 + len(able)) * talk.rounds, search_s),
        Part("slow", "slow readers", stop, lambda bar: slow.run(stop, bar), subjects * stop.rounds, round_s),
    ]


def _cluster() -> Part:
    """From node to node."""
    options = cluster.ClusterOptions(rounds=ROUNDS, seconds=SECONDS)
    steps = options.rounds * (len(options.bursts) + len(options.batches) + 1)
    step_s = options.seconds + AROUND_S
    return Part("cluster", "cluster", options, lambda bar: cluster.run(options, bar), steps, step_s)


class WholeProgress:
    """What the parts say, as one bar over all of them, with the time that is left.

    The estimate begins with how long the parts take on a quiet machine, and follows how long they took on this one.
    """

    def __init__(self, bar: ProgressBar, parts: Sequence[Part], clock: Callable[[], float] = time.monotonic) -> None:
        self._bar = bar
        self._clock = clock
        self._all_s = sum(part.seconds for part in parts)
        self._done_s = 0.0  # of the estimate, by parts that are over
        self._steps = 0  # of this part
        self._part: Part | None = None
        self._started = clock()
        bar.start(sum(part.steps for part in parts))

    def begin(self, part: Part) -> None:
        """What is said from now on is of this part."""
        self._part, self._steps = part, 0

    def end(self) -> None:
        """The part is over, whatever number of steps it took."""
        assert self._part is not None
        while self._steps < self._part.steps:
            self.step()
        self._done_s += self._part.seconds
        self._part = None

    def start(self, steps: int) -> None:
        """Known before."""

    def say(self, text: str) -> None:
        assert self._part is not None
        minutes, seconds = divmod(round(self.left_s()), 60)
        self._bar.say(f"{self._part.label}: {text}; {minutes}:{seconds:02} left")

    def step(self) -> None:
        assert self._part is not None
        self._steps += 1
        if self._steps <= self._part.steps:
            self._bar.step()

    def left_s(self) -> float:
        """Seconds until all is done, about."""
        done = self._done_s
        if self._part is not None:
            done += min(self._steps, self._part.steps) * self._part.step_s
        elapsed = self._clock() - self._started
        pace = elapsed / done if done else 1.0
        return (self._all_s - done) * pace


def run(parts: Sequence[Part], progress: ProgressBar) -> dict[str, Any]:
    """Measure everything; return what belongs into the result file. A part that fails is named, the others go on."""
    facts = measure.machine_facts()
    started = time.monotonic()
    whole = WholeProgress(progress, parts)
    measured = []
    for part in parts:
        whole.begin(part)
        tables: list[Table] = []
        results: dict[str, Any] = {}
        error = ""
        try:
            found, results = part.run(whole)
            tables = found if isinstance(found, list) else [found]
        except (BuildError, LoadError, ServerError, StartError, roster.PeerError) as failure:
            error = str(failure)
        except Exception:  # hours of figures are not lost to a fault in one part
            error = traceback.format_exc()
        whole.end()
        measured.append(
            {
                "key": part.key,
                "label": part.label,
                "options": dataclasses.asdict(part.options),
                "tables": [dataclasses.asdict(table) for table in tables],
                "results": results,
                "error": error,
            }
        )
    return {
        "machine": facts,
        "load_average_after": round(os.getloadavg()[0], 2),
        "seconds": round(time.monotonic() - started),
        "parts": measured,
    }


def peer_facts() -> dict[str, dict[str, str]]:
    """What reports say of every peer."""
    return {
        peer.name: {"title": peer.title, "language": peer.language, "version": peer.version}
        for peer in roster.everyone()
    }


def images(content: Mapping[str, Any]) -> dict[str, bytes]:
    """A PNG for each part that has something to compare, by the key of the part.

    :raises bench.reporting.plots.NoPlotsError: matplotlib is not installed.
    """
    found = {}
    for part in content["parts"]:
        alone = {"parts": [part]}
        if panels := series.ratio_series(alone) or series.footprint_series(alone) or series.slow_series(alone):
            found[part["key"]] = plots.bars(panels, note_of(panels))
    return found


def note_of(panels: Sequence[series.Series]) -> str:
    """The line below a plot of these."""
    if panels[0].note:
        return panels[0].note
    if any(panel.reference for panel in panels):
        return f"per CPU-second of the server, {panels[0].reference} = 1; median, whiskers: all rounds"
    return "userland bytes of an idle connection; median, whiskers: all batches"


def write_report(content: Mapping[str, Any], result: Path) -> tuple[list[Path], str]:
    """Write plots and page beside the result file; return their paths, and why there are no plots ("" if there are)."""
    problem = ""
    pictures: dict[str, bytes] = {}
    try:
        pictures = images(content)
    except plots.NoPlotsError as error:
        problem = str(error)
    paths = []
    for key, picture in pictures.items():
        paths.append(result.with_name(f"{result.stem}-{key}.png"))
        paths[-1].write_bytes(picture)
    html = result.with_suffix(".html")
    html.write_text(page.render(content, pictures), encoding="utf-8")
    return [*paths, html], problem
