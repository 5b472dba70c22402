"""How a setting is declared: one dataclass field that carries all that option, variable, file and docs need."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from fastws.config.values import LARGEST, Check, Choice, Duration, Flag, Integer, Items, Kind, Text

Value = TypeVar("Value")

_METADATA_KEY = "option"


@dataclass(frozen=True)
class Option:
    """One setting. Everything that is derived from it is a property here, so that it cannot differ anywhere."""

    name: str
    group: str
    kind: Kind
    help: str
    default: object
    default_text: str
    """How the default is shown; it may depend on the machine."""
    secret: bool
    argument: bool
    """True for MODULE:APP, which is an argument of the command and no option."""
    in_file: bool
    """False for what cannot be said in the file, its own path."""

    @property
    def flag(self) -> str:
        """What it is called on the command line."""
        return "MODULE:APP" if self.argument else f"--{self.name.replace('_', '-')}"

    @property
    def shown_flag(self) -> str:
        """The same with its opposite, where there is one."""
        return f"{self.flag}/--no-{self.flag[2:]}" if isinstance(self.kind, Flag) else self.flag

    @property
    def variable(self) -> str:
        """What it is called in the environment."""
        return f"FASTWS_{self.name.upper()}"

    @property
    def key(self) -> str:
        """What it is called in the file."""
        return f"{self.group}.{self.name}"


@dataclass(frozen=True)
class Group:
    """A section of `--help` and a table of the file; its methods declare fields of `Settings`.

    They return dataclass fields, typed as the value that the attribute will have.
    """

    name: str
    title: str

    def text(
        self,
        default: str,
        about: str,
        *,
        check: Check | None = None,
        metavar: str = "TEXT",
        shown: str | None = None,
    ) -> str:
        """A text that always has a value; `shown` describes a default that depends on the machine."""
        return self._field(Text(metavar, check), default, about, shown=shown)

    def optional(
        self,
        about: str,
        *,
        check: Check | None = None,
        metavar: str = "TEXT",
        secret: bool = False,
        argument: bool = False,
        in_file: bool = True,
        shown: str = "",
    ) -> str | None:
        """A text that is None unless it is set; `secret` ones are never shown."""
        default: str | None = None
        return self._field(
            Text(metavar, check), default, about, secret=secret, argument=argument, in_file=in_file, shown=shown
        )

    def integer(
        self,
        default: int,
        about: str,
        *,
        minimum: int = 0,
        maximum: int = LARGEST,
        unit: str = "",
        metavar: str = "N",
        words: Mapping[str, Callable[[], int]] | None = None,
    ) -> int:
        """A whole number; 0 means unlimited for a limit or rate."""
        kind = Integer(minimum, maximum, metavar, unit, words or {})
        return self._field(kind, default, about)

    def duration(self, default: float, about: str, *, minimum: float = 0.0, maximum: float = float("inf")) -> float:
        """Seconds; 0 means off for an interval or a timeout, where it is allowed."""
        return self._field(Duration(minimum=minimum, maximum=maximum), default, about)

    def flag(self, default: bool, about: str) -> bool:
        """On or off."""
        return self._field(Flag(), default, about)

    def choice(self, default: str, words: tuple[str, ...], about: str) -> str:
        """One of a few words, always with a value."""
        return self._field(Choice(words), default, about)

    def optional_choice(self, words: tuple[str, ...], about: str, *, shown: str) -> str | None:
        """One of a few words, None unless it is set."""
        default: str | None = None
        return self._field(Choice(words), default, about, shown=shown)

    def items(
        self, default: tuple[str, ...], about: str, *, check: Check, metavar: str, shown: str | None = None
    ) -> tuple[str, ...]:
        """A list of texts."""
        return self._field(Items(metavar, check), default, about, shown=shown)

    def _field(
        self,
        kind: Kind,
        default: Value,
        about: str,
        *,
        shown: str | None = None,
        secret: bool = False,
        argument: bool = False,
        in_file: bool = True,
    ) -> Value:
        if shown is None:
            shown = _shown(default)
        metadata = {_METADATA_KEY: Option("", self.name, kind, about, default, shown, secret, argument, in_file)}
        return field(default=default, metadata=metadata)


def options_of(settings: type) -> dict[str, Option]:
    """Return the declared options of a settings class by name, in the order of their declaration."""
    return {
        declared.name: dataclasses.replace(declared.metadata[_METADATA_KEY], name=declared.name)
        for declared in dataclasses.fields(settings)
        if _METADATA_KEY in declared.metadata
    }


def _shown(default: object) -> str:
    match default:
        case bool():
            return "on" if default else "off"
        case float():
            return f"{default:g}"
        case tuple():
            return ",".join(default)
        case _:
            return str(default)
