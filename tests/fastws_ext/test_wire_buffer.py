"""The buffer that transports of the loop read into: one for all connections, and never while it is being read from."""

from collections.abc import Iterator
from typing import Any

import pytest

from fastws_ext.wire import Wire
from tests.fastws_ext.stage import COMMON, HI, HI_ECHOED, RecordingTransport, Stage, staging


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staging() as stage:
        yield stage


def arrive(wire: Wire, data: bytes) -> None:
    """Hand data over as uvloop does."""
    buffer = wire.get_buffer(-1)
    buffer[: len(data)] = data
    wire.buffer_updated(len(data))


def opened(stage: Stage) -> tuple[Wire, RecordingTransport]:
    wire, transport = stage.connect()
    arrive(wire, COMMON)
    assert transport.written.startswith(b"HTTP/1.1 101 ")
    transport.written = b""
    return wire, transport


def test_all_connections_share_it(stage: Stage) -> None:
    (one, _), (other, _) = opened(stage), opened(stage)
    assert one.get_buffer(-1) is other.get_buffer(65536)
    for wire in (one, other):
        wire.abort()
    stage.settle()


def test_what_is_left_of_it_is_kept_elsewhere(stage: Stage) -> None:
    (one, heard), (other, _) = opened(stage), opened(stage)
    arrive(one, HI[:4])
    arrive(other, HI)  # overwrites the buffer
    arrive(one, HI[4:])
    assert heard.written == HI_ECHOED
    for wire in (one, other):
        wire.abort()
    stage.settle()


def test_while_it_is_read_from_others_get_another(stage: Stage) -> None:
    (one, heard), (other, heard_by_other) = opened(stage), opened(stage)
    shared = one.get_buffer(-1)
    nested = False

    def on_message(conn: Any, message: Any) -> None:
        nonlocal nested
        if not nested:
            nested = True
            assert other.get_buffer(-1) is not shared
            arrive(other, HI + HI)
        conn.send(message)

    stage.endpoint.on_message = on_message
    shared[: 2 * len(HI)] = HI + HI
    one.buffer_updated(2 * len(HI))
    stage.settle()
    assert heard.written == HI_ECHOED * 2
    assert heard_by_other.written == HI_ECHOED * 2
    for wire in (one, other):
        wire.abort()
    stage.settle()


def test_replies_to_one_that_is_being_read_reach_no_other(stage: Stage) -> None:
    (one, heard), (other, heard_by_other) = opened(stage), opened(stage)

    def on_message(conn: Any, message: Any) -> None:
        conn.send("one" if conn is one else "other")
        if conn is one:
            arrive(other, HI)

    stage.endpoint.on_message = on_message
    arrive(one, HI)
    stage.settle()
    stage.turn()
    stage.settle()
    assert heard.written == b"\x81\x03one"
    assert heard_by_other.written == b"\x81\x05other"
    for wire in (one, other):
        wire.abort()
    stage.settle()


def test_more_for_a_connection_that_is_being_read_waits(stage: Stage) -> None:
    wire, heard = opened(stage)
    nested = False

    def on_message(conn: Any, message: Any) -> None:
        nonlocal nested
        if not nested:
            nested = True
            arrive(wire, HI)
        conn.send(message)

    stage.endpoint.on_message = on_message
    arrive(wire, HI)
    assert heard.written == HI_ECHOED
    stage.settle()
    stage.turn()
    stage.settle()
    assert heard.written == HI_ECHOED * 2
    wire.abort()
    stage.settle()
