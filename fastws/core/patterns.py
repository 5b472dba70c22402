"""Patterns of topics, as rules and hooks of applications are registered for: `chat:{room}`.

`{room}` stands for one or more characters except a colon, everything else for itself. A table finds what matches a
topic in steps from colon to colon, so that thousands of patterns cost little more than one.

Topics come from clients: matching takes time in proportion to their length, whatever the pattern. Where several
parameters share the text between two colons, each takes as little as it can, and the last one the rest; that finds a
match wherever there is one, and never goes back (the classic argument about wildcards).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from keyword import iskeyword
from typing import Any, Final, Generic, NamedTuple, TypeVar

from fastws.core.topics import MAX_TOPIC_BYTES, topic_problem
from fastws.errors import UsageError

T = TypeVar("T")

_PARAMETER: Final = re.compile(r"\{([^{}]*)\}")
_ANYTHING: Final = "{}"  # the shape of a segment that is one parameter


class _Segment(NamedTuple):
    """What stands between two colons."""

    shape: str
    """The same for segments that match the same; with braces in it unless it is a literal."""
    names: tuple[str, ...]
    match: Callable[[str], re.Match[str] | None]


class Pattern:
    """One pattern, compiled. Make it with `compile_pattern`."""

    __slots__ = ("_places", "literal_length", "names", "segments", "shape", "text")

    def __init__(self, text: str, segments: tuple[_Segment, ...]) -> None:
        self.text = text
        """As it was written."""
        self.segments = segments
        self.names = tuple(name for segment in segments for name in segment.names)
        """Of its parameters, in their order."""
        self.shape = ":".join(segment.shape for segment in segments)
        """The same for patterns that match the same topics."""
        self.literal_length = len(_PARAMETER.sub("", text))
        """Characters that stand for themselves; the more, the more specific."""
        whole = all(segment.shape == _ANYTHING for segment in segments if segment.names)
        self._places = [(s.names[0], place) for place, s in enumerate(segments) if s.names] if whole else None
        """Where each parameter is, if all of them fill what stands between two colons."""

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def parameters(self, parts: list[str]) -> dict[str, str]:
        """The values of the parameters in a topic that matches, given what stands between its colons."""
        if self._places is not None:
            return {name: parts[place] for name, place in self._places}
        found: dict[str, str] = {}
        for segment, part in zip(self.segments, parts, strict=True):
            if segment.names and (match := segment.match(part)) is not None:
                found.update(match.groupdict())
        return found


def compile_pattern(text: Any) -> Pattern:
    """Compile a pattern. Raises `UsageError` for one that cannot be, or that no topic can match."""
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is no pattern of topics", 'write a text such as "chat:{room}"')
    if not text:
        raise UsageError("an empty pattern matches no topic", 'write "{topic}" for every topic without a colon')
    _check_names(text)
    # The shortest topic that would match.
    shortest = _PARAMETER.sub("x", text)
    problem = topic_problem(shortest)
    if problem is not None:
        raise UsageError(f"no topic can match {text!r}: {problem} (at most {MAX_TOPIC_BYTES} bytes)")
    if text.endswith("*"):
        raise UsageError(
            f"the asterisk in {text!r} stands for itself here, not for anything",
            f'write "{text[:-1]}{{name}}": a parameter stands for one or more characters except a colon',
        )
    return Pattern(text, tuple(_segment(part) for part in text.split(":")))


def _check_names(text: str) -> None:
    names: list[str] = _PARAMETER.findall(text)
    if set(_PARAMETER.sub("", text)) & {"{", "}"}:
        raise UsageError(
            f"the braces in {text!r} do not belong together", 'a parameter is written as "{name}", one pair for each'
        )
    for name in names:
        if not name.isidentifier() or iskeyword(name):
            raise UsageError(
                f"{{{name}}} in {text!r} is no name of a parameter",
                "handlers get it by that name: letters, digits and underscores, such as {room}",
            )
        if names.count(name) > 1:
            raise UsageError(f"{{{name}}} stands twice in {text!r}", "give each parameter a name of its own")
    if "}{" in text:
        raise UsageError(
            f"nothing in {text!r} tells where one parameter ends and the next begins",
            'put something between them, such as "{a}-{b}"',
        )


def _segment(part: str) -> _Segment:
    names = tuple(_PARAMETER.findall(part))
    literals = [re.escape(literal) for literal in _PARAMETER.split(part)[::2]]
    # Each parameter but the last ends where what follows it comes first, and never thinks again.
    middle = [f"(?>(?P<{name}>.+?){literal})" for name, literal in zip(names[:-1], literals[1:-1], strict=False)]
    last = f"(?P<{names[-1]}>.+){literals[-1]}" if names else ""
    expression = re.compile(f"{literals[0]}{''.join(middle)}{last}", re.DOTALL)
    return _Segment(_PARAMETER.sub(_ANYTHING, part), names, expression.fullmatch)


class _Node(Generic[T]):
    """Where the patterns are that begin alike."""

    __slots__ = ("entries", "literals", "others")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.others: dict[str, tuple[_Segment, _Node[T]]] = {}
        """Segments with parameters, by their shapes."""
        self.entries: list[tuple[int, Pattern, T]] = []
        """What ends here: (order of registration, pattern, value)."""


class PatternTable(Generic[T]):
    """Values by patterns. The values are what applications registered."""

    def __init__(self) -> None:
        self._size = 0
        self._root: _Node[T] = _Node()

    def __len__(self) -> int:
        return self._size

    def patterns(self) -> list[Pattern]:
        """Every pattern in it, in the order of registration."""
        nodes, found = [self._root], []
        for node in nodes:
            found += node.entries
            nodes += [*node.literals.values(), *(child for _, child in node.others.values())]
        return [pattern for _, pattern, _ in sorted(found, key=lambda entry: entry[0])]

    def add(self, pattern: Pattern, value: T) -> None:
        """Add a value."""
        node = self._root
        for segment in pattern.segments:
            if not segment.names:
                node = node.literals.setdefault(segment.shape, _Node())
            else:
                node = node.others.setdefault(segment.shape, (segment, _Node()))[1]
        node.entries.append((self._size, pattern, value))
        self._size += 1

    def same(self, pattern: Pattern) -> T | None:
        """A value whose pattern matches exactly the same topics, or None."""
        found: _Node[T] | None = self._root
        for segment in pattern.segments:
            if found is None:
                return None
            if not segment.names:
                found = found.literals.get(segment.shape)
            else:
                found = found.others.get(segment.shape, (segment, None))[1]
        return found.entries[0][2] if found is not None and found.entries else None

    def match(self, topic: str) -> tuple[T, dict[str, str]] | None:
        """The value for a topic with the pattern's parameters, or None.

        Of several patterns the one with the most literal characters counts, and of those the first.
        """
        if not self._size:
            return None
        parts = topic.split(":")
        found = self._search(parts)
        if not found:
            return None
        _, pattern, value = found[0] if len(found) == 1 else min(found, key=_precedence)
        return value, pattern.parameters(parts)

    def match_all(self, topic: str) -> list[tuple[T, dict[str, str]]]:
        """Every value whose pattern matches, in the order of registration, each with its parameters."""
        if not self._size:
            return []
        parts = topic.split(":")
        found = sorted(self._search(parts), key=lambda entry: entry[0])
        return [(value, pattern.parameters(parts)) for _, pattern, value in found]

    def _search(self, parts: list[str]) -> list[tuple[int, Pattern, T]]:
        nodes = [self._root]
        for part in parts:
            reached = []
            for node in nodes:
                literal = node.literals.get(part)
                if literal is not None:
                    reached.append(literal)
                for shape, (segment, child) in node.others.items():
                    if part if shape == _ANYTHING else segment.match(part) is not None:
                        reached.append(child)
            nodes = reached
        return nodes[0].entries if len(nodes) == 1 else [entry for node in nodes for entry in node.entries]


def _precedence(entry: tuple[int, Pattern, Any]) -> tuple[int, int]:
    return -entry[1].literal_length, entry[0]
