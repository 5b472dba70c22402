"""Figures by scenario and server."""

import pytest

from bench.report import Spread
from bench.reporting import series
from tests.bench.reporting.sample import content, part


def test_ratios_of_parts_and_of_tables_inside_a_part() -> None:
    found = {one.key: one for one in series.ratio_series(content())}
    assert list(found) == ["echo", "connect", "fanout-1000x10", "rooms"]
    assert found["echo"].reference == "c_epoll"
    assert found["echo"].figures["c_epoll"] == Spread(1, 1, 1)
    assert found["fanout-1000x10"].title == "part fanout, 1000x10"
    assert found["fanout-1000x10"].figures["gin_gorilla"].median == 0.1


def test_the_reference_of_a_file_that_does_not_name_it() -> None:
    whole = content()
    del whole["parts"][0]["results"]["reference"]
    assert series.ratio_series(whole)[0].reference == "c_epoll"


def test_variants_are_compared_with_the_plain_echo_of_their_server() -> None:
    to_plain = {
        "fastws": {"median": 1.0, "low": 1.0, "high": 1.0},
        "fastws deflate": {"median": 0.5, "low": 0.4, "high": 0.6},
    }
    whole = {
        "parts": [part("variants", {"rounds": {}, "ratios": {"to_plain": to_plain}, "idle_bytes": {"fastws": 1.0}})]
    }
    (found,) = series.ratio_series(whole)
    assert (found.key, found.figures) == ("variants", {"fastws deflate": Spread(0.5, 0.4, 0.6)})
    assert series.ours_to(whole) == {}


def test_bytes_of_idle_connections() -> None:
    (found,) = series.footprint_series(content())
    assert (found.key, found.reference) == ("footprint", "")
    assert found.figures["fastws"] == Spread(240, 235, 245)


def test_fastws_to_everyone_round_by_round() -> None:
    found = series.ours_to(content())
    assert found["echo"]["picows"] == Spread(pytest.approx(1.4), 1.0, 1.8)
    assert found["connect"] == {"c_epoll": Spread(0.5, 0.5, 0.5)}
    assert "fastws" not in found["echo"]


def test_bystanders_where_there_were_some() -> None:
    assert series.bystander_p99_ms(content()) == {"fanout-1000x10": Spread(7, 7, 7)}


def test_slow_readers_as_others_notice_them_and_as_they_cost() -> None:
    noticed, kept = series.slow_series(content())
    assert (noticed.key, kept.key) == ("slow", "slow")
    assert noticed.figures["c_epoll"] == Spread(3, 3, 3)
    assert kept.figures["fastws conflate"] == Spread(900, 900, 900)
    assert (noticed.reference, kept.reference) == ("all read", "")
    assert "stop reading" in kept.note
