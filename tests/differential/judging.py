"""How the law judges bytes, in any pieces."""

from collections.abc import Iterable, Iterator

from fastws.core.law import Event, Law
from fastws.errors import ProtocolViolation


def bytewise(data: bytes) -> Iterator[bytes]:
    """Cut into single bytes."""
    return (data[i : i + 1] for i in range(len(data)))


def judge(law: Law, pieces: Iterable[bytes]) -> tuple[list[Event], int, int]:
    """Feed pieces; the events, the code of the violation (0 for none) and how many bytes were taken when it came."""
    events: list[Event] = []
    taken = 0
    for piece in pieces:
        taken += len(piece)
        try:
            events += law.receive_data(piece)
        except ProtocolViolation as violation:
            return events + law.events_before, violation.code, taken
    return events, 0, taken
