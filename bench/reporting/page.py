"""A result file as one HTML page that needs nothing else: plots are inside it, nothing is loaded from anywhere."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from bench.report import saturated
from bench.reporting.targets import verdicts

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #263238; background: #fff; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid #cfd8dc }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .86rem; margin: .8rem 0 }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #eceff1; text-align: right; white-space: nowrap }
th { color: #546e7a; font-weight: 500 } th:first-child, td:first-child, .texts th, .texts td { text-align: left }
tr.ours td { background: #e3f2fd } .limit { background: #fff3cd } .no { color: #b71c1c; font-weight: 600 }
.notes { color: #546e7a; font-size: .86rem; margin: .2rem 0; padding-left: 1.2rem } img { max-width: min(100%, 52rem) }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; font-size: .9rem } dt { color: #546e7a }
dd { margin: 0 }
"""
LEGEND = (
    "Servers are bound to one CPU and the load to another, and are measured in turns. The last column of a table says "
    "who had no more CPU to give: the server, as it should be; the client, whose limit is then what the figures in "
    "time show; or neither, where the machine had other work or the schedule left time. Of such rows only the figures "
    "per CPU-second say something about the server."
)


def render(content: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    """The page.

    :param content: of a result file of `python -m bench all`.
    :param images: PNGs by the key of the part they belong to.
    """
    title = f"fastws benchmarks, {content['date']}"
    body = [f"<h1>{escape(title)}</h1>", *_machine(content), f"<p>{escape(LEGEND)}</p>"]
    body += _section("What was to be reached", [_table(_as_mapping(verdicts(content)))])
    for part in content["parts"]:
        inside = [f'<p class="no">not measured: {escape(part["error"])}</p>'] if part["error"] else []
        if part["key"] in images:
            data = base64.b64encode(images[part["key"]]).decode()
            inside.append(f'<img alt="{escape(part["label"])}" src="data:image/png;base64,{data}">')
        inside += [_table(table) for table in part["tables"]]
        body += _section(part["label"], inside)
    body += _section("Servers", [_peers(content)])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _section(title: str, inside: Sequence[str]) -> list[str]:
    return [f"<h2>{escape(title)}</h2>", *inside]


def _machine(content: Mapping[str, Any]) -> Iterator[str]:
    facts = content["machine"]
    rows = {
        "CPU": f"{facts['cpu']}, {len(facts['cpus'])} CPUs",
        "system": f"Linux {facts['kernel']}, {facts['descriptors']:,} descriptors a process",
        "commit": facts["commit"],
        "extension": f"{facts.get('extension', 'unknown')} build",
        "versions": ", ".join(
            [f"Python {facts['python']}", *(f"{name} {version}" for name, version in facts["packages"].items())]
        ),
        "tools": ", ".join(facts.get("tools", {}).values()),
        "load average": f"{facts['load_average']} before, {content.get('load_average_after', '?')} after",
        "sysctls": ", ".join(f"{name} = {value}" for name, value in facts["sysctls"].items()),
        "took": f"{content.get('seconds', 0) / 60:.0f} min",
    }
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(text))}</dd>" for name, text in rows.items())
    yield f"<dl>{cells}</dl>"


def _peers(content: Mapping[str, Any]) -> str:
    skipped = content.get("skipped", {})
    rows = [
        [name, peer["title"], peer["language"], peer["version"], skipped.get(name, "measured")]
        for name, peer in content.get("peers", {}).items()
        if name in skipped or name in content["options"]["peers"]
    ]
    columns = ["name", "title", "language", "version", "state"]
    return _table({"title": "", "columns": columns, "rows": rows, "notes": [], "texts": True})


def _as_mapping(table: Any) -> dict[str, Any]:
    return {name: getattr(table, name) for name in ("title", "columns", "rows", "notes", "texts")}


def _table(table: Mapping[str, Any]) -> str:
    columns, rows = list(table["columns"]), table["rows"]
    limits = [] if table["texts"] else [saturated(columns, row) for row in rows]
    judged = any(limits)
    head = "".join(f"<th>{escape(name)}</th>" for name in [*columns, *(["who was busy"] if judged else [])])
    lines = []
    for at, row in enumerate(rows):
        cells = "".join(_cell(text) for text in row)
        if judged:
            mark = "" if limits[at] == "server" else ' class="limit"'
            cells += f"<td{mark}>{limits[at]}</td>"
        ours = ' class="ours"' if row[0].startswith("fastws") and not table["texts"] else ""
        lines.append(f"<tr{ours}>{cells}</tr>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in table["notes"])
    kind = "texts" if table["texts"] else "figures"
    return (
        f'<div class="wide"><table class="{kind}"><caption>{escape(table["title"])}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def _cell(text: str) -> str:
    return f'<td class="no">{escape(text)}</td>' if text == "NO" else f"<td>{escape(text)}</td>"
