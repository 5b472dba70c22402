"""The targets: each module has a pure function `run(data)` that raises when an invariant is broken.

Beside it each has `WORDS`, which inputs are made of, `MAX_BYTES`, the longest input worth trying, and `seeds()`, inputs
by name that together go everywhere. What a byte of the input means stands in the module's docstring.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

NAMES = (
    "heads",
    "upgrade",
    "frames",
    "inflate",
    "json_commands",
    "msgpack_commands",
    "proxies",
    "topics",
    "config",
    "tokens",
    "envelopes",
    "redis_answers",
    "redis_topics",
)


class Target(Protocol):
    """What a module of this folder is."""

    WORDS: Sequence[bytes]
    MAX_BYTES: int

    def run(self, data: bytes) -> None:
        """Feed one input. Raises, whatever it is, for a finding."""

    def seeds(self) -> Mapping[str, bytes]:
        """Inputs by name."""


def load(name: str) -> Target:
    """Import a target."""
    if name not in NAMES:
        raise ValueError(f"there is no target {name!r}; there are {', '.join(NAMES)}")
    return cast("Target", import_module(f"tests.fuzz.targets.{name}"))
