"""What was to be reached is found in a result file, and judged."""

from bench.reporting import targets
from tests.bench.reporting.sample import content


def test_a_verdict_for_each_figure_that_was_measured() -> None:
    rows = {(row[0], row[1]): (row[2], row[4]) for row in targets.verdicts(content()).rows}
    assert rows == {
        ("echo", "fastws / c_epoll per CPU-s"): (">= 0.9", "yes"),
        ("echo", "fastws / picows per CPU-s"): (">= 1", "yes"),
        ("fanout-1000x10", "fastws / c_epoll per CPU-s"): (">= 0.9", "NO"),
        ("fanout-1000x10", "fastws / gin_gorilla per CPU-s"): (">= 5", "yes"),
        ("footprint", "fastws: B/connection"): ("<= 350", "yes"),
        ("footprint", "fastws gateway: B/connection"): ("<= 700", "NO"),
        ("fanout-1000x10", "a bystander's p99, ms"): ("<= 5", "NO"),
    }


def test_nothing_measured_nothing_judged() -> None:
    assert targets.verdicts({"parts": []}).rows == []
