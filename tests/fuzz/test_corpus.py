"""Files of inputs: what is written can be read, is what the targets say, and is not much."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import corpus, make_corpus
from tests.fuzz.targets import NAMES, load

MAX_TOTAL_BYTES = 300_000


@given(st.binary())
def test_inputs_survive_their_files(data: bytes) -> None:
    text = corpus.escape(data)
    assert text.isascii()
    assert text.endswith("\n")
    assert corpus.unescape(text) == data


@pytest.mark.parametrize("text", ["\\", "\\x4", "\\xG0", "\\a", "\t", "\x7f"])
def test_what_is_no_escaped_input_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no escaped input"):
        corpus.unescape(text)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_the_seeds_of_the_targets(name: str) -> None:
    assert dict(corpus.read(corpus.SEEDS / name)) == load(name).seeds(), "run: python -m tests.fuzz.make_corpus"


def test_no_folder_belongs_to_nobody() -> None:
    folders = {path.name for place in (corpus.SEEDS, corpus.REGRESSIONS) for path in place.iterdir() if path.is_dir()}
    assert folders <= set(NAMES)


def test_the_corpus_is_small() -> None:
    files = [path for place in (corpus.SEEDS, corpus.REGRESSIONS) for path in place.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_TOTAL_BYTES


def test_the_corpus_is_written_and_cleaned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(make_corpus, "SEEDS", tmp_path)
    stale = tmp_path / "topics" / "stale.txt"
    stale.parent.mkdir()
    stale.write_text("x\n")
    make_corpus.main()
    assert not stale.exists()
    assert dict(corpus.read(tmp_path / "topics")) == load("topics").seeds()


def test_mutations_are_the_same_for_the_same_number_and_different_from_each_other() -> None:
    seeds, words = [b"abc", b"defghi"], [b"WORD"]
    first, again = ([corpus.mutate(random.Random(n), seeds, words) for n in range(200)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 150
    assert any(b"WORD" in data for data in first)


def test_there_are_mutations_without_seeds_and_words() -> None:
    assert len({corpus.mutate(random.Random(n), [], []) for n in range(100)}) > 50
