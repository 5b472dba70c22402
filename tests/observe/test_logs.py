"""Lines of the log: their shape, what cannot be forged in them, and where they go."""

import io
import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.config import Settings
from fastws.errors import ConfigError
from fastws.observe import logs


@pytest.fixture(autouse=True)
def _leaves_logging_as_it_was() -> Iterator[None]:
    root, access = logging.getLogger(), logging.getLogger(logs.ACCESS_LOGGER)
    before = root.handlers[:], root.level, access.disabled, logging.getLogger("fastws").level
    root.handlers[:] = []  # configure() closes the handlers that it finds
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level, access.disabled, logging.getLogger("fastws").level = before
    logging.captureWarnings(False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(message: str, **context: object) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message, "levelname": "INFO", "levelno": 20, "name": "fastws.x"} | context)


def test_json_has_what_machines_look_for() -> None:
    entry = json.loads(logs.JsonFormatter().format(record("hello", conn="c1", user="42", trace_id="t", status=101)))
    assert isinstance(entry.pop("ts"), int)
    assert entry == {
        "level": "info",
        "event": "hello",
        "logger": "fastws.x",
        "conn": "c1",
        "user": "42",
        "trace_id": "t",
        "status": 101,
    }


def test_json_fields_of_the_record_win_over_the_context() -> None:
    entry = json.loads(logs.JsonFormatter().format(record("hello", event="forged", ts=1, level="critical")))
    assert (entry["event"], entry["level"]) == ("hello", "info")
    assert entry["ts"] > 1


def test_text_is_for_people() -> None:
    line = logs.TextFormatter().format(record("hello", conn="c1", user="a b", request_id=None))
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    hello conn=c1 user="a b"', line)


@given(st.text(), st.text())
def test_nothing_leaves_its_line(message: str, user: str) -> None:
    for formatter in (logs.TextFormatter(), logs.JsonFormatter()):
        line = formatter.format(record("%s", args=(message,), user=user))
        assert line.splitlines() == [line]
        assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in line)
        line.encode("utf-8")


@given(st.text())
def test_json_gives_back_what_was_logged(text: str) -> None:
    entry = json.loads(logs.JsonFormatter().format(record("x", user=text)))
    assert entry["user"] == text


def test_a_field_cannot_be_taken_for_two() -> None:
    assert logs.TextFormatter().format(record("x", user="a conn=c9")).endswith(' user="a conn=c9"')
    assert logs.TextFormatter().format(record("x", user='a" conn=c9')).endswith(r' user="a\" conn=c9"')


def test_tracebacks_are_part_of_their_record() -> None:
    try:
        raise ValueError("first\n2026-01-01 00:00:00.000 INFO    forged")
    except ValueError:
        failed = record("failed", exc_info=sys.exc_info())
    first, *rest = logs.TextFormatter().format(failed).split("\n")
    assert first.endswith("failed")
    assert any("ValueError: first" in line for line in rest)
    assert all(line.startswith("    ") for line in rest)
    assert "ValueError: first\n2026" in json.loads(logs.JsonFormatter().format(failed))["error"]


@pytest.mark.parametrize("value", [float("nan"), {(1, 2): 3}, b"\xff", object(), {1}])
def test_json_takes_any_value(value: object) -> None:
    assert "odd" in json.loads(logs.JsonFormatter().format(record("x", odd=value)), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("target", "safe"),
    [
        ("/ws?token=abc", "/ws?token=***"),
        ("/ws?a=1&token=abc&b=2", "/ws?a=1&token=***&b=2"),
        ("/ws?TOKEN=abc;key=d", "/ws?TOKEN=***;key=***"),
        ("/ws?mytoken=abc", "/ws?mytoken=abc"),
        ("/ws", "/ws"),
    ],
)
def test_targets_lose_their_secrets(target: str, safe: str) -> None:
    assert logs.safe_target(target) == safe


def test_the_format_follows_the_stream_unless_it_is_chosen() -> None:
    assert isinstance(logs.formatter_for(Settings(), Terminal()), logs.TextFormatter)
    assert isinstance(logs.formatter_for(Settings(), io.StringIO()), logs.JsonFormatter)
    assert isinstance(logs.formatter_for(Settings(log_format="json"), Terminal()), logs.JsonFormatter)
    assert isinstance(logs.formatter_for(Settings(log_format="text"), io.StringIO()), logs.TextFormatter)


def test_levels() -> None:
    stream = io.StringIO()
    logs.configure(Settings(log_level="warning"), stream)
    logging.getLogger("fastws.x").info("quiet")
    logging.getLogger("application").warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize("on", [True, False])
def test_the_access_log_is_off_unless_asked_for(on: bool) -> None:
    stream = io.StringIO()
    logs.configure(Settings(access_log=on), stream)
    logging.getLogger(logs.ACCESS_LOGGER).info("opened")
    assert ("opened" in stream.getvalue()) == on


def test_the_first_line_is_written_at_any_level() -> None:
    stream = io.StringIO()
    logs.announce(Settings(log_level="critical"), "fastws 100%", stream)
    assert json.loads(stream.getvalue())["event"] == "fastws 100%"
    stream = Terminal()
    logs.announce(Settings(), "fastws 1", stream)
    assert stream.getvalue().endswith("INFO    fastws 1\n")


CONFIGS = {
    "log.json": '{"version": 1, "disable_existing_loggers": false, "handlers": {"f": {"class": "logging.FileHandler",'
    ' "filename": "out.log"}}, "root": {"handlers": ["f"], "level": "INFO"}}',
    "log.toml": 'version = 1\ndisable_existing_loggers = false\n[handlers.f]\nclass = "logging.FileHandler"\n'
    'filename = "out.log"\n[root]\nhandlers = ["f"]\nlevel = "INFO"\n',
    "log.ini": "[loggers]\nkeys=root\n[handlers]\nkeys=f\n[formatters]\nkeys=\n[logger_root]\nlevel=INFO\nhandlers=f\n"
    "[handler_f]\nclass=FileHandler\nargs=('out.log', 'w')\n",
}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_log_config_and_reopening(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(CONFIGS[name], encoding="utf-8")
    logs.configure(Settings(log_config=name))
    logger = logging.getLogger("fastws.test")
    logger.info("one")
    logs.reopen()  # nobody moved the file: nothing is lost
    logger.info("two")
    Path("out.log").rename("out.log.1")
    logger.info("three")
    logs.reopen()
    logger.info("four")
    assert Path("out.log.1").read_text(encoding="utf-8").split() == ["one", "two", "three"]
    assert Path("out.log").read_text(encoding="utf-8").split() == ["four"]


def test_a_file_that_cannot_be_reopened_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    handler = logging.FileHandler("logs/out.log")
    logging.getLogger().addHandler(handler)
    Path("logs").rename("gone")
    logs.reopen()
    assert "cannot be reopened" in Path("gone/out.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.json", None),
        ("bad.json", "{"),
        ("bad.toml", "["),
        ("bad.ini", "nothing"),
        ("empty.json", "{}"),
        ("class.json", '{"version": 1, "handlers": {"x": {"class": "no.such.Class"}}}'),
    ],
)
def test_a_wrong_log_config_is_a_configuration_error(name: str, text: str | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="--log-config"):
        logs.configure(Settings(log_config=str(path)))


def test_an_explicit_level_holds_beside_log_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log.json").write_text(CONFIGS["log.json"], encoding="utf-8")
    logs.configure(Settings(log_config="log.json", log_level="error"))
    assert logging.getLogger("fastws.x").getEffectiveLevel() == logging.ERROR


def test_warnings_of_python_are_logged_and_a_real_process_writes_ascii() -> None:
    program = (
        "import logging, warnings; from fastws.config import Settings; from fastws.observe import logs\n"
        "logs.configure(Settings()); warnings.warn('old\\nstyle'); logging.getLogger('x').info('caf\\xe9')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    entries = [json.loads(line) for line in done.stderr.splitlines()]
    assert "old\nstyle" in entries[0]["event"]
    assert entries[1]["event"] == "café"
