"""What one process takes from its configuration while it serves: certificates, what is logged, how it drains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from fastws.config import OPTIONS, Settings, load
from fastws.server import engines, startup_checks

_CERTIFICATES: Final = ("ssl_certfile", "ssl_keyfile", "ssl_keyfile_password")
_LOGGING: Final = ("log_level", "log_format")
IN_PLACE: Final = (*_CERTIFICATES, *_LOGGING, "drain_timeout", "drain_rate")
"""Settings that can change without another process."""


def read_again(given: Mapping[str, object]) -> Settings:
    """The settings as they are now. `given`: the options of the command line, as text. Raises `StartupError` for what
    would not start; certificates are read for that too.
    """
    settings = engines.chosen(load(given))
    startup_checks.protect(settings)
    startup_checks.tls_context(settings)
    return settings


def taken_over(current: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """What a process that runs with `current` goes on with where `new` was read, and the names of what it leaves."""
    names = set(IN_PLACE)
    if (current.ssl_certfile is None) != (new.ssl_certfile is None):
        names -= set(_CERTIFICATES)  # the listeners speak TLS, or they do not
    if current.log_config is not None:
        names -= set(_LOGGING)  # its file is what holds, and is not read again
    left = [option.flag for name, option in OPTIONS.items() if name not in names and _differs(name, current, new)]
    if current.namespaces != new.namespaces:
        left.append("[namespaces]")
    return replace(current, **{name: getattr(new, name) for name in names}), left


def _differs(name: str, current: Settings, new: Settings) -> bool:
    if name == "redis" and new.redis == "embedded":
        return not current.redis.startswith("unix:")  # it has been started, and this is where it is
    return bool(getattr(current, name) != getattr(new, name))
