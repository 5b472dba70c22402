"""Kinds of setting values: how each is read from text or TOML, checked, and written back.

Every kind raises `ValueError` with a sentence that fits behind the name of the setting ("must be ...").
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

LARGEST = 2**31 - 1
"""Largest number of any count or size: the compiled part keeps them in C ints."""

LONGEST_S = 365 * 24 * 3600.0
"""Longest duration, seconds: one year."""

_DURATION = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
_CONTROL = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TRUTH = {"true": True, "1": True, "false": False, "0": False}

Check = Callable[[str], str | None]
"""Looks at one text and returns what is wrong with it, or None."""


class WrongValueError(ValueError):
    """The value cannot be taken; the message is a sentence that fits behind the name of the setting."""


class Kind(Protocol):
    """What a setting may be."""

    @property
    def metavar(self) -> str:
        """The placeholder of the value in `--help`; empty for a flag."""

    @property
    def described(self) -> str:
        """The type and its bounds for the documentation."""

    def read(self, raw: object) -> object:
        """Turn text, or a value that TOML has read, into the value; raise `ValueError` saying what it must be."""


@dataclass(frozen=True)
class Text:
    """A text; `check` may refuse it."""

    metavar: str = "TEXT"
    check: Check | None = None
    described: str = "text"

    def read(self, raw: object) -> str:
        if not isinstance(raw, str):
            raise WrongValueError("must be a text in quotes")
        problem = self.check(raw) if self.check is not None else None
        if problem is not None:
            raise WrongValueError(problem)
        return raw


@dataclass(frozen=True)
class Integer:
    """A whole number from `minimum` to `maximum`; `words` are texts that stand for a number found at run time."""

    minimum: int = 0
    maximum: int = LARGEST
    metavar: str = "N"
    unit: str = ""
    """What is counted, for the documentation."""
    words: Mapping[str, Callable[[], int]] = field(default_factory=dict)

    @property
    def described(self) -> str:
        bounds = f"≥ {self.minimum}" if self.maximum == LARGEST else f"{self.minimum} to {self.maximum}"
        words = "".join(f" or `{word}`" for word in self.words)
        return f"{self.unit or 'number'}, {bounds}{words}"

    def read(self, raw: object) -> int:
        if isinstance(raw, str) and raw in self.words:
            return self.words[raw]()
        if isinstance(raw, str) and _INTEGER.fullmatch(raw) and len(raw) < 20:
            raw = int(raw)
        if not isinstance(raw, int) or isinstance(raw, bool):
            raise WrongValueError("must be a whole number" + "".join(f" or {word}" for word in self.words))
        if raw < self.minimum:
            raise WrongValueError(f"must be at least {self.minimum}")
        if raw > self.maximum:
            raise WrongValueError(f"must be at most {self.maximum}")
        return raw


@dataclass(frozen=True)
class Duration:
    """Seconds as a number, or a text such as `500ms`, `10m`, `1h`."""

    metavar: str = "SECONDS"
    minimum: float = 0.0
    maximum: float = float("inf")
    """Seconds; both may be reached."""

    @property
    def described(self) -> str:
        bounds = f", {self.minimum:g} to {self.maximum:g}" if self.maximum < float("inf") else ""
        return f"seconds, or `500ms` `10m` `1h`{bounds}"

    def read(self, raw: object) -> float:
        seconds = read_duration(raw)
        if not self.minimum <= seconds <= self.maximum:
            raise WrongValueError(f"must be from {self.minimum:g} to {self.maximum:g} seconds")
        return seconds


@dataclass(frozen=True)
class Flag:
    """On or off: `--x` and `--no-x`; elsewhere true, false, 1 or 0."""

    metavar: str = ""
    described: str = "`true` or `false`"

    def read(self, raw: object) -> bool:
        if isinstance(raw, bool):
            return raw
        truth = _TRUTH.get(raw.lower() if isinstance(raw, str) else str(raw))
        if truth is None:
            raise WrongValueError("must be true, false, 1 or 0")
        return truth


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        return "|".join(self.words)

    @property
    def described(self) -> str:
        return ", ".join(f"`{word}`" for word in self.words)

    def read(self, raw: object) -> str:
        if not isinstance(raw, str) or raw not in self.words:
            raise WrongValueError(f"must be one of {', '.join(self.words)}")
        return raw


@dataclass(frozen=True)
class Items:
    """A list of texts: a TOML array, comma separated elsewhere. Blanks around an item do not count."""

    metavar: str
    check: Check
    described: str = "list"

    def read(self, raw: object) -> tuple[str, ...]:
        parts = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise WrongValueError("must be a list of texts")
        items = tuple(stripped for part in parts if (stripped := part.strip()))
        for item in items:
            problem = self.check(item)
            if problem is not None:
                raise WrongValueError(problem)
        return items


def read_duration(raw: object) -> float:
    """Return seconds from a number of seconds or a text such as `500ms`; 0 to one year."""
    if isinstance(raw, str) and (match := _DURATION.fullmatch(raw.strip())):
        seconds = float(match[1]) * _UNIT_S[match[2] or "s"]
    elif isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        seconds = float(raw)
    else:
        raise WrongValueError("must be a number of seconds, or a number with ms, s, m, h or d")
    if seconds < 0:
        raise WrongValueError("must not be negative")
    if seconds > LONGEST_S:
        raise WrongValueError("must be at most 365d")
    return seconds


def to_toml(value: object) -> str:
    """Write a value as one line of TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(to_toml(item) for item in value)}]"
    # JSON's escapes of a text are TOML's too, except for pairs of surrogates; DEL and C1 are forbidden or unsafe
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def printable(name: str) -> str:
    """Return a name as it may stand in a message: escaped if it has anything in it that cannot be seen."""
    return name if name.isprintable() else ascii(name)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that looks most like `name`; there must be at least one."""
    return max(known, key=lambda candidate: difflib.SequenceMatcher(None, name, candidate).ratio())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error sentence that names the nearest known one."""
    return f"; the nearest known is {nearest(name, known)!r}"
