"""Every written page, followed from its beginning to its end."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import blocks, written_pages
from tests.docs.story import Story
from tests.support.redis import redis_binary

IN_BOTH_CODECS = ("docs/protocol.md", "docs/guide/presence.md", "docs/guide/recovery.md")

NOT_RUN = {
    "README.md": "benchmarks take long",
    "docs/architecture.md": "a picture; interfaces inside the server",
    "docs/guide/cluster.md": "several servers, and a Redis somewhere",
    "docs/guide/presence.md": "takes a hundred connections at once; the tests of presence do that",
    "docs/guide/running.md": "a part of the configuration of nginx; a unit of systemd",
    "docs/performance.md": "benchmarks take long; what a benchmark reads",
}
"""Why blocks of a page are not run, by page; the notes on the pages say the same block by block."""


PROGRAMS = ("curl", "openssl")
STARTS_REDIS = ("--redis embedded", "--workers")
SHOWS_MEMORY = {"docs/guide/control-api.md": "it shows what `nodes` says of a server without Redis"}
"""Pages whose answers would be others on Redis, and why."""


def _param(page: str) -> Any:
    return pytest.param(page, marks=[pytest.mark.memory(SHOWS_MEMORY[page])] if page in SHOWS_MEMORY else [])


@pytest.mark.parametrize("page", [_param(page) for page in written_pages() if blocks(page)])
def test_the_page_works_as_written(page: str, tmp_path: Path) -> None:
    used = [name for name in PROGRAMS if any(name in block.text for block in blocks(page) if block.language == "sh")]
    missing = [name for name in used if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)}")
    if any(option in block.text for block in blocks(page) for option in STARTS_REDIS if block.language == "sh"):
        redis_binary()
    with Story(blocks(page), tmp_path) as story:
        story.run()
    if story.left_out:
        pytest.skip("; ".join(story.left_out))


@pytest.mark.parametrize("page", IN_BOTH_CODECS)
def test_the_same_in_messagepack(page: str, tmp_path: Path) -> None:
    with Story(blocks(page), tmp_path, codec="msgpack") as story:
        story.run()


def test_what_is_not_run_says_why() -> None:
    reasons: dict[str, set[str]] = {}
    for page in written_pages():
        for block in blocks(page):
            if "not run" in block.notes:
                assert block.note("not run").strip(), f"{block.where}: no reason"
                reasons.setdefault(page, set()).add(block.note("not run"))
    assert {page: "; ".join(sorted(said)) for page, said in reasons.items()} == NOT_RUN
