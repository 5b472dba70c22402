"""The page has everything of the file, nothing of it as markup, and loads nothing."""

import re
from html.parser import HTMLParser

from bench.reporting import page
from tests.bench.reporting.sample import content

VOID = {"meta", "img"}


class Outline(HTMLParser):
    """Checks that elements are closed in order; keeps rows of texts, marked cells and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.limits: list[str] = []
        self._limit = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [str(given[name]) for name in ("src", "href") if name in given]
        self._limit = given.get("class") == "limit"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._limit:
            self.limits.append(data)
            self._limit = False


def outline(text: str) -> Outline:
    found = Outline()
    found.feed(text)
    found.close()
    assert not found.open
    return found


def test_everything_is_there_and_escaped() -> None:
    text = page.render(content(), {"echo": b"picture"})
    for expected in (
        "echo &lt;64 B&gt;",
        "a &amp; b",
        "no &lt;openssl&gt;",
        "Some CPU",
        "a.b = 1",
        "needs go",
        "2 min",
        "cc 12",
    ):
        assert expected in text
    assert "<64 B>" not in text


def test_who_was_busy_stands_out_unless_it_was_the_server() -> None:
    assert outline(page.render(content(), {})).limits == ["client", "neither"]


def test_nothing_is_loaded() -> None:
    found = outline(page.render(content(), {"echo": b"picture"}))
    assert found.addresses == ["data:image/png;base64,cGljdHVyZQ=="]
    assert not re.search(r"https?://|@import|url\(", page.render(content(), {}))
