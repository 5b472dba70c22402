"""Settings: any file and any environment gives settings or `ConfigError`; what was read can be written and read again.

Input: a byte of options, then a file in TOML (even) or lines `NAME=value` of an environment (odd).
"""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fastws.config import OPTIONS, Option, Settings, load
from fastws.config.values import to_toml
from fastws.errors import ConfigError

MAX_BYTES = 2048
_GROUPS = tuple(dict.fromkeys(option.group for option in OPTIONS.values()))
WORDS = (
    *(f"[{group}]\n".encode() for group in _GROUPS),
    *(f"{name} = ".encode() for name in OPTIONS),
    *(f"\n{option.variable}=".encode() for option in OPTIONS.values()),
    *(
        b"[namespaces.chat]\n",
        b"history_size = ",
        b"history_ttl = ",
        b"recover = true\n",
        b'slow_policy = "conflate"\n',
    ),
    *(b"true\n", b"false\n", b"0\n", b"-1\n", b"2147483648\n", b"1e300\n", b"nan\n", b"inf\n", b"0.5\n", b'"500ms"\n'),
    *(b'"10m"\n', b'"1d"\n', b'"*"\n', b'["https://a", "null"]\n', b'["10.0.0.0/8"]\n', b'"a:b"\n', b"1979-05-27\n"),
    *(b'"""', b"'''", b"[[", b"{a = 1}", b"#", b"\\u007f", b"\\U0001F642", b"\xc3\xa4", b"\x00", b"=", b".", b"\n"),
)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fastws-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def run(data: bytes) -> None:
    """Read it; write what it came to, and read that."""
    if not data:
        return
    allow_not_built = bool(data[0] & 2)
    try:
        if data[0] & 1:
            settings = load({}, _environment(data[1:]), allow_not_built=allow_not_built)
        else:
            settings = _load_file(data[1:], allow_not_built)
    except ConfigError as error:
        lines = str(error).split("\n")
        assert all(lines), "a problem without a word"
        assert all(line.isprintable() for line in lines), f"not fit to be shown: {lines!r}"
        return
    _write_and_read(settings)


def _load_file(content: bytes, allow_not_built: bool = True) -> Settings:
    path = _folder() / "fastws.toml"
    path.write_bytes(content)
    return load({"config": str(path)}, {}, allow_not_built=allow_not_built)


def _environment(lines: bytes) -> dict[str, str]:
    """As Python makes it of what the kernel hands over: no NUL, and bytes that are no UTF-8 as surrogates."""
    pairs = (line.partition(b"=") for line in lines.replace(b"\0", b"").split(b"\n"))
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, equals, value in pairs
        if name and equals and name not in (b"FASTWS_CONFIG", b"FASTWS_APP")
    }


def _write_and_read(settings: Settings) -> None:
    written = []
    for name, option in OPTIONS.items():
        shown = settings.shown(name)
        shown.encode()
        assert shown.isprintable(), shown
        value = getattr(settings, name)
        if option.in_file and value != option.default and shown == to_toml(value):
            written.append((option, shown))
    text = "".join(f"[{group}]\n{_keys(group, written)}" for group in _GROUPS if _keys(group, written))
    for namespace, table in settings.namespaces.items():
        text += f"[namespaces.{to_toml(namespace)}]\n"
        text += "".join(f"{key} = {to_toml(value)}\n" for key, value in table.items())
    again = _load_file(text.encode())
    for option, shown in written:
        assert again.shown(option.name) == shown, f"{option.name}: {shown} became {again.shown(option.name)}"
    assert again.namespaces == settings.namespaces
    repr(settings).encode()


def _keys(group: str, written: list[tuple[Option, str]]) -> str:
    return "".join(f"{option.name} = {shown}\n" for option, shown in written if option.group == group)


def seeds() -> Mapping[str, bytes]:
    """Every group once with good values, and files and variables with each kind of mistake."""
    texts = {
        "listen": 'h[server]\nhost = "127.0.0.1"\nport = 8000\npath = "/ws"\nworkers = "auto"\n',
        "limits": 'h[limits]\nmax_connections = 0\nmax_message_size = 65536\nauth_timeout = "10s"\n',
        "websocket": 'h[websocket]\norigins = ["https://a.example", "*"]\ndeflate = true\nforwarded_allow_ips = []\n',
        "heartbeat": 'h[heartbeat]\nping_interval = "25000ms"\nping_timeout = 0.5\n',
        "namespaces": 'h[namespaces.chat]\nsubscribe = "all"\nhistory_size = 5\nhistory_ttl = "10m"\nrecover = true\n',
        "contradiction": 'h[namespaces.chat]\nrecover = true\nslow_policy = "conflate"\n',
        "odd-namespaces": 'h[namespaces."a:b"]\n[namespaces."\\u0000"]\n[namespaces.""]\necho = 3\n',
        "wrong-group": "h[heartbeat]\nport = 1\nno_deflate = true\nprot = 1\n",
        "wrong-table": "hport = 1\nlimits = 3\n[nope]\n",
        "wrong-values": "h[server]\nport = 70000\nhost = 3\n[limits]\nauth_timeout = nan\nmax_fragments = 1.5\n",
        "secrets": 'j[auth]\njwt_secret = "s3cret"\njwt_issuer = "\\u007f\\u2028"\n',
        "no-toml": 'h[server\nport = "\n',
        "deep": "hx = " + "[" * 400 + "]" * 400 + "\n",
        "variables": "iFASTWS_PORT=8000\nFASTWS_ORIGINS=https://a, null\nFASTWS_PING_INTERVAL=1h\nPATH=/bin\n",
        "variables-wrong": "iFASTWS_PROT=1\nFASTWS_NO_DEFLATE=1\nFASTWS_PORT=tcp://10.0.0.1:80\nFASTWS_DEFLATE=yes\n",
        "variables-odd": "iFASTWS_HOST=\nFASTWS_NODE_NAME=a b\nFASTWS_LOG_CONFIG=\u00e4\n",
    }
    found = {name: text.encode() for name, text in texts.items()}
    found["not-utf-8"] = b"h[server]\nhost = '\xff'\n"
    found["variable-not-utf-8"] = b"iFASTWS_HOST=\xff\n"
    return found
