"""Calling the control API of a server, as the commands of `fastws` do."""

from __future__ import annotations

import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from fastws.config import Settings, as_url
from fastws.config.checks import header_problem
from fastws.errors import ConfigError, FastWSError

TIMEOUT_S: Final = 10.0
_ANY: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class CallError(FastWSError):
    """The server cannot be reached, or refuses; the message is for people."""


class Target(NamedTuple):
    """Whom to call: the URL of an admin address, and the key that it asks for, if any."""

    url: str
    key: str | None = None


def target_of(settings: Settings, url: str | None = None, key: str | None = None) -> Target:
    """Where the server of these settings is, unless `url` says so; `key` goes before theirs.

    Raises `ConfigError` if the settings do not say where, the URL is none, or the key cannot be sent.
    """
    key = key or settings.admin_key
    if key is not None:
        key = key.strip()
        if problem := header_problem(key):
            raise ConfigError(f"--admin-key {problem}")
    if url is not None:
        return Target(_checked(url), key)
    if settings.admin_port <= 0:
        state = "turned off" if settings.admin_port < 0 else "any free one"
        raise ConfigError(f"--admin-port is {state} in this configuration: say where the server is with --admin-url")
    return Target(as_url(_ANY.get(settings.admin_host, settings.admin_host), settings.admin_port), key)


def call(target: Target, method: str, body: dict[str, Any]) -> Any:
    """Call a method and return its result. Raises `CallError`."""
    parts = urlsplit(target.url)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if target.key is not None:
        # As bytes of UTF-8: the library would refuse what is not Latin-1.
        headers["Authorization"] = f"Bearer {target.key}".encode().decode("latin-1")
    connection = _connection(parts.scheme, parts.hostname or "", parts.port)
    try:
        connection.request("POST", f"{parts.path.rstrip('/')}/api/{method}", msgspec.json.encode(body), headers)
        response = connection.getresponse()
        status, content = response.status, response.read()
    except TimeoutError:
        raise CallError(f"{target.url} did not answer within {TIMEOUT_S:g} s") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CallError(
            f"cannot reach {target.url}: {reason}. Does the server run, with its admin port on? --admin-url says where"
        ) from None
    finally:
        connection.close()
    return _result(target, status, content)


def _connection(scheme: str, host: str, port: int | None) -> HTTPConnection:
    if scheme == "https":
        return HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    return HTTPConnection(host, port, timeout=TIMEOUT_S)


def _result(target: Target, status: int, content: bytes) -> Any:
    try:
        answer = msgspec.json.decode(content)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and status == 200 and "result" in answer:
        return answer["result"]
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict) or not {"code", "reason", "message"} <= error.keys():
        raise CallError(f"{target.url} answered {status}, and not as a control API does")
    hint = ""
    if status == 401:
        hint = "; give the right one with --admin-key or FASTWS_ADMIN_KEY" if target.key else "; give --admin-key"
    raise CallError(f"{error['code']} {error['reason']}: {error['message']}{hint}")


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"--admin-url is a URL such as http://127.0.0.1:9000; {url!r} is not one")
    return url.rstrip("/")
