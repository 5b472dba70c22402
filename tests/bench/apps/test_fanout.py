"""The application of fan-out is open to everyone, and has an echo beside its topics."""

from bench.apps.fanout import app


def test_topics_are_open_and_the_echo_is_there() -> None:
    assert app.namespaces["default"] == {"subscribe": "all", "publish": "all"}
    assert list(app.raw_routes) == ["/echo"]
