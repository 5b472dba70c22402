"""The footprint scenario on few connections, and what it computes."""

import pytest

from bench import measure, servers
from bench.load import LoadError
from bench.report import PlainProgress
from bench.scenarios import footprint


def test_batches_of_a_peer() -> None:
    options = footprint.FootprintOptions(connections=300, batches=2, servers=["c_epoll"])
    table, results = footprint.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["c_epoll"]
    batches = results["servers"]["c_epoll"]["batches"]
    assert len(batches) == 2
    for batch in batches:
        assert batch["connections"] == 300
        assert batch["pss_open"] > 0
        assert batch["per_connection"] == (batch["pss_open"] - batches[0]["pss_before"]) / 300


def test_connections_of_the_gateway_are_subscribed_and_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "GATEWAY_PING_S", 0.2)
    options = footprint.FootprintOptions(connections=200, batches=1, servers=[footprint.GATEWAY])
    table, results = footprint.run(options, PlainProgress())
    (batch,) = results["servers"][footprint.GATEWAY]["batches"]
    assert batch["connections"] == 200
    assert any("hears a topic" in note for note in table.notes)


def test_more_than_the_descriptors_allow_are_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "descriptor_limit", lambda: footprint.SERVER_SPARE + 50)
    options = footprint.FootprintOptions(connections=300, batches=1, servers=["c_epoll"])
    table, results = footprint.run(options, PlainProgress())
    assert results["servers"]["c_epoll"]["batches"][0]["connections"] == 50
    assert any("300 do not fit" in note for note in table.notes)


def test_a_peer_that_fails_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = servers.peer
    monkeypatch.setattr(
        servers, "peer", lambda name: servers.Server(name, ["false"]) if name == "websockets" else whole(name)
    )
    options = footprint.FootprintOptions(connections=50, batches=1, servers=["websockets", "c_epoll"])
    table, results = footprint.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["c_epoll"]
    assert "does not listen" in results["failures"]["websockets"]
    assert any(note.startswith("websockets failed: websockets: false does not listen") for note in table.notes)


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
