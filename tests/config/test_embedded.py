"""Settings that are given in Python."""

from pathlib import Path

import pytest

from fastws.config.embedded import embedded
from fastws.errors import ConfigError


def test_values_of_python_and_texts_are_read_alike() -> None:
    settings = embedded(
        {"max_topics": 3, "ping_interval": "200ms", "origins": ("https://a.example",), "dev": True, "admin_key": None},
        name="tests:app",
        environ={},
        look_for_file=False,
    )
    assert (settings.max_topics, settings.ping_interval, settings.dev) == (3, 0.2, True)
    assert settings.origins == ("https://a.example",)
    assert settings.app == "tests:app"
    assert settings.is_set("max_topics")
    assert not settings.is_set("admin_key")


def test_environment_and_file_count_where_they_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fastws.toml").write_text("[limits]\nmax_topics = 5\nmax_outbox = 6\n")
    environ = {"FASTWS_MAX_OUTBOX": "7"}
    settings = embedded({}, name="tests:app", environ=environ)
    assert (settings.max_topics, settings.max_outbox) == (5, 7)
    assert embedded({}, name="tests:app", environ={}, look_for_file=False).max_topics == 128


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_topic": 3}, "there is no option max_topic; the nearest known is 'max_topics'"),
        ({"max_topics": "many"}, "--max-topics must be a whole number"),
        ({"workers": 2, "reload": True}, "reload, workers cannot be given here"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        embedded(given, name="tests:app", environ={}, look_for_file=False)
