"""Fan-out of the load engine: everything once and in order is right, whatever it is wrapped in; else it has failed."""

import json
import threading

import pytest

from bench.load import Load, LoadError, LoadResult
from tests.bench.engine.spreading import Spread, head, spreading_server, text
from tests.bench.windows import with_messages

SHORT = {"connections": 4, "seconds": 0.3, "warmup": 0.0, "publish_path": "/publish", "text": True}


def run(port: int, **options: float | str | bool) -> LoadResult:
    with Load("fanout", port, options={**SHORT, **options}) as load:
        return load.finish(30.0)


def spread_by(spread: Spread, piece: int = 65536, **options: float | str | bool) -> LoadResult:
    """A run with at least one delivery and nothing wrong, each attempt at a server of its own."""

    def measured(seconds: float) -> LoadResult:
        with spreading_server(spread, piece) as server:
            return run(server.port, **options, seconds=seconds)

    result = with_messages(measured).check()
    assert result.run.messages > 0
    return result


def plainly(_: int, __: int, payload: bytes) -> bytes:
    return text(payload)


@pytest.mark.parametrize("options", [{}, {"burst": 10}, {"processes": 3, "connections": 10, "burst": 3}, {"size": 24}])
def test_deliveries_are_counted(options: dict[str, int]) -> None:
    published: list[bytes] = []

    def measured(seconds: float) -> LoadResult:
        with spreading_server(plainly) as server:
            result = run(server.port, **options, seconds=seconds)
        published[:] = server.published
        return result

    result = with_messages(measured).check()
    connections, burst = options.get("connections", 4), options.get("burst", 1)
    assert result.connected == connections
    assert 0 < result.run.messages <= connections * len(published)
    # One burst may be on its way at either end of the window.
    assert abs(result.run.messages - result.run.latency.count * connections * burst) <= 2 * connections * burst
    assert len(set(published)) == len(published)
    assert all(len(payload) == options.get("size", 128) for payload in published)


def test_the_publisher_may_be_at_another_server() -> None:
    with spreading_server(plainly) as server, spreading_server(plainly) as other:
        with pytest.raises(LoadError, match="--publish-port"):
            run(server.port, publish_port=70000)
        result = run(server.port, publish_port=other.port, connect_seconds=1.0)
        assert result.failures["all"]
        assert other.published
        assert not server.published


def test_publications_and_subscriptions_are_as_told() -> None:
    template = {"cmd": "pub", "data": "{payload}"}
    with spreading_server(plainly) as server:
        run(server.port, publish=json.dumps(template), subscribe="hear").check()
        assert server.said == [b"hear"] * 4
        for message in server.published:
            assert len(json.loads(message)["data"]) == 128


def in_frames_of_a_message(_: int, __: int, payload: bytes) -> bytes:
    return head(0x01, 5) + payload[:5] + head(0x00, 90) + payload[5:95] + b"\x89\x02hi" + head(0x80, 33) + payload[95:]


def in_two_messages(_: int, __: int, payload: bytes) -> bytes:
    return text(payload[:60]) + text(payload[60:])


def wrapped(_: int, number: int, payload: bytes) -> bytes:
    return text(b'{"offset":%d,"data":"' % number + payload + b'"}')


def joined() -> Spread:
    """The first alone, then always two in a message."""
    waiting: dict[int, bytes] = {}

    def spread(subscriber: int, number: int, payload: bytes) -> bytes:
        if number % 2:
            waiting[subscriber] = payload
            return b""
        if number == 0:
            waiting.pop(subscriber, None)  # of another run
        return text(waiting.pop(subscriber, b"") + b"\n" + payload)

    return spread


@pytest.mark.parametrize("piece", [65536, 7])
@pytest.mark.parametrize(
    "spread", [plainly, in_frames_of_a_message, in_two_messages, wrapped, joined()], ids=lambda spread: spread.__name__
)
def test_publications_are_found_wherever_they_stand(spread: Spread, piece: int) -> None:
    assert spread_by(spread, piece, burst=2).connected == 4


def test_what_only_begins_like_a_publication_is_none() -> None:
    def spread(subscriber: int, number: int, payload: bytes) -> bytes:
        return text(b"~~" + payload[:5] + b"~ ~" + payload + b"~") + text(b"none" * 40)

    assert spread_by(spread, 11).connected == 4


def test_pings_are_answered() -> None:
    said: list[bytes] = []

    def measured(seconds: float) -> LoadResult:
        with spreading_server(in_frames_of_a_message) as server:
            result = run(server.port, seconds=seconds)
        said[:] = server.said
        return result

    result = with_messages(measured).check()
    assert result.pings >= result.run.messages > 0
    assert set(said) == {b"hi"}


def test_late_subscribers_are_waited_for() -> None:
    def spread(subscriber: int, number: int, payload: bytes) -> bytes:
        return text(payload) if number >= subscriber else b""

    assert spread_by(spread).connected == 4


def except_once(at: int, wrong: Spread) -> Spread:
    """Plainly, but the third subscriber gets publication `at` as `wrong` says."""

    def spread(subscriber: int, number: int, payload: bytes) -> bytes | None:
        return (wrong if (subscriber, number) == (2, at) else plainly)(subscriber, number, payload)

    return spread


def swapped() -> Spread:
    """Two publications change places, for one subscriber."""
    waiting: list[bytes] = []

    def spread(subscriber: int, number: int, payload: bytes) -> bytes:
        if (subscriber, number) == (1, 5):
            waiting.append(payload)
            return b""
        return text(payload) + (text(waiting.pop()) if subscriber == 1 and waiting else b"")

    return spread


@pytest.mark.parametrize(
    ("spread", "failure"),
    [
        (except_once(5, lambda _, __, ___: b""), "lost"),
        (except_once(5, lambda _, __, payload: text(payload) * 2), "repeated"),
        (except_once(5, lambda _, __, payload: text(payload[:-1] + b"!")), "bad_payload"),
        (except_once(5, lambda _, __, payload: text(payload[:8] + b"9" + payload[9:])), "bad_payload"),
        (except_once(5, lambda _, __, payload: head(0x82, 129) + payload + b"\x7f" + b"\x88\x00"), "closed_early"),
        (except_once(5, lambda _, __, ___: b"\xf1\x00"), "bad_frame"),
        (except_once(5, lambda _, __, ___: None), "closed_early"),
        (swapped(), "lost"),
    ],
    ids=["lost", "doubled", "content", "number", "close frame", "reserved bits", "end of stream", "swapped"],
)
def test_what_goes_wrong_is_a_failure(spread: Spread, failure: str) -> None:
    with spreading_server(spread) as server:
        result = run(server.port, burst=10, seconds=5)
    assert result.failures[failure] == 1, result.failures
    with pytest.raises(LoadError, match="connection"):
        result.check()


def test_what_never_comes_is_a_failure() -> None:
    def spread(subscriber: int, number: int, payload: bytes) -> bytes:
        return b"" if subscriber == 3 and number >= 7 else text(payload)

    with spreading_server(spread) as server:
        result = run(server.port, burst=4)
        assert result.failures["unanswered"] == len(server.published) - 7
        assert result.run.messages < 4 * len(server.published)


def test_the_last_burst_counts_however_long_it_takes() -> None:
    held_from: list[int] = []
    go_on = threading.Event()

    def spread(_: int, number: int, payload: bytes) -> bytes:
        if held_from and number == held_from[0]:
            threading.Timer(1.2, go_on.set).start()  # longer than the window
            go_on.wait(20.0)
            held_from.clear()
        return text(payload)

    options = {**SHORT, "connections": 1, "seconds": 1.0}
    with spreading_server(spread) as server, Load("fanout", server.port, options=options) as load:
        assert load.wait_measuring()
        held_from.append(len(server.published) + 10)
        result = load.finish(30.0).check()
    assert result.run.latency.max >= 1.1e6
    assert result.run.latency.count >= 10


def test_who_hears_nothing_is_a_failure_with_its_last_word() -> None:
    def spread(subscriber: int, number: int, payload: bytes) -> bytes:
        return text(b"refused") if subscriber == 3 else text(payload)

    with spreading_server(spread) as server:
        result = run(server.port, connect_seconds=0.5)
    assert result.failures["all"] == result.failures["unanswered"] == 1
    assert "refused" in result.first_failure


@pytest.mark.parametrize(
    "wrong", [{"publish": "nothing"}, {"publish": "{payload}{payload}"}, {"size": 23}, {"burst": 0}, {"burst": 257}]
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, float | str]) -> None:
    with pytest.raises(LoadError, match=next(iter(wrong))):
        run(1, **wrong)


def test_subscriptions_belong_to_modes_that_send_nothing() -> None:
    with Load("echo", 1, options={"subscribe": "x"}) as load, pytest.raises(LoadError, match="subscribe"):
        load.finish()
