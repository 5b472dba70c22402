"""What goes wrong between this process and a Redis server.

::

    EngineError
    ├── ReplyError       the server answered with an error: what was asked was not done
    │   └── MovedError   it is another server's to do, of the same cluster
    ├── AwayError        the link broke, or is not there: nobody knows whether it was done
    │   └── AbsentError  nobody listens where the server should be
    ├── BusyError        the server does not keep up: nothing was sent
    └── ReplicasError    it was done, but at fewer replicas than there shall be
"""

from __future__ import annotations

from typing import Final

from fastws.errors import EngineError

_MAX_TEXT: Final = 200

_HINTS: Final = {
    "NOAUTH": "it wants a password: write it into the URL, redis://:PASSWORD@host",
    "WRONGPASS": "it does not know this user or password: check those in the URL",
    "NOPERM": "its user may not do this: grant it in the access list of Redis",
    "OOM": "it has used the memory that it may have: raise maxmemory, or keep less",
    "MISCONF": "it cannot write to its disk and takes no more writes until it can",
    "READONLY": "it is a replica",
    "LOADING": "it still reads its data",
    "MASTERDOWN": "it is a replica without a master",
    "BUSY": "a script has kept it busy for too long",
    "NOREPLICAS": "too few of its replicas are connected",
    "CLUSTERDOWN": "a part of its cluster is down",
    "UNBLOCKED": "it has changed its role",
    "DENIED": "it is in protected mode: set a password, or connect over loopback",
}

_LASTING: Final = frozenset({"NOAUTH", "WRONGPASS", "NOPERM", "DENIED", "WRONGTYPE"})
"""Errors that do not pass by themselves."""

NO_MASTER: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED"})
"""Who answers so is no master, or not yet: the link to it is of no use."""

ELSEWHERE: Final = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"})
"""What a member of a cluster answers who has done nothing, though another one may, or the same soon."""


class ReplyError(EngineError):
    """What was asked was refused. `code` is the first word of the answer in capitals, such as `OOM`; else `ERR`."""

    def __init__(self, code: str, text: str) -> None:
        """`text` is what the server said, made safe to show."""
        self.code = code
        self.text = text
        hint = _HINTS.get(code)
        super().__init__(
            f"Redis refused: {text} ({hint})" if hint else f"Redis refused: {text}", temporary=code not in _LASTING
        )


class MovedError(ReplyError):
    """The keys of a command are another server's. `is_ask`: only this command shall go there, after `ASKING`."""

    def __init__(self, code: str, text: str, slot: int, host: str, port: int) -> None:
        """`host` is empty for the one that answered."""
        super().__init__(code, text)
        self.is_ask = code == "ASK"
        self.slot = slot
        self.host = host
        self.port = port


class AwayError(EngineError):
    """The server is away, or went away before it answered."""


class AbsentError(AwayError):
    """Nobody listens at the address of the server, which its machine has said at once."""


class BusyError(EngineError):
    """More waits for the server than may."""


class ReplicasError(EngineError):
    """What was written is at the server, and not at as many replicas as it shall be: a failover may lose it."""

    told_to_clients = "it was stored, but may get lost yet: with the same key it may be repeated"


def safe_text(text: str) -> str:
    """The same on one line, bounded, and without what does not print."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[: _MAX_TEXT + 1])
    return shown if len(shown) <= _MAX_TEXT else shown[:_MAX_TEXT] + "..."


def reply_error(text: str) -> ReplyError:
    """The error for an answer of a server that says one, without its minus sign."""
    word, _, rest = text.partition(" ")
    code = word if word.isascii() and word.isalpha() and word.isupper() and len(word) <= 20 else "ERR"
    shown = safe_text(text)
    if code in {"MOVED", "ASK"}:
        moved = _moved(rest)
        if moved is not None:
            return MovedError(code, shown, *moved)
    return ReplyError(code, shown)


def _moved(rest: str) -> tuple[int, str, int] | None:
    """Slot, host and port, of "3999 127.0.0.1:6381"."""
    slot, _, place = rest.partition(" ")
    host, _, port = place.rpartition(":")
    if not (_is_number(slot, 16383) and _is_number(port, 65535)) or len(host) > 255:
        return None
    return int(slot), host.removeprefix("[").removesuffix("]"), int(port)


def _is_number(text: str, largest: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= largest
