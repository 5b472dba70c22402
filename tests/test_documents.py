"""What the documents say is what the code does."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_make_targets_are_documented() -> None:
    text = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) - {"help", "run", "clean"}
    assert not [target for target in described if f"`make {target}" not in text]


def test_the_modules_of_the_architecture_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:core|engine|hub|gateway|app|net|observe|server|testing|asgi)/[\w/.]*)`", text)
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / "fastws" / name).exists()]


def test_links_lead_to_headings_that_exist() -> None:
    broken = []
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
            other = (page.parent / target) if target else page
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            if anchor not in {
                re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
            }:
                broken.append(f"{page.relative_to(ROOT)} -> {target}#{anchor}")
    assert not broken
