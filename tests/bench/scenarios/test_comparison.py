"""Ratios to the first peer that has results, and of fastws to everyone."""

import pytest

from bench.load import LoadResult, read_result
from bench.report import Spread
from bench.scenarios import turns
from bench.scenarios.comparison import Comparison, cpu_cells, median_of

LATENCY = '{"count":1,"mean":1,"p50":1,"p90":1,"p99":1,"p999":1,"max":1}'
SPAN = '"seconds":2,"messages":%d,"bytes":1,"server_cpu_s":1,"client_cpu_s":0.5'


def result(messages: int) -> LoadResult:
    return read_result(
        '{"mode":"echo","connections":1,"connected":1,"processes":1,"pings":0,'
        f'"connect":{{{SPAN % 0},"handshake_us":{LATENCY}}},"run":{{{SPAN % messages},"latency_us":{LATENCY}}},'
        '"failures":{"all":0},"first_failure":""}'
    )


def compared(peers: list[str], **messages: list[int]) -> Comparison:
    results = {name: [result(one) for one in own] for name, own in messages.items()}
    return Comparison.of(
        results,
        peers,
        {"absent": "does not\nlisten"},
        lambda one: one.run.messages / one.run.server_cpu_s,
        lambda one: one.run.messages / one.run.seconds,
    )


def test_ratios_inside_each_round() -> None:
    comparison = compared(["absent", "limit", "other"], fastws=[90, 40], limit=[100, 50], other=[45, 10])
    assert comparison.reference == "limit"
    assert comparison.by_cpu["fastws"] == Spread(pytest.approx(0.85), 0.8, 0.9)
    assert comparison.by_clock["other"] == Spread(pytest.approx(0.325), 0.2, 0.45)
    assert comparison.ours["other"] == Spread(3, 2, 4)
    assert comparison.ours[turns.OURS] == Spread(1, 1, 1)


def test_without_any_peer_fastws_is_its_own_measure() -> None:
    assert compared(["absent"], fastws=[90]).reference == turns.OURS


def test_notes_name_who_failed_and_who_was_idle() -> None:
    ratio, failure, idle = compared(["absent", "limit"], fastws=[90], limit=[100]).notes(lambda one: one.run)
    assert ratio.startswith("ratios to limit")
    assert failure == "absent failed: does not listen"
    assert "fastws 50%, limit 50%" in idle


def test_the_file_has_everything() -> None:
    content = compared(["limit"], fastws=[90], limit=[100]).as_json()
    assert set(content["ratios"]) == {"per_cpu_second", "per_second", "ours_per_cpu_second"}
    assert content["reference"] == "limit"
    assert content["failures"] == {"absent": "does not\nlisten"}
    assert len(content["rounds"]["limit"]) == 1


def test_medians_and_shares_of_the_time() -> None:
    spans = [result(messages).run for messages in (1, 5, 3)]
    assert median_of(spans, lambda span: span.messages) == 3
    assert cpu_cells(spans) == ["50%", "25%"]
