"""The footprint scenario on a server whose connections cost next to nothing, and what it computes."""

import pytest

from bench import measure, servers
from bench.load import LoadError
from bench.report import PlainProgress
from bench.scenarios import footprint


def test_batches_of_a_peer() -> None:
    options = footprint.FootprintOptions(connections=300, batches=2, server="c_epoll")
    table, results = footprint.run(options, PlainProgress())
    assert len(table.rows) == 2
    for batch in results["batches"]:
        assert batch["connections"] == 300
        assert batch["pss_open"] > 0
        assert batch["per_connection"] == (batch["pss_open"] - results["batches"][0]["pss_before"]) / 300


def test_more_than_the_descriptors_allow_are_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "descriptor_limit", lambda: footprint.SERVER_SPARE + 50)
    options = footprint.FootprintOptions(connections=300, batches=1, server="c_epoll")
    table, results = footprint.run(options, PlainProgress())
    assert results["batches"][0]["connections"] == 50
    assert any("300 do not fit" in note for note in table.notes)


def test_later_batches_are_compared_with_the_first_base() -> None:
    batch = footprint.Batch(100, pss_before=5_000, pss_open=6_000, pss_closed=5_000, slab_before=0, slab_open=20_000)
    assert batch.per_connection(base=1_000) == 50
    assert batch.slab_per_socket == 100


def test_connections_that_do_not_open_are_an_error() -> None:
    server = servers.peer("c_epoll")
    with server:
        server.port, port = 1, server.port
        with pytest.raises(LoadError):
            footprint.open_and_close(server, 10)
        server.port = port
