"""Who goes where a user has too many connections."""

from collections.abc import Sequence

import pytest

from fastws.engine.admission import who_goes
from fastws.engine.contract import Cap
from fastws.types import SessionInfo


def sessions(*devices: str) -> Sequence[SessionInfo]:
    """The oldest first, called a, b, c."""
    return [SessionInfo("abcdef"[at], "u", "", device, "n", at) for at, device in enumerate(devices)]


@pytest.mark.parametrize(
    ("held", "device", "cap", "going"),
    [
        ((), "web", Cap(0, replaces=False), ()),
        (("web", "web"), "web", Cap(0, replaces=False), ()),
        (("web",), "web", Cap(2, replaces=False), ()),
        (("web", "phone"), "web", Cap(2, replaces=False), None),
        (("web", "phone"), "web", Cap(0, replaces=True), ["a"]),
        (("default", "default"), "default", Cap(0, replaces=True), []),
        (("default", "default"), "default", Cap(2, replaces=True), ["a"]),
        (("web", "phone", "tv"), "phone", Cap(3, replaces=True), ["b"]),
        (("web", "phone", "tv"), "phone", Cap(2, replaces=True), ["b", "a"]),
        (("web", "phone", "tv"), "watch", Cap(2, replaces=True), ["a", "b"]),
        (("web",), "watch", Cap(1, replaces=True), ["a"]),
    ],
)
def test_who_goes(held: tuple[str, ...], device: str, cap: Cap, going: Sequence[str] | None) -> None:
    answer = who_goes(sessions(*held), device, cap)
    assert answer == going or (answer is not None and going is not None and list(answer) == list(going))
