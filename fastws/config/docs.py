"""Writes docs/configuration.md from the declarations: `python -m fastws.config.docs` prints it."""

from collections.abc import Iterator

from fastws.config.declare import Group, Option
from fastws.config.namespaces import NAMESPACE_KEYS
from fastws.config.not_built import NOT_BUILT
from fastws.config.settings import GROUPS, OPTIONS

_HEAD = """\
# Configuration

<!-- Generated from fastws/config/settings.py by `python -m fastws.config.docs > docs/configuration.md`. -->

Every setting can be given in three places; the first one that has it wins:

1. an option of `fastws-server`, such as `--ping-interval 30`;
2. a variable of the environment, such as `FASTWS_PING_INTERVAL=30` (an empty one counts as not set);
3. a key in a file, such as `ping_interval = 30` in the table `[heartbeat]`. The file is `--config FILE` or
   `FASTWS_CONFIG`, else `fastws.toml` in the working directory if there is one.

Unknown keys and unknown `FASTWS_*` variables are errors that name the nearest known one, and end the server with exit
code 2. Variables that Kubernetes makes for a service called `fastws` (`FASTWS_SERVICE_*`, `FASTWS_PORT_*`, and a
`FASTWS_PORT` that begins with `tcp://`), and `FASTWS_TEST_*` and `FASTWS_BENCH_*`, are ignored.

How values are written:

| type | option and variable | file |
|---|---|---|
| seconds | `25`, `0.5`, `500ms`, `10m`, `1h`, `1d` | the same; in quotes with a unit |
| on or off | `--x` and `--no-x`; `FASTWS_X=` `true`, `false`, `1` or `0` | `x = true` |
| list | separated by commas; an option may be repeated | an array: `origins = ["https://example.com"]` |

For a limit or a rate 0 means unlimited, for an interval or a timeout it means off, unless the table says otherwise.

`fastws check` validates a file, `fastws config` prints the effective settings with where each value came from.
"""

_NAMESPACES = """\
## [namespaces.NAME]

A namespace is the part of a topic before the first colon; a topic without one belongs to `default`. Namespaces are
declared in the file, or in Python with `FastWS(namespaces=...)`.

```toml
[namespaces.chat]
subscribe = "all"
history_size = 100
history_ttl = "10m"
recover = true
```

| key | type | default | meaning |
|---|---|---|---|
"""

_NAMESPACE_ROWS = {
    "subscribe": ("authenticated", "who may subscribe"),
    "publish": ("authenticated", "who may publish"),
    "history_size": ("0", "publications kept; 0 keeps none"),
    "history_ttl": ("0", "how long they are kept; 0 is no age limit"),
    "recover": ("false", "clients that come back get what they missed; needs history and `disconnect`"),
    "presence": ("false", "clients may ask who is subscribed"),
    "join_leave": ("false", "subscribers may be told who comes and goes"),
    "max_subscribers": ("0", "subscribers of one topic; 0 is unlimited"),
    "slow_policy": ("disconnect", "what happens to a subscriber whose outbox is full"),
    "conflate_key": ("the topic", "the field of `data` of which `conflate` keeps the newest value"),
    "echo": ("true", "publishers that are subscribed hear themselves"),
}


def render() -> str:
    """Return the whole document."""
    sections = [_HEAD, *("\n".join(_group(group)) for group in GROUPS), "\n".join(_namespaces())]
    return "\n".join(sections)


def _group(group: Group) -> Iterator[str]:
    yield f"## [{group.name}]\n"
    yield f"{group.title}.\n"
    yield "| option | variable | key | type | default | meaning |"
    yield "|---|---|---|---|---|---|"
    for option in OPTIONS.values():
        if option.group == group.name:
            yield f"| {' | '.join(_row(option))} |"
    yield ""


def _row(option: Option) -> Iterator[str]:
    yield f"`{option.shown_flag}`"
    yield f"`{option.variable}`"
    yield f"`{option.name}`" if option.in_file else "-"
    yield _cell(option.kind.described)
    yield _cell(option.default_text) or "-"
    missing = NOT_BUILT.get(option.name)
    yield _cell(option.help) + (f" **Not built yet** ({missing})." if missing else "")


def _namespaces() -> Iterator[str]:
    rows = []
    for key, kind in NAMESPACE_KEYS.items():
        default, meaning = _NAMESPACE_ROWS[key]
        rows.append(f"| `{key}` | {_cell(kind.described)} | {default} | {meaning} |")
    yield _NAMESPACES + "\n".join(rows)
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - printing is what this module is run for
