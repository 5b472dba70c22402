"""The footprint scenario on few connections, and what it computes."""

import json
from pathlib import Path

import pytest
from websockets.sync.client import connect

from bench import measure, servers
from bench.load import LoadError
from bench.report import PlainProgress
from bench.scenarios import footprint


def test_batches_of_a_peer() -> None:
    options = footprint.FootprintOptions(connections=300, batches=2, servers=["c_epoll"])
    table, results = footprint.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["c_epoll"]
    few, batches = (results["servers"]["c_epoll"][key] for key in ("few", "batches"))
    assert few["connections"] == 150
    assert len(batches) == 2
    assert any("300 open, less with 150 open" in note for note in table.notes)
    for batch in batches:
        assert batch["connections"] == 300
        assert batch["pss_open"] > 0
        assert batch["per_connection"] == (batch["pss_open"] - few["pss_open"]) / 150


def test_connections_of_the_gateway_are_subscribed_and_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "GATEWAY_PING_S", 0.2)
    names = [footprint.GATEWAY, footprint.AUTHENTICATED]
    options = footprint.FootprintOptions(connections=200, batches=1, servers=names)
    table, results = footprint.run(options, PlainProgress())
    for name in names:
        (batch,) = results["servers"][name]["batches"]
        assert batch["connections"] == 200
    assert any("hears a topic" in note for note in table.notes)
    assert any("each another user" in note for note in table.notes)


def test_each_is_another_user() -> None:
    with footprint.subject_of(footprint.AUTHENTICATED, 3) as subject, subject.server:
        words = Path(str(subject.options["words"]))
        welcomes = []
        for token in words.read_text().splitlines():
            with connect(f"ws://127.0.0.1:{subject.server.port}{subject.path.replace('{word}', token)}") as client:
                welcomes.append(json.loads(client.recv(timeout=20.0)))
    assert [welcome["user"] for welcome in welcomes] == ["user-0000000", "user-0000001", "user-0000002"]
    assert not words.exists()


def test_more_than_the_descriptors_allow_are_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "descriptor_limit", lambda: footprint.SERVER_SPARE + 50)
    options = footprint.FootprintOptions(connections=300, batches=1, servers=["c_epoll"])
    table, results = footprint.run(options, PlainProgress())
    assert results["servers"]["c_epoll"]["batches"][0]["connections"] == 50
    assert results["servers"]["c_epoll"]["few"]["connections"] == 25
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


def batch_of(connections: int, each: int, kept: int = 0) -> footprint.Batch:
    """A batch of a process of 5,000 bytes that has allocated 3,000 once, and keeps something of earlier batches."""
    opened = 8_000 + max(connections * each, kept)
    return footprint.Batch(connections, 5_000 + kept, opened, 8_000, slab_before=0, slab_open=200 * connections)


def test_neither_what_is_allocated_once_counts_nor_does_what_was_kept_make_connections_free() -> None:
    few = batch_of(20, each=50)
    later = [batch_of(100, each=50, kept=kept) for kept in (1_000, 5_000)]
    assert footprint.Batches(few, later).per_connection == [50, 50]
    assert later[0].slab_per_socket == 100


def test_connections_that_do_not_open_are_an_error() -> None:
    server = servers.peer("c_epoll")
    with server:
        server.port, port = 1, server.port
        with pytest.raises(LoadError):
            footprint.open_and_close(server, 10)
        server.port = port
