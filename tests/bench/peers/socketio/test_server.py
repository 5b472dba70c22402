"""Socket.IO spreads what a plain client publishes, as events in its own protocol."""

import json

from bench import roster
from tests.bench.peers import checks


def test_subscribers_hear_events() -> None:
    facts = roster.read("socketio").fanout
    assert facts is not None
    with (
        checks.running("socketio") as server,
        checks.client(server, facts.path) as subscriber,
        checks.client(server, facts.publish_path) as publisher,
    ):
        welcome = subscriber.recv(timeout=checks.TIMEOUT_S)
        assert isinstance(welcome, str)
        assert welcome[0] == "0"
        assert json.loads(welcome[1:])["upgrades"] == []
        subscriber.send(facts.subscribe)
        joined = subscriber.recv(timeout=checks.TIMEOUT_S)
        assert isinstance(joined, str)
        assert joined[:2] == "40"
        for number in range(20):
            publisher.send(f"number {number}")
        heard = [subscriber.recv(timeout=checks.TIMEOUT_S) for _ in range(20)]
        assert heard == [f'42["publication","number {number}"]' for number in range(20)]


def test_the_engine_hears_everything() -> None:
    with checks.running("socketio") as server:
        checks.spreads_to_the_engine("socketio", server)


def test_rooms() -> None:
    with checks.running("socketio") as server:
        checks.has_rooms("socketio", server)
