"""How many connections a user may have, where one process is all that counts."""

from __future__ import annotations

from collections.abc import Sequence

from fastws.closes import REPLACED
from fastws.engine.contract import DISCONNECT, Admission, Cap, EngineEvents, Order
from fastws.types import DEFAULT_DEVICE, SessionInfo


def who_goes(sessions: Sequence[SessionInfo], device: str, cap: Cap) -> Sequence[str] | None:
    """Of a user's connections, oldest first, those that go for a new one with this device; None: it is refused."""
    if not cap.replaces:
        return None if cap.limit and len(sessions) >= cap.limit else ()
    same = [one.conn for one in sessions if device not in ("", DEFAULT_DEVICE) and one.device == device]
    others = [one.conn for one in sessions if one.conn not in same]
    too_many = len(others) + 1 - cap.limit if cap.limit else 0
    return [*same, *others[: max(0, too_many)]]


def admitted_here(events: EngineEvents, user: str, conn: str, device: str, cap: Cap) -> Admission:
    """Judge by the connections of this process, and close those that go."""
    others = [one for one in events.sessions_of(user) if one.conn != conn]
    going = who_goes(others, device, cap)
    if going is None:
        return Admission(admitted=False)
    for one in going:
        events.on_order(Order(DISCONNECT, conn=one, code=REPLACED.code, reason=REPLACED.reason))
    return Admission(admitted=True, replaced=going)
