"""Declarations: one field is option, variable and key."""

from dataclasses import dataclass

from fastws.config.declare import Group, options_of

GROUP = Group("things", "Things")


@dataclass(frozen=True)
class Example:
    some_limit: int = GROUP.integer(7, "A limit.")
    wait: float = GROUP.duration(2.5, "A pause.")
    on: bool = GROUP.flag(True, "A switch.")
    key: str | None = GROUP.optional("A secret.", secret=True, shown="nothing")
    names: tuple[str, ...] = GROUP.items(("a", "b"), "Names.", check=lambda _: None, metavar="NAME,...")
    plain: int = 3


def test_a_declaration_has_every_name() -> None:
    options = options_of(Example)
    assert list(options) == ["some_limit", "wait", "on", "key", "names"]
    limit = options["some_limit"]
    assert (limit.flag, limit.variable, limit.key) == ("--some-limit", "FASTWS_SOME_LIMIT", "things.some_limit")
    assert options["on"].shown_flag == "--on/--no-on"
    assert [option.default_text for option in options.values()] == ["7", "2.5", "on", "nothing", "a,b"]
    assert options["key"].secret


def test_the_class_has_the_defaults() -> None:
    example = Example()
    assert (example.some_limit, example.wait, example.on, example.key, example.names) == (
        7,
        2.5,
        True,
        None,
        ("a", "b"),
    )
