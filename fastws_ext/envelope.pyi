from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

def publication_in(
    envelope: bytes, make: Callable[[bytes, int, int, str | None, str, str], _T]
) -> tuple[_T, str, str] | None:
    """The publication in an envelope, the connection that shall not hear it, and its epoch; None if it is damaged, or
    no publication of a version that is known.

    :param make: called with data, milliseconds, offset, user, connection, and the connection that shall not hear it.
    """

def publications_in(
    envelope: bytes, make: Callable[[bytes, int, int, str | None, str, str], _T]
) -> list[tuple[_T, str, str]] | None:
    """The publications in a batch, whose kind was looked at already; None if anything in it is damaged."""
