"""What a document shows against what was really said.

`…` in a text stands for anything. Times are compared by their kind. Names that a server makes up (`conn`, `epoch`) may
be written in any way, but have to be the same thing wherever the page says the same; what the page says back to the
server is translated, `<token of ann>` into the token of the client `ann`.
"""

import re
from typing import Any

TIMES = frozenset({"ts", "timestamp", "server", "expires", "last_seen", "since", "started", "uptime"})
MADE_UP = frozenset({"conn", "epoch"})
ANYTHING = "…"


class Names:
    """What the names of a page are in reality."""

    def __init__(self) -> None:
        self.real: dict[str, str] = {}

    def match(self, shown: Any, said: Any, where: str = "") -> None:
        """Compare; learn the names that are new.

        :raises AssertionError: they differ; the message says at which field.
        """
        field = where.rpartition(".")[2]
        if shown == ANYTHING:
            return
        if isinstance(shown, str):
            assert isinstance(said, str), f"{where}: {said!r} instead of {shown!r}"
            if field in MADE_UP and ANYTHING not in shown:
                assert self.real.setdefault(shown, said) == said, f"{where}: {said!r} is not what {shown!r} was before"
                return
            pattern = ".*".join(re.escape(part) for part in shown.split(ANYTHING))
            assert re.fullmatch(pattern, said, re.DOTALL), f"{where}: {said!r} instead of {shown!r}"
        elif isinstance(shown, dict):
            self._match_fields(shown, said, where)
        elif isinstance(shown, list):
            assert isinstance(said, list), f"{where}: {said!r} instead of {shown!r}"
            assert len(shown) == len(said), f"{where}: {said!r} instead of {shown!r}"
            for number, (one, other) in enumerate(zip(shown, said, strict=True)):
                self.match(one, other, f"{where}[{number}]")
        elif field in TIMES and isinstance(shown, int) and not isinstance(shown, bool):
            assert isinstance(said, int), f"{where}: {said!r} is no time"
        else:
            assert type(shown) is type(said), f"{where}: {said!r} instead of {shown!r}"
            assert shown == said, f"{where}: {said!r} instead of {shown!r}"

    def _match_fields(self, shown: dict[str, Any], said: Any, where: str) -> None:
        """Keys match by name, those that are made up by their values; `"…": "…"` allows fields that are not shown."""
        assert isinstance(said, dict), f"{where}: {said!r} instead of {shown!r}"
        rest = dict(said)
        loose = [key for key in shown if key.startswith(ANYTHING)]
        for key, value in shown.items():
            if key not in loose:
                real = self.real.get(key, key)
                assert real in rest, f"{where}: {said!r} has no {key!r}"
                self.match(value, rest.pop(real), f"{where}.{key}")
        for key in loose:
            if key == ANYTHING and shown[key] == ANYTHING:
                return
            fitting = [real for real, value in rest.items() if self._fits(shown[key], value, where)]
            assert fitting, f"{where}: nothing in {rest!r} is like {shown[key]!r}"
            rest.pop(fitting[0])
        assert not rest, f"{where}: the page does not show {rest!r}"

    def _fits(self, shown: Any, said: Any, where: str) -> bool:
        try:
            self.match(shown, said, where)
        except AssertionError:
            return False
        return True

    def translated(self, shown: Any) -> Any:
        """The same value with the real names in it."""
        if isinstance(shown, str):
            return self.real.get(shown, shown)
        if isinstance(shown, dict):
            return {key: self.translated(value) for key, value in shown.items()}
        if isinstance(shown, list):
            return [self.translated(value) for value in shown]
        return shown
