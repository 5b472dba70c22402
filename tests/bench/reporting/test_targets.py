"""What was to be reached is found in a result file, and judged."""

from bench.reporting import targets
from tests.bench.reporting.sample import compared, content, one, part


def test_a_verdict_for_each_figure_that_was_measured() -> None:
    rows = {(row[0], row[1]): (row[2], row[4]) for row in targets.verdicts(content()).rows}
    assert rows == {
        ("echo", "fastws / c_epoll per CPU-s"): (">= 0.9", "yes"),
        ("echo", "fastws / picows, the best of 1 others in Python per CPU-s"): (">= 1", "yes"),
        ("fanout-1000x10", "fastws / c_epoll per CPU-s"): (">= 0.9", "NO"),
        ("fanout-1000x10", "fastws / gin_gorilla per CPU-s"): (">= 5", "yes"),
        ("footprint", "fastws: B/connection"): ("<= 350", "yes"),
        ("footprint", "fastws authenticated: B/connection"): ("<= 700", "NO"),
        ("fanout-1000x10", "a bystander's p99, ms"): ("<= 5", "NO"),
        ("rooms", "fastws / c_epoll per CPU-s"): (">= 0.9", "yes"),
        ("rooms", "fastws / gin_gorilla, the best of 1 others per CPU-s"): (">= 2", "yes"),
        ("slow", "fastws conflate: p99 of those who read"): ("<= 1.2 x, or <= 5 ms", "yes"),
        ("slow", "fastws conflate: B/stopped reader"): ("<= 65,536", "yes"),
    }


def test_what_a_worker_of_a_cluster_hears() -> None:
    heard = {
        "fastws": [{"messages": 580_000, "cpu_s": 2.0}, {"messages": 1, "cpu_s": 0.0}],
        "fastws, 16 together": [{"messages": 900_000, "cpu_s": 2.0}],
        "redis-py": [{"messages": 1, "cpu_s": 1.0}],
    }
    table = targets.verdicts({"parts": [part("cluster", {"flooded": heard})]})
    assert [(row[1], row[2], row[4]) for row in table.rows] == [
        ("fastws: msg/CPU-s of a worker", ">= 300,000", "NO"),
        ("fastws, 16 together: msg/CPU-s of a worker", ">= 300,000", "yes"),
    ]


def test_nothing_measured_nothing_judged() -> None:
    assert targets.verdicts({"parts": []}).rows == []


def test_of_the_others_the_one_that_is_hardest_to_beat() -> None:
    servers = {"fastws": 90, "c_epoll": 100, "uwebsockets": 60, "gws": 10, "picows": 30}
    echo16 = compared({name: [one(messages)] for name, messages in servers.items()})
    table = targets.verdicts({"parts": [part("echo16", echo16)]})
    assert [(row[1], row[3], row[4]) for row in table.rows] == [
        ("fastws / c_epoll per CPU-s", "0.90 (0.90 to 0.90)", "yes"),
        ("fastws / uwebsockets per CPU-s", "1.50 (1.50 to 1.50)", "NO"),
        ("fastws / picows, the best of 2 others per CPU-s", "3.00 (3.00 to 3.00)", "NO"),
    ]
