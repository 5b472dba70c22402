"""What fastws writes to its log: text for people, or one JSON object a line for machines.

Whatever a client sent stays inside its field: control characters are escaped, so nobody can forge a line or drive a
terminal. Secrets are kept out by whoever logs; `safe_target` does it for request targets.

Give a record its context as `extra`: `conn`, `user`, `tenant`, `request_id`, `trace_id`, or any name of your own.
"""

import configparser
import json
import logging
import logging.config
import re
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from fastws.config import Settings
from fastws.errors import ConfigError

ACCESS_LOGGER = "fastws.access"
"""The logger of `--access-log`: one line for each request, at level info."""

_CONTEXT = ("conn", "user", "tenant", "request_id", "trace_id")
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# C0, DEL, C1, line and paragraph separators, bidirectional controls, lone surrogates: all that could leave its field.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN_VALUE = re.compile(r"[\w.:/@+%,*?&-]+")
_SECRET_QUERY = re.compile(r"((?:^|[?&;])(?:token|access_token|key|password|secret)=)[^&;]*", re.IGNORECASE)


def escape(text: str) -> str:
    """Return the text with everything that could end a line or command a terminal as its Python escape."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def safe_target(target: str) -> str:
    """Return a request target with the values of secret query parameters replaced by `***`."""
    return _SECRET_QUERY.sub(r"\1***", target)


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 INFO message conn=c1`; tracebacks follow, indented, so that none looks like a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the lines of a traceback below it."""
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        parts = [f"{moment}.{int(record.msecs):03d}", f"{record.levelname:7}", escape(record.getMessage())]
        parts.extend(f"{name}={_quoted(value)}" for name, value in _fields_of(record))
        lines = [" ".join(parts)]
        lines.extend(f"    {escape(line)}" for line in _traceback_of(self, record).splitlines())
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One object a line: `ts` (Unix milliseconds), `level`, `event`, the context that was given, `error` if any.

    The line is ASCII: JSON's own escapes are what keeps control characters and odd encodings out of it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as one line."""
        entry: dict[str, object] = {
            "ts": int(record.created * 1000),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        for name, value in _fields_of(record):
            entry.setdefault(name, value)
        error = _traceback_of(self, record)
        if error:
            entry["error"] = error
        try:
            return json.dumps(entry, default=str, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError):  # keys that are no texts, NaN, a structure that contains itself
            plain = {name: value if isinstance(value, str | int) else str(value) for name, value in entry.items()}
            return json.dumps(plain, separators=(",", ":"))


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Set up logging for this process, replacing what was there. Call it once, before anything is logged.

    Raises `ConfigError` if `--log-config` cannot be used; then what that file says holds, not the other options,
    except that an explicit `--log-level` still sets the level of the loggers of fastws.
    """
    level = settings.log_level.upper()
    if settings.log_config is not None:
        _configure_from_file(settings.log_config)
        if settings.is_set("log_level"):
            logging.getLogger("fastws").setLevel(level)
    else:
        handler = logging.StreamHandler(stream or sys.stderr)
        handler.setFormatter(formatter_for(settings, handler.stream))
        logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    logging.getLogger(ACCESS_LOGGER).disabled = not settings.access_log


def formatter_for(settings: Settings, stream: TextIO) -> logging.Formatter:
    """Return the formatter asked for; without `--log-format` it is text on a terminal, else JSON."""
    chosen = settings.log_format or ("text" if stream.isatty() else "json")
    return TextFormatter() if chosen == "text" else JsonFormatter()


def announce(settings: Settings, message: str, stream: TextIO | None = None) -> None:
    """Write one line of level info to standard error whatever level and files are configured: the first line."""
    stream = stream or sys.stderr
    record = logging.makeLogRecord({"name": "fastws", "levelname": "INFO", "levelno": logging.INFO, "msg": message})
    stream.write(formatter_for(settings, stream).format(record) + "\n")
    stream.flush()


def reopen() -> None:
    """Open every log file again by its name, after something like logrotate moved it away (signal USR1).

    A file that cannot be opened keeps its old handle, and that is logged.
    """
    for handler in _file_handlers():
        handler.acquire()
        try:
            handler.mode = "a"  # "w" would empty a file that nobody has moved
            old = handler.setStream(handler._open())
            if old is not None:
                old.close()
        except OSError as error:
            problem: OSError | None = error
        else:
            problem = None
        finally:
            handler.release()
        if problem is not None:
            logging.getLogger("fastws").error("log file %s cannot be reopened: %s", handler.baseFilename, problem)


def _file_handlers() -> Iterator[logging.FileHandler]:
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    handlers = {handler for logger in loggers if isinstance(logger, logging.Logger) for handler in logger.handlers}
    return (handler for handler in handlers if isinstance(handler, logging.FileHandler))


def _configure_from_file(path: str) -> None:
    """Read a configuration for `logging.config`: a table for `dictConfig` in .json or .toml, else an .ini file."""
    try:
        if path.endswith((".json", ".toml")):
            data = Path(path).read_bytes()
            table = json.loads(data) if path.endswith(".json") else tomllib.loads(data.decode())
            # Python's default silences loggers that modules made before this, which would be ours.
            logging.config.dictConfig({"disable_existing_loggers": False, **table})
        else:
            parser = configparser.RawConfigParser()
            parser.read_string(Path(path).read_bytes().decode())
            logging.config.fileConfig(parser, disable_existing_loggers=False)
    except OSError as error:
        raise ConfigError(f"--log-config {path}: cannot be read: {error.strerror}") from error
    except Exception as error:
        # dictConfig and fileConfig run whatever classes the file names, and those raise what they like
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        raise ConfigError(f"--log-config {path}: {error}{cause}") from error


def _fields_of(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """Yield the context of a record: the well-known fields first, then what else was given as `extra`."""
    attributes = vars(record)
    for name in _CONTEXT:
        if attributes.get(name) is not None:
            yield name, attributes[name]
    for name, value in attributes.items():
        if name not in _OWN_ATTRIBUTES and name not in _CONTEXT and value is not None:
            yield name, value


def _traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _quoted(value: object) -> str:
    """Return a value as it stands in a text line, in quotes if it could be taken for more than one field."""
    text = value if isinstance(value, str) else str(value)
    return text if _PLAIN_VALUE.fullmatch(text) else escape(json.dumps(text, ensure_ascii=False))
